"""The split: components never cross, counts are met, order and other species do not matter, errors say what to do."""

import json
import random
from collections import Counter, defaultdict

import pytest

from taxaforge import tables
from taxaforge.collection.schema import LEAKAGE, METADATA, SPLITS
from taxaforge.collection.split import TooFewImages, groups, leakage, observation, split
from taxaforge.errors import TaxaforgeError

SPLIT = {"unit": "group", "validation": 4, "test": 7, "reserve": 9}
FEW = {"kind": "few_shot", "shots": 6}


def image(species, k, observer=None, day=None, duplicate_set=None, sha=None):
    name = f"{species}-{k:03d}"
    return {
        "identifier": name, "file_name": f"images/{name}.png", "sha256": sha or name, "scientificName": species,
        "verbatimScientificName": species, "recordedBy": observer, "eventDate": day, "license": None, "rightsHolder": None,
        "source": "folder", "caption": "", "errorCode": "", "img_width": 64, "img_height": 64, "img_phash": "0" * 64,
        "qc_contrast": 30.0, "qc_duplicate_set": duplicate_set or name,
    }  # fmt: skip


def species_rows(species, count, per_observer=3):
    return [image(species, k, f"Observer {k // per_observer}", "2024-05-01") for k in range(count)]


def run(folder, rows, species, protocol=FEW, seed=0, **changes):
    tables.write(METADATA, rows, folder / "metadata.parquet")
    (folder / "classes.json").write_text(json.dumps([{"species": name} for name in species]))
    split(
        metadata=folder / "metadata.parquet", classes=folder / "classes.json", split=SPLIT | changes, protocol=protocol,
        seed=seed, out_splits=folder / "splits.parquet", out_leakage=folder / "leakage.csv",
    )  # fmt: skip
    return {row["identifier"]: row for row in tables.read(SPLITS, folder / "splits.parquet")}


def sizes(table):
    counts = defaultdict(Counter)
    for row in table.values():
        counts[row["scientificName"]][row["split"]] += 1
    return counts


