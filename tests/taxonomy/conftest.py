"""A resolution from list to tables, offline or against the replica of GBIF."""

import json
from pathlib import Path

import pytest

from taxaforge import tables
from taxaforge.taxonomy.resolve import resolve
from taxaforge.taxonomy.schema import COLLISIONS, PROVENANCE, REVIEW, TAXA

ROOT = Path(__file__).parents[2]
POLICY = ["exact_accepted", "exact_synonym", "orthographic_variant", "rolled_up_to_species"]
OFFLINE = {"source": "snapshot", "checklist": "col_xr", "cross_check": False, "accept": POLICY}
FILES = {
    "taxa": "taxa.parquet",
    "review": "review.csv",
    "classes": "classes.json",
    "collisions": "collisions.csv",
    "provenance": "provenance.csv",
    "ledger": "ledger.json",
}


class Resolved:
    """What a resolution wrote."""

    def __init__(self, folder, lines, cfg=None, header="scientificName", network=None, overrides=None, **files):
        folder.mkdir(exist_ok=True, parents=True)
        self.folder, self.logged = folder, []
        (folder / "list.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
        out = {f"out_{name}": folder / file for name, file in FILES.items()}
        resolve(
            taxa=folder / "list.csv",
            cfg=OFFLINE | (cfg or {}),
            network=network,
            overrides=overrides,
            log=lambda step, values: self.logged.append((step, values)),
            **{"snapshot": ROOT / "config/taxa/snapshot.csv"} | files,
            **out,
        )
        self.taxa, self.review = tables.read(TAXA, out["out_taxa"]), tables.read(REVIEW, out["out_review"])
        self.collisions = tables.read(COLLISIONS, out["out_collisions"])
        self.provenance = tables.read(PROVENANCE, out["out_provenance"])
        self.classes = json.loads(out["out_classes"].read_text("utf-8"))
        self.ledger = json.loads(out["out_ledger"].read_text("utf-8"))

    @property
    def status(self):
        return {row["verbatimName"]: row["status"] for row in self.taxa}

    def row(self, name):
        return next(row for row in self.taxa if row["verbatimName"] == name)

    def bytes(self, *names):
        return [(self.folder / FILES[name]).read_bytes() for name in names or FILES]


@pytest.fixture
def resolved():
    """`resolved(folder, lines, ...)`: resolves a list written from lines and reads every table back."""
    return Resolved


@pytest.fixture(scope="session")
def replica(gbif_replica):
    """`replica(faults)`: a GBIF on loopback."""
    return lambda faults="none": gbif_replica.Replica(gbif_replica.DATA, faults=faults, seed=1)


@pytest.fixture
def network(tmp_path):
    """Section `network` with a store of its own."""
    return {
        "contact": "a@b.org",
        "timeout_s": 5.0,
        "tries": 4,
        "requests_per_second": 1000.0,
        "store": str(tmp_path / "store"),
        "reuse_days": 30.0,
        "offline": False,
    }
