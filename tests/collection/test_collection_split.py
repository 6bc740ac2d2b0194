"""The split as a whole: related pictures never cross, counts are met, order and other species do not matter."""

import json
import random
from collections import Counter, defaultdict
from itertools import combinations

import pytest

from taxaforge import tables
from taxaforge.collection.schema import DUPLICATES, LEAKAGE, METADATA, SPLITS, TAIL
from taxaforge.collection.split import split
from taxaforge.collection.tail import TooFewImages
from taxaforge.collection.units import NoOfficialSplit

SPLIT = {"unit": "event", "cut": "", "block_km": 50.0, "short": "stop", "validation": 4, "test": 7, "reserve": 9}
FEW = {"kind": "few_shot", "shots": 6}
FULL = {"kind": "full", "shots": 6}
USED = ("train", "validation", "test", "reserve")


def image(species, k, observer=None, day=None, **known):
    name = f"{species}-{k:03d}"
    own = {
        "identifier": name, "file_name": f"images/{name}.png", "sha256": name, "scientificName": species,
        "verbatimScientificName": species, "recordedBy": observer, "eventDate": day, "source": "folder", "caption": "",
        "errorCode": "", "img_format": "PNG", "img_width": 64, "img_height": 64, "img_pixel_sha256": name,
        "img_phash": "0" * 64, "qc_contrast": 30.0, "qc_sharpness": 50.0, "qc_mono": False, "qc_duplicate_set": name,
    }  # fmt: skip
    return dict.fromkeys(METADATA.columns) | own | known


def copy_of(row, k, **known):
    """A dropped duplicate of a kept picture: another file, and what its own publisher says about it."""
    own = {
        "identifier": f"{row['identifier']}:copy{k}",
        "sha256": f"copy{k}",
        "qc_duplicate_kind": "near",
        "kept": False,
    }
    blank = dict.fromkeys(("recordedBy", "eventDate", "gbifID", "occurrenceID", "decimalLatitude", "decimalLongitude"))
    return {name: (row | blank | own | known).get(name) for name in DUPLICATES.columns}


def species_rows(species, count, per_observer=3, **known):
    return [image(species, k, f"Observer {k // per_observer}", "2024-05-01", **known) for k in range(count)]


def run(
    folder, rows, species, protocol=FEW, seed=0, dropped=(), log=lambda step, values: None, previous=None, **changes
):
    tables.write(METADATA, rows, folder / "metadata.parquet")
    tables.write(DUPLICATES, dropped, folder / "duplicates.parquet")
    (folder / "classes.json").write_text(json.dumps([{"species": name} for name in species]))
    split(
        metadata=folder / "metadata.parquet", duplicates=folder / "duplicates.parquet", classes=folder / "classes.json",
        split=SPLIT | changes, protocol=protocol, seed=seed, out_splits=folder / "splits.parquet",
        out_leakage=folder / "leakage.csv", out_tail=folder / "tail.csv", log=log, previous=previous,
    )  # fmt: skip
    return {row["identifier"]: row for row in tables.read(SPLITS, folder / "splits.parquet")}


def parts(table):
    return {identifier: row["split"] for identifier, row in table.items()}


def sizes(table):
    counts = defaultdict(Counter)
    for row in table.values():
        counts[row["scientificName"]][row["split"]] += 1
    return counts


def tail(folder):
    return {row["scientificName"]: row for row in tables.read(TAIL, folder / "tail.csv")}


# ---------------------------------------------------------------- counts


@pytest.mark.parametrize("per_observer", [1, 2, 3, 5, 8])
def test_every_split_gets_exactly_what_was_asked_and_no_event_is_in_two(tmp_path, per_observer):
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
    counts = sizes(run(tmp_path, species_rows("P", 60, 1), ["P"], FULL))["P"]
    assert counts == {"test": 7, "validation": 4, "reserve": 9, "train": 40}


