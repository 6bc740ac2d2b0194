"""From list to classes, offline and against the replica of GBIF."""

import importlib.util
import json
import os
import random
import sys
from pathlib import Path

import pytest

from taxaforge import tables
from taxaforge.taxonomy import resolve as module
from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.resolve import (
    NamesNotAnswered,
    NoSpecies,
    OneNameTwoSpecies,
    ask_all,
    distinct_species,
    resolve,
)
from taxaforge.taxonomy.schema import LABEL, RANKS, REVIEW, STATUSES, TAXA
from taxaforge.taxonomy.sources import gbif
from taxaforge.taxonomy.transport import Unavailable

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared"))
SHIPPED = ROOT / "config/taxa/snapshot.csv"
OFFLINE = {
    "source": "snapshot",
    "snapshot": "",
    "checklist": "col_xr",
    "timeout_s": 5.0,
    "tries": 4,
    "contact": "a@b.org",
}


class Resolved:
    """What a resolution wrote."""

    def __init__(self, folder, lines, cfg=OFFLINE, header="scientificName", snapshot=SHIPPED):
        folder.mkdir(exist_ok=True)
        self.folder, self.logged = folder, []
        (folder / "list.csv").write_text("\n".join([header, *lines]) + "\n", "utf-8")
        out = {
            "out_taxa": folder / "taxa.parquet",
            "out_review": folder / "review.csv",
            "out_classes": folder / "classes.json",
        }
        resolve(
            taxa=folder / "list.csv",
            snapshot=snapshot,
            cfg=cfg,
            log=lambda step, values: self.logged.append((step, values)),
            **out,
        )
        self.taxa, self.review = tables.read(TAXA, out["out_taxa"]), tables.read(REVIEW, out["out_review"])
        self.classes = json.loads(out["out_classes"].read_text("utf-8"))

    @property
    def status(self):
        return {row["verbatimName"]: row["status"] for row in self.taxa}


MIXED = [
    "Inachis io",
    "Pieris rapae",
    "Ficus variegata",
    "Aglais sp.",
    "Xqz blorptifer",
    "Salix × fragilis",
    "Pica_pica",
    "nan",
]


def test_every_name_gets_one_status_and_only_labels_become_classes(tmp_path):
    run = Resolved(tmp_path, MIXED)
    assert run.status == {
        "Inachis io": "exact_synonym",
        "Pieris rapae": "exact_accepted",
        "Ficus variegata": "ambiguous_homonym",
        "Aglais sp.": "rolled_up_to_genus",
        "Xqz blorptifer": "no_match",
        "Salix × fragilis": "excluded_name_type",
        "Pica_pica": "exact_accepted",
        "nan": "empty",
    }
    assert set(run.status.values()) <= STATUSES
    assert [record["species"] for record in run.classes] == ["Aglais io", "Pieris rapae", "Pica pica"]
    assert all(set(record) == {*RANKS, "taxonID", "vernacularName"} for record in run.classes)
    assert {row["verbatimName"] for row in run.review} == {
        name for name, status in run.status.items() if status not in LABEL
    }
    assert len(run.taxa) == len(MIXED) == sum(row["label"] for row in run.taxa) + len(run.review)
    (step, counts), *_ = run.logged
    assert step is None and counts["names"] == 8 and counts["species"] == 3 and counts["review"] == 5
    assert sum(n for key, n in counts.items() if key.startswith("status_")) == 8


def test_a_row_without_label_carries_no_taxon_that_could_be_used_by_mistake(tmp_path):
    for row in Resolved(tmp_path, MIXED).taxa:
        filled = [row[column] for column in ("taxonID", "scientificName", "taxonRank", *RANKS) if row[column]]
        assert bool(filled) == row["label"], row


def test_the_review_shows_the_candidates(tmp_path):
    review = {row["verbatimName"]: row for row in Resolved(tmp_path, MIXED).review}
    assert review["Ficus variegata"]["candidates"].count("Ficus variegata") >= 2
    assert (
        "Moraceae" in review["Ficus variegata"]["candidates"] and "Ficidae" in review["Ficus variegata"]["candidates"]
    )


def test_the_order_of_the_list_changes_nothing_but_the_order_of_rows(tmp_path):
    first = Resolved(tmp_path / "a", MIXED)
    shuffled = random.Random(1).sample(MIXED, len(MIXED))
    second = Resolved(tmp_path / "b", shuffled)
    assert (tmp_path / "a/classes.json").read_bytes() == (tmp_path / "b/classes.json").read_bytes()
    strip = lambda rows: sorted(({k: v for k, v in row.items() if k != "row"} for row in rows), key=str)  # noqa: E731
    assert strip(first.taxa) == strip(second.taxa)
    assert [row["verbatimName"] for row in second.taxa] == shuffled


