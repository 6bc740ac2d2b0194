"""From names to a collection through GBIF, through the workflow, against a replica of the service with its faults on.

What was released is checked against what the replica knows, not against what the workflow says of itself.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest

from taxaforge import tables
from taxaforge.collection.schema import LEAKAGE, METADATA, REJECTIONS, SPLITS
from taxaforge.files import read_json
from taxaforge.taxonomy.schema import TAXA

ROOT = Path(__file__).parents[2]
NOT_FETCHED = {"licence_missing", "licence_unknown", "licence_not_allowed", "observer_has_enough", "other_basis_of_record",
               "doubtful_name", "other_species", "two_species", "two_licences", "not_in_life"}  # fmt: skip
SPECIES = ["Inachis io", "Papilio indra", "Danaus plexippus", "Vanessa cardui", "Arctia caja"]
CONFIG = {
    "taxonomy": {"source": "gbif"},
    "network": {
        "requests_per_second": 500, "image_requests_per_second": 500, "timeout_s": 3,
    },
    "collection": {"source": "gbif", "gbif": {"images_per_species": 40, "images_per_observer": 4, "allow_private_hosts": True}},
    "split": {"unit": "observer", "validation": 2, "test": 8, "reserve": 6, "short": "train"},
    "protocol": {"shots": 6},
}  # fmt: skip


@pytest.fixture(scope="module")
def replica(gbif_replica, shared):
    """`replica(faults)`: a GBIF on loopback."""
    recorded = [shared / "gbif/gbif_recorded.jsonl.gz"]
    return lambda faults: gbif_replica.Replica(gbif_replica.DATA, recorded=recorded, faults=faults, seed=1)


@pytest.fixture(scope="module")
def faulty(replica):
    """A service that has every fault, three times as often as its default."""
    with replica("hard,retry_after=0,hang_s=4,slow_s=1") as service:
        yield service


def command(folder: Path, target: str, config: dict) -> list:
    return [
        Path(sys.executable).with_name("snakemake"), target, "--snakefile", ROOT / "Snakefile", "--directory", folder,
        "--workflow-profile", ROOT / "profiles/ci", "--config",
        *(f"{section}={json.dumps(values)}" for section, values in config.items()),
    ]  # fmt: skip


class Run:
    """A working directory with a list of names."""

    def __init__(self, folder: Path, names=SPECIES, **sections):
        folder.mkdir(parents=True)
        self.folder = folder
        (folder / "names.csv").write_text("scientificName\n" + "".join(f"{name}\n" for name in names))
        self.config = {**CONFIG, "taxa": {"path": "names.csv"}}
        for section, values in sections.items():
            self.config[section] = {**self.config.get(section, {}), **values}

    def environment(self, service) -> dict:
        return {**os.environ, "GBIF_API_BASE": service if isinstance(service, str) else service.url}

    def go(self, service, target="collection"):
        return subprocess.run(
            command(self.folder, target, self.config), capture_output=True, text=True, env=self.environment(service)
        )

    def finish(self, service, target="collection") -> "Run":
        done = self.go(service, target)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return self

    def killed_after(self, service, seconds: float) -> bool:
        """Starts the workflow and kills all of it; True where it was still running."""
        process = subprocess.Popen(
            command(self.folder, "collection", self.config), env=self.environment(service), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        finally:
            subprocess.run([*command(self.folder, "collection", self.config), "--unlock"], capture_output=True)

    def bytes(self) -> dict[str, bytes]:
        """Every file of taxonomy and collection, but for the table that says when an answer came."""
        files = sorted(p for room in ("taxonomy", "collection") for p in (self.folder / "results" / room).rglob("*"))
        return {
            str(p.relative_to(self.folder)): p.read_bytes() for p in files if p.is_file() and p.name != "provenance.csv"
        }

    def table(self, schema, path: str) -> list[dict]:
        return tables.read(schema, self.folder / "results" / path)


@pytest.fixture(scope="module")
def undisturbed(faulty, tmp_path_factory) -> Run:
    return Run(tmp_path_factory.mktemp("gbif") / "run").finish(faulty)


@pytest.fixture(scope="module")
def truth(faulty) -> dict[str, dict]:
    """What the replica knows of each picture: url -> kind, occurrences, whose copy it is."""
    return {media["url"]: media for media in faulty.truth()["media"]}


def address(identifier: str) -> str:
    """Of a picture; the second occurrence of one has a mark behind it."""
    return identifier.partition("#")[0]


def occurrence(service, gbif_id: str) -> dict:
    for _ in range(8):  # this request, too, may meet a fault
        try:
            with urlopen(f"{service.url}/v1/occurrence/{gbif_id}", timeout=10) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            continue
    raise AssertionError(f"no answer about {gbif_id}")


def test_every_name_becomes_its_accepted_species_whatever_the_service_does(undisturbed):
    taxa = undisturbed.table(TAXA, "taxonomy/taxa.parquet")
    assert [row["scientificName"] for row in taxa] == ["Aglais io", *SPECIES[1:]]
    assert all(row["taxonID"].startswith("col_xr:") and row["agreement"] == "agree" for row in taxa)


def test_no_picture_is_released_under_a_licence_that_its_publisher_did_not_give(undisturbed, faulty):
    rows = undisturbed.table(METADATA, "collection/metadata.parquet")
    assert len(rows) > 100
    for row in rows:
        media = [
            m for m in occurrence(faulty, row["gbifID"])["media"] if m.get("identifier") == address(row["identifier"])
        ]
        said = {m.get("license") for m in media}
        assert said == {row["licenseVerbatimMedia"]}
        (said,) = said
        words = set(re.split(r"[^a-z0]+", said.lower()))
        assert words & {"by", "cc0", "zero", "publicdomain"}, said
        assert not words & {"nc", "nd", "sa", "noncommercial", "reserved"}, said


def test_no_test_picture_has_a_sibling_an_observer_or_a_duplicate_in_train(undisturbed, faulty, truth):
    split = {row["identifier"]: row["split"] for row in undisturbed.table(SPLITS, "collection/splits.parquet")}
    where = defaultdict(set)
    for url, part in split.items():
        if part == "unused":
            continue
        known = truth[address(url)]
        for gbif_id in known["gbifIDs"]:
            where["occurrence", gbif_id].add(part)
            if observer := occurrence(faulty, gbif_id).get("recordedBy"):
                where["observer", observer].add(part)
        where["picture", known.get("of") or known["id"]].add(part)
    assert {"train", "test", "validation"} <= set(split.values())
    assert [tie for tie, parts in where.items() if len(parts) > 1] == []
    assert all(row["ties"] == 0 for row in undisturbed.table(LEAKAGE, "collection/leakage.csv") if row["forbidden"])


def test_every_broken_picture_is_rejected_with_a_code_and_no_whole_one_is(undisturbed, truth):
    reasons = {row["identifier"]: row["reason"] for row in undisturbed.table(REJECTIONS, "collection/rejections.csv")}
    kept = {row["identifier"] for row in undisturbed.table(METADATA, "collection/metadata.parquet")}
    met = Counter()
    broken = {"dead", "gone", "forbidden", "truncated", "html", "empty", "tiny", "bomb", "loop"}
    for url in kept | {url for url in reasons if address(url) in truth}:
        kind = truth[address(url)]["kind"]
        met[kind] += 1
        assert not (url in kept and kind in broken), (url, kind)
    fetched = {url: reason for url, reason in reasons.items() if address(url) in truth and reason not in NOT_FETCHED}
    expected = {
        "dead": "http_404", "gone": "http_410", "forbidden": "http_403", "empty": "empty_file", "html": "not_an_image",
        "loop": "too_many_redirects", "truncated": "broken_image", "bomb": "too_many_pixels", "tiny": "too_small",
    }  # fmt: skip
    for url, reason in fetched.items():
        if (kind := truth[address(url)]["kind"]) in expected:
            assert reason == expected[kind], (url, kind)
    assert met["ok"] > 100 and sum(met[kind] for kind in broken) > 5


def test_the_counts_of_every_stage_reconcile(undisturbed):
    ledger = read_json(undisturbed.folder / "results/collection/ledger.json")
    rows = pq.read_table(undisturbed.folder / "results/collection/candidates.parquet").num_rows
    assert ledger["in"] == rows == ledger["kept"] + sum(ledger["rejected"].values())


def test_two_runs_give_the_same_bytes_whatever_the_number_of_workers(undisturbed, faulty, tmp_path):
    other = Run(tmp_path / "other", network={"image_workers": 1}).finish(faulty)
    ours, theirs = undisturbed.bytes(), other.bytes()
    assert ours.keys() == theirs.keys() and len(ours) > 100
    assert [path for path in ours if ours[path] != theirs[path]] == []


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_and_started_again_gives_the_same_bytes(undisturbed, faulty, tmp_path, seed):
    run, chance, kills = Run(tmp_path / "killed"), random.Random(seed), 0
    for latest in (3.0, 5.0, 7.0, 9.0):  # no machine is through after three seconds
        kills += run.killed_after(faulty, chance.uniform(1.0, latest))
    run.finish(faulty)
    assert kills, "no kill met a running workflow"
    ours, theirs = undisturbed.bytes(), run.bytes()
    assert ours.keys() == theirs.keys()
    assert [path for path in ours if ours[path] != theirs[path]] == []


def test_an_outage_writes_nothing_and_the_next_run_asks_only_for_what_is_missing(replica, tmp_path):
    run = Run(tmp_path / "outage")
    run.config["network"] = {**CONFIG["network"], "tries": 2, "timeout_s": 1}
    with replica("503=1,permanent=1,on=Papilio,retry_after=0") as service:
        failed = run.go(service, "taxonomy")
        assert failed.returncode != 0
        said = failed.stdout + failed.stderr
        assert "Papilio indra" in said and "transport_error" in said and "Traceback" not in said
        assert not (run.folder / "results/taxonomy/taxa.parquet").exists()
        service.faults = type(service.faults)("none", 1)  # the service is back
        service.stats.clear()
        run.finish(service, "taxonomy")
        asked = [
            count for path, count in service.stats.report()["endpoints"].items() if path.endswith("/species/match")
        ]
        assert sum(asked) <= 4  # one name on two checklists, and its re-asks
    rows = run.table(TAXA, "taxonomy/taxa.parquet")
    assert [row["status"] for row in rows] == ["exact_synonym", *["exact_accepted"] * 4]


def test_offline_gives_the_same_from_the_store_and_names_what_it_lacks(replica, tmp_path):
    run = Run(tmp_path / "offline")
    with replica("none") as service:
        run.finish(service)
        before = run.bytes()
    for room in ("taxonomy", "collection"):
        for path in sorted((run.folder / "results" / room).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    run.config["taxonomy"] = {**run.config["taxonomy"], "offline": True}
    run.finish("http://127.0.0.1:9")
    assert run.bytes() == before
    (run.folder / "names.csv").write_text("scientificName\nMorpho peleides\n")
    failed = run.go("http://127.0.0.1:9", "taxonomy")
    assert failed.returncode != 0
    assert "Morpho peleides" in failed.stdout + failed.stderr


def test_a_new_policy_judges_again_without_asking(replica, tmp_path):
    run = Run(tmp_path / "policy")
    with replica("none") as service:
        run.finish(service, "taxonomy")
        before = service.stats.report()["requests"]
        run.config["taxonomy"] = {"source": "gbif", "accept": ["exact_accepted"]}
        run.finish(service, "taxonomy")
        assert service.stats.report()["requests"] == before
    assert [row["label"] for row in run.table(TAXA, "taxonomy/taxa.parquet")] == [False, *[True] * 4]