@pytest.mark.parametrize("per_observer", [1, 2, 3, 5, 8])
def test_every_split_gets_exactly_what_was_asked_and_no_observer_is_in_two(tmp_path, per_observer):
    table = run(tmp_path, species_rows("P", 60, per_observer), ["P"])
    counts = sizes(table)["P"]
    assert (counts["test"], counts["validation"], counts["train"], counts["reserve"]) == (7, 4, 6, 9)
    used = defaultdict(set)
    for identifier, row in table.items():
        if row["split"] != "unused":
            used[int(identifier[-3:]) // per_observer].add(row["split"])
    assert max(map(len, used.values())) == 1
    assert all(row["ties"] == 0 for row in tables.read(LEAKAGE, tmp_path / "leakage.csv"))


def test_full_protocol_trains_on_all_that_the_others_leave(tmp_path):
    counts = sizes(run(tmp_path, species_rows("P", 60, 1), ["P"], {"kind": "full", "shots": 6}))["P"]
    assert counts == {"test": 7, "validation": 4, "reserve": 9, "train": 40}


def test_the_reserve_is_what_goes_short_first(tmp_path, capsys):
    counts = sizes(run(tmp_path, species_rows("P", 19, 1), ["P"]))["P"]
    assert counts == {"test": 7, "validation": 4, "train": 6, "reserve": 2}
    assert "least: P with 2" in capsys.readouterr().out


def test_reversing_the_table_changes_nothing_and_a_seed_changes_it(tmp_path):
    rows = species_rows("P", 60) + species_rows("Q", 50)
    table = run(tmp_path, rows, "PQ")
    shuffled = random.Random(1).sample(rows, len(rows))
    assert run(tmp_path, shuffled, "PQ") == table
    assert run(tmp_path, rows, "PQ", seed=1) != table


def test_adding_a_species_changes_no_other(tmp_path):
    alone = run(tmp_path, species_rows("P", 60), ["P"])
    both = run(tmp_path, species_rows("P", 60) + species_rows("A", 50), ["A", "P"])
    assert alone.items() <= both.items()


def test_more_shots_keep_the_test_and_validation_pictures(tmp_path):
    few = run(tmp_path, species_rows("P", 60), ["P"])
    many = run(tmp_path, species_rows("P", 60), ["P"], {"kind": "few_shot", "shots": 20})
    sealed = [i for i, row in few.items() if row["split"] in ("test", "validation")]
    assert all(few[i] == many[i] for i in sealed)


@pytest.mark.parametrize("a, b, together", [
    pytest.param(("Ann", "2024-05-01"), ("ann ", "2024-05-01T10:30:00Z"), True, id="spelling and time of day do not matter"),
    pytest.param(("Ann", "2024-05-01"), ("Ann", "2024-05-02"), False, id="another day is another observation"),
    pytest.param(("Ann", None), ("Ann", None), True, id="undated pictures of one observer stay together"),
    pytest.param((None, "2024-05-01"), (None, "2024-05-01"), False, id="unknown observers never join"),
    pytest.param(("  ", "2024-05-01"), ("", "2024-05-01"), False, id="blank is unknown"),
])  # fmt: skip
def test_what_makes_one_observation(a, b, together):
    first, second = observation(image("P", 1, *a)), observation(image("P", 2, *b))
    assert (first is not None and first == second) == together
    assert len(set(groups([image("P", 1, *a), image("P", 2, *b)], "group").values())) == (1 if together else 2)


def test_ties_chain_through_observers_and_duplicates():
    rows = [
        image("P", 1, "Ann", "2024-05-01"), image("P", 2, "Ann", "2024-05-01", duplicate_set="x"),
        image("P", 3, "Bo", "2024-05-02", duplicate_set="x"), image("P", 4, "Bo", "2024-05-02"), image("P", 5),
    ]  # fmt: skip
    assert list(groups(rows, "group").values()) == ["P-001"] * 4 + ["P-005"]
    assert len(set(groups(rows, "image").values())) == 5


def test_the_leakage_table_sees_what_a_faulty_split_did():
    rows = [image("P", 1, "Ann", "2024-05-01", sha="s"), image("P", 2, "Ann", "2024-05-01", sha="s"), image("P", 3)]
    cells = leakage(rows, {"P-001": "train", "P-002": "test", "P-003": "test"})
    hit = {(row["edge"], row["split_a"], row["split_b"]) for row in cells if row["ties"]}
    assert hit == {("observation", "train", "test"), ("same_file", "train", "test")}
    assert len(cells) == 3 * 6


def test_split_by_image_reports_the_leaks_it_was_asked_to_make(tmp_path):
    run(tmp_path, species_rows("P", 60, 8), ["P"], unit="image")
    assert any(row["ties"] for row in tables.read(LEAKAGE, tmp_path / "leakage.csv"))


def test_too_few_images_name_every_species_and_the_remedy(tmp_path):
    rows = species_rows("P", 60, 1) + species_rows("Q", 14, 1) + species_rows("R", 16, 1)
    with pytest.raises(TooFewImages) as caught:
        run(tmp_path, rows, "PQRS")
    message = str(caught.value)
    assert "3 of 4 species" in message and "P has" not in message
    assert "Q has 14 in 14 groups (test 7, validation 4, train 3)" in message
    assert "S has 0" in message and "protocol.shots (6)" in message
    assert "lower protocol.shots" not in message  # no number of shots would help S
    with pytest.raises(TooFewImages, match=r"lower protocol\.shots to 3, or"):
        run(tmp_path, rows, "PQR")
    run(tmp_path, rows, "PQR", FEW | {"shots": 3})  # the remedy works
    assert not list(tmp_path.glob(".*"))


def test_one_giant_component_is_an_error_and_not_a_leak(tmp_path):
    with pytest.raises(TooFewImages, match="P has 100 in 1 groups"):
        run(tmp_path, species_rows("P", 100, 100), ["P"])


def test_pictures_of_other_species_are_left_out(tmp_path):
    assert {
        row["scientificName"] for row in run(tmp_path, species_rows("P", 60) + species_rows("X", 5), "P").values()
    } == {"P"}


def test_one_component_under_two_species_is_refused():
    rows = [image("P", 1, duplicate_set="x"), image("Q", 1, duplicate_set="x")]
    with pytest.raises(TaxaforgeError, match=r"2 species \(P, Q\)"):
        groups(rows, "group")
