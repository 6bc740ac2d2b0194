"""The offline taxonomy that ships, and tables that are none."""

import csv
from pathlib import Path

import pytest

from taxaforge.taxonomy.judge import judge
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.schema import POLICY
from taxaforge.taxonomy.sources.snapshot import COLUMNS, BadSnapshot, load

TAXA = Path(__file__).parents[2] / "config/taxa"
SHIPPED = TAXA / "snapshot.csv"


@pytest.fixture(scope="module")
def ask():
    return load(SHIPPED)


@pytest.mark.parametrize(
    "written, hints, status, species",
    [
        ("Inachis io", {}, "exact_synonym", "Aglais io"),
        ("Parus caeruleus", {}, "exact_synonym", "Cyanistes caeruleus"),
        ("Danaus plexippus plexippus", {}, "exact_accepted", "Danaus plexippus"),
        ("Danaus plexippus imaginaria", {}, "rolled_up_to_species", "Danaus plexippus"),
        ("Parus caeruleus britannicus", {}, "rolled_up_to_species", "Cyanistes caeruleus"),
        ("Polyommatus bellarga", {}, "orthographic_variant", "Polyommatus bellargus"),
        pytest.param("Papilio machaonus", {}, "rolled_up_to_genus", None, id="an ending more is not another ending"),
        ("Lynx lynxus", {}, "rolled_up_to_genus", None),
        ("Aglais inexistens", {}, "rolled_up_to_genus", None),
        ("Aglais sp.", {}, "rolled_up_to_genus", None),
        pytest.param("Pieris", {}, "ambiguous_homonym", None, id="butterfly or shrub"),
        pytest.param("Pieris", {"kingdom": "Plantae"}, "rolled_up_to_genus", None, id="the shrub, but no species"),
        ("Pieris rapae", {"kingdom": "Plantae"}, "hint_conflict", None),
        ("Ficus variegata", {}, "ambiguous_homonym", None),
        ("Ficus variegata", {"kingdom": "Animalia"}, "exact_accepted", "Ficus variegata"),
        ("Agathis montana", {"order": "Hymenoptera"}, "exact_accepted", "Agathis montana"),
        ("Lepidoptera", {}, "higher_only", None),
        ("Aglias io", {}, "no_match", None),
        ("Xqzvwus blorptifer", {}, "no_match", None),
    ],
)
def test_names_against_the_shipped_table(ask, written, hints, status, species):
    name = parse(written)
    verdict = judge(name, hints, ask(name))
    assert verdict.status == status
    assert (verdict.usage.lineage["species"] if verdict.labelled(POLICY) else None) == species


def test_a_misspelt_genus_is_offered_not_taken(ask):
    name = parse("Aglias io")
    assert ask(name).similar == ("Aglais io",) and judge(name, {}, ask(name)).status == "no_match"


@pytest.mark.parametrize("which", ["default", "photographs"])
def test_every_shipped_species_list_resolves_to_twelve_species(ask, which):
    with (TAXA / f"{which}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    verdicts = [
        judge(name, {"kingdom": row["kingdom"]}, ask(name)) for row in rows for name in [parse(row["scientificName"])]
    ]
    assert all(verdict.labelled(POLICY) for verdict in verdicts)
    lineages = [verdict.usage.lineage for verdict in verdicts]
    assert len({lineage["species"] for lineage in lineages}) == len(rows) == 12
    assert len({lineage["family"] for lineage in lineages}) >= 4
    assert all(row["vernacularName"] for row in rows)
    genera = [lineage["genus"] for lineage in lineages]
    assert len(set(genera)) >= 8 and sum(genera.count(genus) > 1 for genus in set(genera)) >= 3
    if which == "default":
        assert len({lineage["order"] for lineage in lineages}) >= 2
        assert "exact_synonym" in {verdict.status for verdict in verdicts}


def test_every_row_of_the_shipped_table_has_a_whole_lineage_and_a_key_of_its_own():
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert all(row[column] for column in COLUMNS), row
            assert row["taxonID"].startswith("snapshot:")
            assert row["species"].split()[0] == row["genus"]


def test_a_taxon_has_one_place_in_the_shipped_table():
    """A genus, family, order or class stands under one parent within a kingdom."""
    parents = {}
    with SHIPPED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for above, rank in zip(
                ("kingdom", "phylum", "class", "order", "family"),
                ("phylum", "class", "order", "family", "genus"),
                strict=True,
            ):
                homonyms = {("Animalia", "Agathis"), ("Animalia", "Ficus")}
                assert (
                    parents.setdefault((row["kingdom"], rank, row[rank]), row[above]) == row[above]
                    or (row["kingdom"], row[rank]) in homonyms
                )


HEADER = ",".join(COLUMNS)
ROW = "s:1,Aus bus,,species,accepted,Aus bus,Animalia,,,,,Aus,Aus bus"


@pytest.mark.parametrize(
    "text, says",
    [
        ("scientificName\nAus bus\n", "lacks the columns taxonID"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "stands there twice"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('s:1', 's:2')}\n", "accepted twice"),
        (f"{HEADER}\n{ROW.replace('s:1', '')}\n", "empty"),
        (
            f"{HEADER}\n{ROW}\ns:2,Bus cus,,species,synonym,Dus dus,Animalia,,,,,Dus,Dus dus\n",
            "no such accepted species",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, text, says):
    (tmp_path / "s.csv").write_text(text, "utf-8")
    with pytest.raises(BadSnapshot, match=says):
        load(tmp_path / "s.csv")


def test_a_missing_table_names_the_setting(tmp_path):
    with pytest.raises(BadSnapshot, match=r"taxonomy\.snapshot"):
        load(tmp_path / "s.csv")


def test_missing_ranks_stay_missing(tmp_path):
    (tmp_path / "s.csv").write_text(f"{HEADER}\n{ROW}\n", "utf-8")
    assert dict(load(tmp_path / "s.csv")(parse("Aus bus")).best.lineage) == {
        "kingdom": "Animalia",
        "genus": "Aus",
        "species": "Aus bus",
    }