def test_the_same_run_twice_writes_the_same_bytes(tmp_path):
    Resolved(tmp_path / "a", MIXED), Resolved(tmp_path / "b", MIXED)
    for name in ("taxa.parquet", "review.csv", "classes.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_synonym_and_accepted_name_are_one_class_and_it_is_said(tmp_path, capsys):
    lines = ["Inachis io,Old peacock", "Aglais io,Peacock", "Papilio io,A butterfly"]
    run = Resolved(tmp_path, lines, header="scientificName,vernacularName")
    assert [(record["species"], record["vernacularName"]) for record in run.classes] == [("Aglais io", "Peacock")]
    assert "Aglais io: one species for 'Inachis io', 'Aglais io', 'Papilio io'" in capsys.readouterr().err


def test_hints_and_author_of_their_own_columns_choose_the_homonym(tmp_path):
    run = Resolved(tmp_path / "k", ["Ficus variegata,Plantae"], header="scientificName,kingdom")
    assert run.classes[0]["family"] == "Moraceae" and run.taxa[0]["hints"] == "kingdom=Plantae"
    run = Resolved(tmp_path / "a", ['Ficus variegata,"Röding, 1798"'], header="scientificName,scientificNameAuthorship")
    assert run.classes[0]["family"] == "Ficidae"


def test_two_taxa_of_one_name_cannot_both_be_classes():
    row = dict.fromkeys(RANKS) | {
        "label": True,
        "status": "exact_synonym",
        "vernacularName": None,
        "scientificName": "Aus bus",
        "species": "Aus bus",
    }
    rows = [row | {"verbatimName": name, "taxonID": key} for name, key in (("Cus bus", "t:1"), ("Dus bus", "t:2"))]
    with pytest.raises(OneNameTwoSpecies, match="'Cus bus', 'Dus bus' are 2 different taxa"):
        distinct_species(rows)
    assert len(distinct_species(rows[:1])) == 1


def test_no_species_at_all_is_an_error_and_nothing_is_written(tmp_path):
    with pytest.raises(NoSpecies, match=r"None of 2 names .* 'Xqz blorptifer' \(no_match"):
        Resolved(tmp_path, ["Xqz blorptifer", "Aglais sp."])
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_each_distinct_name_is_asked_once_in_alphabetical_order(tmp_path):
    asked = []
    queries = {
        name.canonical: name
        for name in map(parse, ["Pica pica", "Aglais sp.", "Aglais cf. io", "Aglais  io", "AGLAIS IO"])
    }
    ask_all(queries, lambda name: asked.append(name.canonical) or Answer())
    assert asked == ["Aglais", "Aglais io", "Pica pica"]


def test_a_service_that_is_down_is_left_in_peace():
    asked = []

    def ask(name):
        asked.append(name.canonical)
        raise Unavailable("down")

    queries = {f"Aus b{letter}s": parse(f"Aus b{letter}s") for letter in "abcdefghijkl"}
    answers, failures = ask_all(queries, ask)
    assert not answers and set(failures) == set(queries) and len(asked) == module.GIVE_UP_AFTER


def test_an_answer_in_between_means_the_service_is_not_down():
    queries = {f"Aus b{letter}s": parse(f"Aus b{letter}s") for letter in "abcdefghijkl"}

    def ask(name):
        if name.canonical in {"Aus bds", "Aus bhs"}:
            return Answer()
        raise Unavailable("flaky")

    answers, failures = ask_all(queries, ask)
    assert len(answers) == 2 and "Not asked" not in " ".join(map(str, failures.values()))


def test_a_v2_body_without_optional_members_is_read():
    assert gbif.read_answer({"diagnostics": {"matchType": "NONE", "confidence": 100}}, "col_xr") == Answer(
        None, (), "NONE", 100
    )
    usage = gbif.read_usage(
        {
            "usage": {
                "key": "9",
                "name": "Aus bus L.",
                "canonicalName": "Aus bus",
                "rank": "SPECIES",
                "status": "ACCEPTED",
            }
        },
        "col_xr",
    )
    assert (usage.key, usage.species_key, dict(usage.lineage)) == ("col_xr:9", "col_xr:9", {"species": "Aus bus"})


def test_a_synonym_whose_lineage_stops_at_the_genus_stands_for_its_accepted_name():
    body = {
        "usage": {"key": "8", "name": "Cus bus L.", "canonicalName": "Cus bus", "rank": "SPECIES", "status": "SYNONYM"},
        "acceptedUsage": {"key": "9", "name": "Aus bus L.", "canonicalName": "Aus bus", "rank": "SPECIES"},
        "classification": [{"key": "7", "name": "Aus", "rank": "GENUS"}],
    }
    usage = gbif.read_usage(body, "col_xr")
    assert (usage.key, usage.species_key) == ("col_xr:8", "col_xr:9")
    assert dict(usage.lineage) == {"genus": "Aus", "species": "Aus bus"}


# ---------------------------------------------------------------------------------------- the replica of GBIF


@pytest.fixture(scope="module")
def replica():
    path, data = SHARED / "tools/gbif_replica.py", SHARED / "data/lepidoptera"
    if not (path.exists() and data.exists()):
        pytest.skip(f"needs {path} and {data}")
    spec = importlib.util.spec_from_file_location("gbif_replica", path)
    tool = sys.modules["gbif_replica"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return lambda faults: tool.Replica(data, faults=faults, seed=1)


def live(checklist="col_xr", tries=4):
    return OFFLINE | {"source": "gbif", "checklist": checklist, "tries": tries}


NAMES = {
    "Inachis io": "exact_synonym",
    "Vanessa cardui": "exact_accepted",
    "PIERIS RAPAE": "exact_accepted",
    "Adelpha iphicus": "orthographic_variant",
    "Limenitis arthemis astyanax": "exact_accepted",
    "Limenitis astyanax": "exact_synonym",
    "Abaeis nicippe imaginaria": "rolled_up_to_species",
    "Abaeis inexistens": "rolled_up_to_genus",
    "Danaus sp.": "rolled_up_to_genus",
    "Satyrium": "ambiguous_homonym",
    "Colias replicata": "misapplied",
    "Vanessa replicans": "ambiguous_homonym",
    "Aglais replicoides": "provisional",
    "Abaeis nicippe × Abaeis alter": "excluded_name_type",
    "Xqzvwus blorptifer": "no_match",
    "nan": "empty",
}


@pytest.mark.parametrize("checklist", ["col_xr", "gbif_backbone"])
def test_names_are_judged_through_pygbif(tmp_path, monkeypatch, replica, checklist):
    with replica("none") as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        run = Resolved(tmp_path, list(NAMES), live(checklist), snapshot=None)
        report = server.stats.report()
    assert run.status == NAMES
    species = {row["verbatimName"]: row["scientificName"] for row in run.taxa}
    assert species["Inachis io"] == "Aglais io" and species["Limenitis astyanax"] == "Limenitis arthemis"
    assert all(record["taxonID"].startswith(f"{checklist}:") for record in run.classes)
    assert all(record["taxonID"].split(":")[1].isdigit() == (checklist == "gbif_backbone") for record in run.classes)
    assert all(row["source"] == checklist for row in run.taxa)
    assert report["requests"] == 14 and report["distinct_connections"] == 1
    assert list(report["user_agents"]) == ["taxaforge/0.1.0 (a@b.org)"]


@pytest.mark.parametrize("wrong", ["Dryas iulia", "Pieris rapae", "Satyrium pruni", "Hamadryas amphinome"])
def test_a_wrong_kingdom_never_turns_a_butterfly_into_a_shrub(tmp_path, monkeypatch, replica, wrong):
    with replica("none") as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        lines = [f"{wrong},Plantae", "Aglais io,Metazoa"]
        run = Resolved(tmp_path, lines, live(), header="scientificName,kingdom", snapshot=None)
    assert run.status == {wrong: "hint_conflict", "Aglais io": "exact_accepted"}


@pytest.mark.parametrize(
    "faults", ["default,retry_after=0", "429=.2,503=.2,reset=.2,trunc=.1,html200=.1,charset=.1,notype=.1,retry_after=0"]
)
def test_passing_faults_leave_the_same_bytes(tmp_path, monkeypatch, replica, faults):
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.01)
    written = []
    for name, spec in (("calm", "none"), ("storm", faults)):
        with replica(spec) as server:
            monkeypatch.setenv("GBIF_API_BASE", server.url)
            Resolved(tmp_path / name, list(NAMES), live(), snapshot=None)
            served = server.stats.report()["faults_served"]
        written.append(
            [(tmp_path / name / file).read_bytes() for file in ("taxa.parquet", "review.csv", "classes.json")]
        )
    assert written[0] == written[1]
    assert served or "default" in faults  # the storm did blow


def test_one_name_without_an_answer_closes_the_gate_and_is_named(tmp_path, monkeypatch, replica):
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.001)
    with replica("503=1,permanent=1,on=Vanessa") as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        with pytest.raises(
            NamesNotAnswered, match=r"1 of 3 names got no answer .* 2 did: 'Vanessa cardui' \(transport_error"
        ) as caught:
            Resolved(tmp_path, ["Aglais io", "Vanessa cardui", "Pieris rapae"], live(tries=2), snapshot=None)
    assert list(caught.value.reasons) == ["Vanessa cardui"]
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]
