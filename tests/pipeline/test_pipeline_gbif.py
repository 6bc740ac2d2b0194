"""Names and images from GBIF, through the workflow, against a replica of the service with its faults on."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from taxaforge import tables
from taxaforge.collection.schema import METADATA
from taxaforge.files import read_json
from taxaforge.taxonomy.schema import TAXA

ROOT = Path(__file__).parents[2]


@pytest.fixture
def service(shared):
    """The loopback replica; its address."""
    file = shared / "tools/gbif_replica.py"
    if not file.is_file():
        pytest.skip(f"no GBIF replica at {file}")
    spec = importlib.util.spec_from_file_location("gbif_replica", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gbif_replica"] = module
    spec.loader.exec_module(module)
    with module.Replica(shared / "data/lepidoptera", faults="default,retry_after=0", seed=1) as replica:
        yield replica.url


def test_a_list_of_names_becomes_a_licensed_collection(service, tmp_path):
    (tmp_path / "mine.csv").write_text("scientificName\nInachis io\nPapilio indra\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("snakemake"), "results/collection/metadata.parquet", "--snakefile",
         ROOT / "Snakefile", "--directory", tmp_path, "--workflow-profile", ROOT / "profiles/ci", "--config",
         f"taxa={{path: {tmp_path / 'mine.csv'}}}", "taxonomy={source: gbif}",
         "collection={source: gbif, gbif: {images_per_species: 6}}"],
        capture_output=True, text=True, env={**os.environ, "GBIF_API_BASE": service},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    taxa = tables.read(TAXA, tmp_path / "results/taxonomy/taxa.parquet")
    assert [row["scientificName"] for row in taxa] == ["Aglais io", "Papilio indra"]
    assert all(row["taxonID"].startswith("col_xr:") for row in taxa)
    rows = tables.read(METADATA, tmp_path / "results/collection/metadata.parquet")
    assert {row["scientificName"] for row in rows} == {"Aglais io", "Papilio indra"}
    assert all(
        row["license"].startswith("CC") and (tmp_path / "results/collection" / row["file_name"]).is_file()
        for row in rows
    )
    ledger = read_json(tmp_path / "results/collection/ledger.json")
    assert ledger["in"] == ledger["kept"] + sum(ledger["rejected"].values())