def test_the_reserve_is_what_goes_short_first(tmp_path, capsys):
    counts = sizes(run(tmp_path, species_rows("P", 19, 1), ["P"]))["P"]
    assert counts == {"test": 7, "validation": 4, "train": 6, "reserve": 2}
    assert "least: P with 2" in capsys.readouterr().out
    assert tail(tmp_path)["P"] == {
        "scientificName": "P", "images": 19, "groups": 19, "train": 6, "validation": 4, "test": 7, "reserve": 2, "unused": 0,
        "short": "reserve",
    }  # fmt: skip


def test_more_shots_keep_the_test_and_validation_pictures(tmp_path):
    few = run(tmp_path, species_rows("P", 60), ["P"])
    many = run(tmp_path, species_rows("P", 60), ["P"], FEW | {"shots": 20})
    sealed = [i for i, row in few.items() if row["split"] in ("test", "validation")]
    assert all(few[i] == many[i] for i in sealed)


def test_pictures_of_other_species_are_left_out(tmp_path):
    table = run(tmp_path, species_rows("P", 60) + species_rows("X", 5), "P")
    assert {row["scientificName"] for row in table.values()} == {"P"}


# ---------------------------------------------------------------- what does not matter


@pytest.mark.parametrize("unit", ["event", "observer", "spatial", "time", "official", "occurrence"])
def test_reversing_the_tables_changes_no_byte_and_a_seed_changes_the_split(tmp_path, unit):
    rng = random.Random(5)
    rows, dropped = messy(rng, 120)
    cfg = {"unit": unit, "cut": "2024-03-01", "short": "train", "test": 3, "validation": 2, "reserve": 2}
    table = run(tmp_path, rows, "PQR", FEW | {"shots": 2}, dropped=dropped, **cfg)
    files = [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")]
    shuffled = rng.sample(rows, len(rows))
    assert run(tmp_path, shuffled, "RQP", FEW | {"shots": 2}, dropped=dropped[::-1], **cfg) == table
    assert [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")] == files
    assert parts(run(tmp_path, rows, "PQR", FEW | {"shots": 2}, seed=1, dropped=dropped, **cfg)) != parts(table)


def test_adding_a_species_changes_no_other(tmp_path):
    alone = run(tmp_path, species_rows("P", 60), ["P"])
    both = run(tmp_path, species_rows("P", 60) + species_rows("A", 50), ["A", "P"])
    assert alone.items() <= both.items()


def test_adding_pictures_of_one_species_changes_no_species_that_shares_no_observer_with_it(tmp_path):
    rows = [
        image(name, k, f"{name if name == 'R' else 'PQ'} {k // 3}", "2024-05-01") for name in "PQR" for k in range(60)
    ]
    more = [image("P", 100 + k, f"PQ {k}", "2024-05-02") for k in range(9)]
    cfg = {"unit": "observer", "reserve": 0}
    before, after = parts(run(tmp_path, rows, "PQR", **cfg)), parts(run(tmp_path, rows + more, "PQR", **cfg))
    assert {i: part for i, part in before.items() if i[0] == "R"}.items() <= after.items()
    assert not before.items() <= after.items()


# ---------------------------------------------------------------- an independent reading of every rule

PEOPLE = [
    (None, None), (None, "unknown"), ("Ann", None), (" ANN ", None), (None, "https://orcid.org/1"), ("Ann", "1"), ("Bo", None),
    ("Cy | Bo", None), ("Dee", None), ("Eve", None), ("Flo", None), ("Gus", "2"), ("Hal", "2"), ("Ida", None), ("Jo", None),
]  # fmt: skip
NAMES_OF = [
    set(), set(), {"ann"}, {"ann"}, {"id 1"}, {"ann", "id 1"}, {"bo"}, {"cy", "bo"}, {"dee"}, {"eve"}, {"flo"}, {"gus", "id 2"},
    {"hal", "id 2"}, {"ida"}, {"jo"},
]  # fmt: skip
PLACES = [
    (None, None, None, None), (0.0, 0.0, 10.0, None), (10.01, 10.01, 90000.0, None), (-60.0, 10.0, 28000.0, None),
    (-57.0, 12.0, None, "Coordinate uncertainty increased to protect a threatened taxon"),
] + [(-60.0 + 3 * k, 10.0 + 2 * (k % 4), None if k % 2 else 100.0, None) for k in range(40)]  # fmt: skip
JANUARY = 1  # 2024-01-01, counted in days
DATES = {
    None: (-9999, 9999), "2024": (JANUARY, 366), "2024-01-05": (5, 5), "2024-01-05T10:00/2024-01-09": (5, 9),
    "2024-01-08": (8, 8), "2024-02-11T10:00": (42, 42), "2024-02": (32, 60), "2024-04-01": (92, 92),
    "2024-04-02/2024-04-05": (93, 96), "2024-04-04": (95, 95), "2023-12-30/2024-01-01": (-1, 1), "2024-05-01": (122, 122),
    "2024-01-20/2024-04-20": (20, 111),
}  # fmt: skip
"""eventDate -> first and last day."""
USUAL = ["2024-01-05", "2024-02-11T10:00", "2024-04-01", "2024-05-01", "2024-01-08", "2024-04-04"]


def messy(rng, count):
    """Kept and dropped rows whose ties cross species, chain through copies and lack what they may lack."""
    rows, dropped = [], []
    for k in range(count):
        number, place, species = rng.randrange(len(PEOPLE)), rng.choice(PLACES), "PQR"[k % 3]
        people = rng.choice([PEOPLE[number], (f"Solo {k}", None), (f"Solo {k}", None)])
        day = rng.choice([*DATES, *USUAL, *USUAL])
        known = {
            "recordedByID": people[1],
            "gbifID": rng.choice([None, None, str(rng.randrange(count))]),
            "occurrenceID": rng.choice([None, str(rng.randrange(count))]),
            "datasetKey": rng.choice("de"),
            "decimalLatitude": place[0],
            "decimalLongitude": place[1],
            "coordinateUncertaintyInMeters": place[2],
            "informationWithheld": place[3],
            "officialSplit": rng.choice([None, "train", "train", "train", "validation", "test"]),
        }
        row = image(species, k, people[0], day, **known)
        rows.append(row)
        if rng.random() < 0.1:
            person, other = rng.choice(PEOPLE), rng.choice(rows)
            late = {"eventDate": "2024-05-01", "gbifID": other["gbifID"], "scientificName": other["scientificName"]}
            dropped.append(copy_of(row, k, recordedBy=person[0], recordedByID=person[1], **late))
    return rows, dropped


def who(row):
    for (name, key), persons in zip(PEOPLE, NAMES_OF, strict=True):
        if (row["recordedBy"], row["recordedByID"]) == (name, key):
            return persons
    return {row["recordedBy"]}


def where(row):
    known = (row["decimalLatitude"], row["decimalLongitude"])
    return (
        known
        if known not in ((None, None), (0.0, 0.0))
        and (row["coordinateUncertaintyInMeters"] or 0) < 5_000
        and not row["informationWithheld"]
        else None
    )


def occurrence_key(row):
    return row["gbifID"] or (row["occurrenceID"] and (row["datasetKey"], row["occurrenceID"]))


TIED = {
    "occurrence": lambda a, b: occurrence_key(a) is not None and occurrence_key(a) == occurrence_key(b),
    "event": lambda a, b: bool(who(a) & who(b)) and a["scientificName"] == b["scientificName"]
    and DATES[a["eventDate"]][0] <= DATES[b["eventDate"]][1] and DATES[b["eventDate"]][0] <= DATES[a["eventDate"]][1],
    "observer": lambda a, b: bool(who(a) & who(b)),
    "block": lambda a, b: where(a) is not None and where(a) == where(b),
    "duplicate_set": lambda a, b: a["qc_duplicate_set"] == b["qc_duplicate_set"],
    "same_file": lambda a, b: a["sha256"] == b["sha256"],
}  # fmt: skip
WELDS = {
    "image": [],
    "occurrence": ["occurrence", "duplicate_set", "same_file"],
    "event": ["occurrence", "duplicate_set", "same_file", "event"],
    "time": ["occurrence", "duplicate_set", "same_file", "event"],
    "official": ["occurrence", "duplicate_set", "same_file", "event"],
    "observer": ["occurrence", "duplicate_set", "same_file", "event", "observer"],
    "spatial": ["occurrence", "duplicate_set", "same_file", "event", "block"],
}


def connected(rows, kinds):
    """identifier -> number of its component, by walking every pair of rows that a kind ties."""
    neighbours = defaultdict(set)
    for a, b in combinations(rows, 2):
        if any(TIED[kind](a, b) for kind in kinds):
            neighbours[a["identifier"]].add(b["identifier"])
            neighbours[b["identifier"]].add(a["identifier"])
    component = {}
    for row in rows:
        waiting = [row["identifier"]]
        while waiting:
            here = waiting.pop()
            if here not in component:
                component[here] = row["identifier"]
                waiting += neighbours[here]
    return component


def side_of_cut(day):
    first, last = DATES[day]
    return "late" if first >= 61 else "early" if last < 61 else "undated"  # 61: the first of March


@pytest.mark.parametrize("protocol", [FEW | {"shots": 2}, FULL], ids=["few_shot", "full"])
@pytest.mark.parametrize("unit", list(WELDS))
def test_random_collections_are_dealt_by_the_rules(tmp_path, unit, protocol):
    dealt = 0
    for number in range(4):
        rows, dropped = messy(random.Random(f"{unit}{number}"), 90)
        cfg = {"unit": unit, "cut": "2024-03-01", "short": "train", "test": 3, "validation": 2, "reserve": 2}
        try:
            table = run(tmp_path, rows, "PQR", protocol, dropped=dropped, **cfg)
        except TooFewImages:
            continue
        dealt += 1
        by_name = {row["identifier"]: row for row in rows}
        assert set(table) == set(by_name)
        component = connected([*rows, *dropped], WELDS[unit])
        members = defaultdict(list)
        for identifier in by_name:
            members[component[identifier]].append(identifier)

        for own in members.values():
            assert {table[i]["group"] for i in own} == {min(own)}
            assert len({table[i]["split"] for i in own} - {"unused"}) <= 1

        short = {name: row["short"] for name, row in tail(tmp_path).items()}
        for name, counts in sizes(table).items():
            if set(short[name].split()) - {"reserve"}:
                assert set(counts) <= {"train", "unused"}
                continue
            if unit != "official":
                assert (counts["test"], counts["validation"]) == (3, 2)
            assert counts["train"] == 2 if protocol["kind"] == "few_shot" else counts["train"] >= 1
            assert counts["reserve"] == 2 or "reserve" in short[name]

        for i, row in by_name.items():
            part, own = table[i]["split"], members[component[i]]
            if unit == "observer" and not who(row):
                assert part in ("train", "reserve", "unused")
            if unit == "spatial" and where(row) is None:
                assert part in ("train", "unused")
            if unit == "time":
                allowed = {"early": USED[:2] + USED[3:], "undated": ("train", "reserve"), "late": ("test",)}
                assert part in (*allowed[side_of_cut(row["eventDate"])], "unused")
                if part == "test":
                    assert {side_of_cut(by_name[other]["eventDate"]) for other in own} == {"late"}
            if unit == "official" and set(short[table[i]["scientificName"]].split()) <= {"reserve"}:
                assert (part == "test") == (row["officialSplit"] == "test")

        check_leakage(tmp_path, [*rows, *dropped], table, unit)
    assert dealt >= 2


def check_leakage(folder, rows, table, unit):
    of_set = {row["qc_duplicate_set"]: row["identifier"] for row in rows if row["identifier"] in table}
    place = {
        row["identifier"]: of_set[row["qc_duplicate_set"]] for row in rows
    }  # a dropped copy lies where its kept one lies
    cells = {(row["edge"], row["split_a"], row["split_b"]): row for row in tables.read(LEAKAGE, folder / "leakage.csv")}
    assert len(cells) == 6 * 6
    for kind in TIED:
        ties = defaultdict(set)
        for identifier, name in connected(rows, [kind]).items():
            ties[name].add(place[identifier])
        for a, b in combinations(USED, 2):
            crossing = [own for own in ties.values() if {a, b} <= {table[i]["split"] for i in own}]
            cell = cells[kind, a, b]
            assert cell["ties"] == len(crossing)
            assert cell["images"] == len({i for own in crossing for i in own if table[i]["split"] == b})
            assert cell["forbidden"] == (kind in WELDS[unit])
            assert not (cell["forbidden"] and cell["ties"])


# ---------------------------------------------------------------- single cases of the units


def test_a_kept_picture_inherits_the_ties_of_its_dropped_copy(tmp_path):
    rows = species_rows("P", 60)
    stray = image("P", 70)  # no observer of its own; the copy that was dropped names one
    ghost = copy_of(stray, 0, recordedBy="Observer 4", eventDate="2024-05-01T09:00")
    table = run(tmp_path, [*rows, stray], ["P"], dropped=[ghost])
    assert table["P-070"]["group"] == "P-012"
    assert run(tmp_path, [*rows, stray], ["P"])["P-070"]["group"] == "P-070"
    assert ghost["identifier"] not in table


def test_a_picture_with_a_vague_date_holds_its_observer_s_days_together(tmp_path):
    rows = species_rows("P", 60, 1)
    rows += [
        image("P", 60 + k, "Ann", day) for k, day in enumerate(["2020-05-01/2020-05-03", "2020-05-02", "2020-05-09"])
    ]
    table = run(tmp_path, rows, ["P"])
    assert [table[f"P-{k:03d}"]["group"] for k in (60, 61, 62)] == ["P-060", "P-060", "P-062"]
    table = run(tmp_path, [*rows, image("P", 63, "Ann")], ["P"])
    assert {table[f"P-{k:03d}"]["group"] for k in (60, 61, 62, 63)} == {"P-060"}
    assert not any(row["ties"] for row in tables.read(LEAKAGE, tmp_path / "leakage.csv"))


def test_dates_that_nobody_can_read_are_told(tmp_path, capsys):
    run(tmp_path, species_rows("P", 60, 1), ["P"])
    assert "eventDate" not in capsys.readouterr().out
    odd = [image("P", 60, "Ann", "01.05.2020"), image("P", 61, "Ann", "2020"), image("P", 62)]
    rows = [*species_rows("P", 60, 1), *odd]
    table = run(tmp_path, rows, ["P"])
    assert "1 of 63 images has an eventDate that is no ISO 8601 date ('01.05.2020')" in capsys.readouterr().out
    assert table["P-061"]["group"] == "P-060"


def test_members_of_duplicate_sets_that_were_kept_are_dealt_once(tmp_path):
    rows = species_rows("P", 60)
    kept = {name: rows[0].get(name) for name in DUPLICATES.columns} | {"qc_duplicate_kind": "exact", "kept": True}
    assert run(tmp_path, rows, ["P"], dropped=[kept]) == run(tmp_path, rows, ["P"])


def test_one_observer_in_two_datasets_lies_in_one_split(tmp_path):
    rows = [
        image("P", k, f"Observer {k % 20}", f"2024-05-{k % 28 + 1:02d}", datasetKey="de"[k // 30]) for k in range(60)
    ]
    table = run(tmp_path, rows, ["P"], unit="observer")
    used = defaultdict(set)
    for identifier, row in table.items():
        used[int(identifier[-3:]) % 20].add(row["split"])
    assert all(len(own - {"unused"}) <= 1 for own in used.values())
    assert any(row["ties"] for row in leaks_of(tmp_path, rows, "event") if row["edge"] == "observer")


def leaks_of(folder, rows, unit):
    run(folder, rows, ["P"], unit=unit)
    return tables.read(LEAKAGE, folder / "leakage.csv")


def test_pictures_without_an_observer_are_not_welded_and_only_train(tmp_path):
    rows = species_rows("P", 40, 2) + [image("P", k, None, "2024-05-01") for k in range(40, 80)]
    table = run(tmp_path, rows, ["P"], FULL, unit="observer")
    nameless = {row["split"] for identifier, row in table.items() if identifier >= "P-040"}
    assert nameless == {"train", "reserve"}
    assert len({row["group"] for row in table.values()}) == 20 + 40


def test_a_late_copy_does_not_move_an_early_picture_and_an_early_copy_unseals_a_late_one(tmp_path):
    rows = [image("P", k, f"Observer {k}", "2024-04-01" if k < 20 else "2023-04-01") for k in range(60)]
    early, late = copy_of(rows[3], 0, eventDate="2023-01-01"), copy_of(rows[30], 1, eventDate="2024-06-01")
    cfg = {"unit": "time", "cut": "2024-01-01", "test": 18}
    table = run(tmp_path, rows, ["P"], FULL, dropped=[early, late], **cfg)
    assert table["P-003"]["split"] == "unused"
    assert table["P-030"]["split"] != "unused"
    assert {row["split"] for i, row in table.items() if i < "P-020"} == {"test", "unused"}
    assert sizes(table)["P"]["test"] == 18


def test_the_day_of_the_cut_is_the_first_day_of_test(tmp_path):
    rows = [image("P", k, f"Observer {k}", "2024-01-01T08:00" if k < 7 else "2023-12-31T23:59") for k in range(60)]
    table = run(tmp_path, rows, ["P"], unit="time", cut="2024-01-01")
    assert {i for i, row in table.items() if row["split"] == "test"} == {f"P-{k:03d}" for k in range(7)}


def test_a_square_holds_all_species_that_were_seen_in_it(tmp_path):
    rows = [
        image(name, k, f"{name} {k}", "2024-05-01", decimalLatitude=40.0 + k // 3, decimalLongitude=5.0)
        for name in "PQ" for k in range(60)
    ]  # fmt: skip
    table = run(tmp_path, rows, "PQ", unit="spatial")
    assert all(sizes(table)[name]["test"] == 7 for name in "PQ")
    for k in range(0, 60, 3):
        square = {table[f"{name}-{i:03d}"]["split"] for name in "PQ" for i in range(k, k + 3)}
        assert len(square - {"unused"}) <= 1


def test_pictures_whose_place_is_blurred_only_train(tmp_path):
    rows = [
        image("P", k, f"P {k}", "2024-05-01", decimalLatitude=40.0 + k // 3, decimalLongitude=5.0) for k in range(60)
    ]
    blurred = [
        image("P", 60 + k, f"P {60 + k}", "2024-05-01", decimalLatitude=20.0 + k, decimalLongitude=5.0, **known)
        for k, known in enumerate(
            [{"coordinateUncertaintyInMeters": 28_000.0}] * 8 + [{"informationWithheld": "Coordinates hidden"}] * 8
        )
    ]
    table = run(tmp_path, rows + blurred, ["P"], FULL, unit="spatial")
    assert {row["split"] for i, row in table.items() if i >= "P-060"} == {"train"}


def test_official_test_pictures_are_all_and_only_the_test(tmp_path):
    rows = [
        image("P", k, f"Observer {k // 2}", "2024-05-01", officialSplit="test" if k < 21 else "train")
        for k in range(60)
    ]
    table = run(tmp_path, rows, ["P"], unit="official")
    assert {i for i, row in table.items() if row["split"] == "test"} == {f"P-{k:03d}" for k in range(21)}
    assert table["P-021"]["split"] == "unused"  # the same observer and day as a test picture
    assert sizes(table)["P"] == {"test": 21, "validation": 4, "train": 6, "reserve": 9, "unused": 20}


def test_a_training_picture_whose_dropped_copy_was_in_the_official_test_is_unused(tmp_path):
    rows = [image("P", k, officialSplit="test" if k < 10 else "train") for k in range(60)]
    table = run(tmp_path, rows, ["P"], FULL, dropped=[copy_of(rows[30], 0, officialSplit="test")], unit="official")
    assert [i for i, row in table.items() if row["split"] == "unused"] == ["P-030"]
    with pytest.raises(
        TooFewImages, match=r"a test image \+ .* 50 of 60 images have no place in the dataset's own test"
    ):
        run(tmp_path, rows, ["P"], FULL, unit="official", validation=51)


def test_official_validation_is_respected_or_is_the_test_where_there_is_no_other(tmp_path, capsys):
    part = {0: "test", 1: "validation", 2: "train", 3: None}
    rows = [image("P", k, officialSplit=part[k % 4]) for k in range(60)]
    table = run(tmp_path, rows, ["P"], FULL, unit="official")
    assert sizes(table)["P"] == {"test": 15, "validation": 15, "reserve": 9, "train": 21}
    assert all(
        row["split"] == part[int(i[-3:]) % 4] for i, row in table.items() if row["split"] in ("test", "validation")
    )
    rows = [row | {"officialSplit": None if row["officialSplit"] == "test" else row["officialSplit"]} for row in rows]
    table = run(tmp_path, rows, ["P"], FULL, unit="official")
    assert {i for i, row in table.items() if row["split"] == "test"} == {f"P-{k:03d}" for k in range(1, 60, 4)}
    assert sizes(table)["P"]["validation"] == 4
    assert "validation images are the test" in capsys.readouterr().out


def test_a_dataset_without_a_split_of_its_own_says_so(tmp_path):
    with pytest.raises(NoOfficialSplit, match=r"Set split\.unit to 'event'"):
        run(tmp_path, species_rows("P", 60), ["P"], unit="official")


def test_split_by_image_reports_the_leaks_it_was_asked_to_make(tmp_path):
    run(tmp_path, species_rows("P", 60, 8), ["P"], unit="image")
    assert any(row["ties"] and not row["forbidden"] for row in tables.read(LEAKAGE, tmp_path / "leakage.csv"))


# ---------------------------------------------------------------- too few, and giants


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


def test_what_a_unit_holds_back_is_part_of_the_error(tmp_path):
    rows = species_rows("P", 10, 1) + [image("P", k) for k in range(10, 40)]
    with pytest.raises(TooFewImages, match=r"For split\.unit 'observer', 30 of 40 images have no known observer"):
        run(tmp_path, rows, ["P"], unit="observer")
    with pytest.raises(TooFewImages, match=r"lower split\.reserve \(90\)"):
        run(tmp_path, species_rows("P", 60, 1), ["P"], FULL, reserve=90)


def test_short_species_train_only_and_the_tail_says_what_they_lacked(tmp_path, capsys):
    rows = species_rows("P", 60, 1) + species_rows("Q", 14, 1) + species_rows("R", 60, 1) + species_rows("S", 5, 1)
    values = {}
    table = run(tmp_path, rows, "PQRS", short="train", log=lambda step, given: values.update(given))
    assert sizes(table)["Q"] == {"train": 14} and sizes(table)["S"] == {"train": 5}
    assert all(sizes(table)[name]["test"] == 7 for name in "PR")
    assert {name: row["short"] for name, row in tail(tmp_path).items()} == {
        "P": "", "Q": "train reserve", "R": "", "S": "train validation test reserve",
    }  # fmt: skip
    assert values["species_in_tail"] == 2
    assert "2 of 4 species cannot fill their splits" in capsys.readouterr().out
    with pytest.raises(TooFewImages, match="At least two species"):
        run(tmp_path, species_rows("P", 60, 1) + species_rows("Q", 14, 1), "PQ", short="train")


def test_pictures_of_a_short_species_leave_the_splits_of_their_observers_to_others(tmp_path):
    rows = [image(name, k, f"Observer {k // 3}", "2024-05-01") for name in "PQ" for k in range(60)]
    rows += [image("S", k, f"Observer {k}", "2024-05-01") for k in range(20)]
    table = run(tmp_path, rows, "PQS", unit="observer", short="train", test=20)
    where_others = {row["group"]: row["split"] for i, row in table.items() if i[0] in "PQ" and row["split"] != "unused"}
    assert set(sizes(table)["S"]) == {"train", "unused"}
    for i, row in table.items():
        if i[0] == "S":
            assert row["split"] == ("train" if where_others.get(row["group"], "train") == "train" else "unused")


def test_one_giant_group_is_an_error_and_not_a_leak(tmp_path):
    with pytest.raises(TooFewImages, match="P has 100 in 1 groups"):
        run(tmp_path, species_rows("P", 100, 100), ["P"])


def test_a_giant_group_beside_others_is_told_with_its_share(tmp_path, capsys):
    rows = species_rows("P", 60, 1) + [image("P", k, "Giant", "2024-05-01") for k in range(60, 120)]
    values = {}
    table = run(tmp_path, rows, ["P"], FULL, log=lambda step, given: values.update(given))
    assert {row["split"] for i, row in table.items() if i >= "P-060"} == {"train"}
    assert "60 of 120 images (50%) of 1 species, tied to 'P-060' (train 60)" in capsys.readouterr().out
    assert (values["largest_group"], values["largest_group_share"]) == (60, 0.5)
    run(tmp_path, species_rows("P", 60, 1), ["P"])
    assert "Warning" not in capsys.readouterr().out


# ---------------------------------------------------------------- a collection that grows


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("unit", ["event", "observer"])
def test_an_earlier_split_stands_while_the_collection_grows(tmp_path, unit, seed):
    chance = random.Random(seed)
    old = [row for name in ("Aus", "Bus", "Cus") for row in species_rows(name, 60)]
    if unit == "observer":  # each species has observers of its own at first
        old = [row | {"recordedBy": f"{row['scientificName']} {row['recordedBy']}"} for row in old]
    before = parts(run(tmp_path, old, ["Aus", "Bus", "Cus"], unit=unit, seed=seed))
    earlier = tmp_path / "earlier.parquet"
    (tmp_path / "splits.parquet").rename(earlier)
    new = [
        image("Aus", 900 + k, chance.choice(old)["recordedBy"] if chance.random() < 0.5 else f"New {k}", "2024-05-01")
        for k in range(40)
    ] + [image("Dus", k, f"Other {k // 3}", "2024-05-01") for k in range(40)]
    after = run(tmp_path, old + new, ["Aus", "Bus", "Cus", "Dus"], unit=unit, seed=seed, previous=earlier)
    dealt = {identifier: part for identifier, part in before.items() if part != "unused"}
    assert {identifier: after[identifier]["split"] for identifier in dealt} == dealt
    assert sizes(after)["Dus"]["test"] == SPLIT["test"] and sizes(after)["Aus"]["test"] == SPLIT["test"]
    assert not any(row["ties"] for row in tables.read(LEAKAGE, tmp_path / "leakage.csv") if row["forbidden"])


def test_a_new_tie_between_an_earlier_test_and_train_picture_keeps_the_test_and_frees_the_other(tmp_path):
    rows = species_rows("Aus", 60) + species_rows("Bus", 60)
    before = parts(run(tmp_path, rows, ["Aus", "Bus"]))
    earlier = tmp_path / "earlier.csv"
    earlier.write_text("identifier,split\n" + "".join(f"{name},{part}\n" for name, part in before.items()))
    tested, trained = (next(r for r in rows if before[r["identifier"]] == part) for part in ("test", "train"))
    tie = {"gbifID": "1"}
    rows = [row | tie if row in (tested, trained) else row for row in rows]
    after = parts(run(tmp_path, rows, ["Aus", "Bus"], previous=earlier))
    assert after[tested["identifier"]] == "test"
    assert after[trained["identifier"]] == "unused"
    assert sizes({i: {"scientificName": i[:3], "split": part} for i, part in after.items()})["Aus"]["train"] == 6


def test_an_earlier_split_that_is_none_is_refused(tmp_path):
    (tmp_path / "earlier.csv").write_text("identifier,split\nAus-000,holdout\n")
    with pytest.raises(Exception, match=r"split\.previous .*'holdout'"):
        run(tmp_path, species_rows("Aus", 60), ["Aus"], previous=tmp_path / "earlier.csv")
