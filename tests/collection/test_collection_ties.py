"""What ties pictures: people under several spellings, records, squares, days; and what an unknown never does."""

import math

import pytest

from taxaforge.collection.places import block, days
from taxaforge.collection.schema import SPLIT_NAMES
from taxaforge.collection.ties import FORBIDDEN, event, groups, kinds_of_tie, leakage, observers, occurrence

BLANK = dict.fromkeys(
    [
        "recordedBy",
        "recordedByID",
        "eventDate",
        "gbifID",
        "occurrenceID",
        "datasetKey",
        "decimalLatitude",
        "decimalLongitude",
        "coordinateUncertaintyInMeters",
        "sha256",
    ]
)


def row(identifier="a", **known):
    return BLANK | {"identifier": identifier, "scientificName": "P", "qc_duplicate_set": identifier} | known


def welded(kind, a, b):
    first, second = row("a", **a), row("b", **b)
    return len(set(groups([first, second], [], [kinds_of_tie(50.0)[kind]]).values())) == 1


@pytest.mark.parametrize("a, b, together", [
    pytest.param(("Ann", "2024-05-01"), ("ann ", "2024-05-01T10:30:00Z"), True, id="spelling and time of day do not matter"),
    pytest.param(("Ann", "2024-05-01"), ("Ann", "2024-05-02"), False, id="another day is another event"),
    pytest.param(("Ann", None), ("Ann", None), True, id="undated pictures of one observer stay together"),
    pytest.param((None, "2024-05-01"), (None, "2024-05-01"), False, id="unknown observers never join"),
    pytest.param(("  ", "2024-05-01"), ("", "2024-05-01"), False, id="blank is unknown"),
    pytest.param(("Anonymous", "2024-05-01"), ("anonymous", "2024-05-01"), False, id="a placeholder is unknown"),
    pytest.param(("Jos\u00e9", "2024-05-01"), ("Jose\u0301", "2024-05-01"), True, id="two encodings of one accent"),
    pytest.param(("Ann | Bo", "2024-05-01"), ("Bo; Cy", "2024-05-01"), True, id="any of several people is enough"),
])  # fmt: skip
def test_what_makes_one_event(a, b, together):
    rows = [dict(zip(("recordedBy", "eventDate"), one, strict=True)) for one in (a, b)]
    assert welded("event", *rows) == together


def test_an_event_is_of_one_species_and_an_observer_of_all():
    a, b = ({"scientificName": name, "recordedBy": "Ann", "eventDate": "2024-05-01"} for name in "PQ")
    assert not welded("event", a, b)
    assert welded("observer", a, b)


@pytest.mark.parametrize("a, b, same", [
    pytest.param({"recordedByID": "https://orcid.org/0000-1"}, {"recordedByID": "0000-1"}, True, id="with and without address"),
    pytest.param({"recordedByID": "http://www.wikidata.org/Q1/"}, {"recordedByID": "https://wikidata.org/Q1"}, True, id="address"),
    pytest.param({"recordedByID": "1", "recordedBy": "Ann"}, {"recordedBy": "ANN"}, True, id="an id here, only the name there"),
    pytest.param({"recordedByID": "1", "recordedBy": "Ann"}, {"recordedByID": "1", "recordedBy": "A. Lee"}, True, id="two spellings"),
    pytest.param({"recordedByID": "ann"}, {"recordedBy": "ann"}, False, id="an id is no name"),
    pytest.param({"recordedByID": "1"}, {"recordedByID": "2"}, False, id="two people"),
    pytest.param({"recordedBy": "Ann", "datasetKey": "x"}, {"recordedBy": "Ann", "datasetKey": "y"}, True, id="two datasets"),
    pytest.param({"recordedBy": " ; "}, {"recordedBy": "|"}, False, id="separators alone"),
])  # fmt: skip
def test_who_is_one_observer(a, b, same):
    assert welded("observer", a, b) == same


def test_the_people_of_a_picture():
    assert observers(row(recordedBy="Ann  Lee | unknown|BO", recordedByID="https://orcid.org/0000-1 | ")) == [
        ("id", "0000-1"), ("name", "ann lee"), ("name", "bo"),
    ]  # fmt: skip
    assert observers(row(recordedBy="n/a")) == event(row(recordedBy="n/a", eventDate="2024")) == []


@pytest.mark.parametrize("a, b, same", [
    pytest.param({"gbifID": "1"}, {"gbifID": "1"}, True, id="one record"),
    pytest.param({"gbifID": "1", "occurrenceID": "o"}, {"gbifID": "2", "occurrenceID": "o"}, False, id="GBIF's key decides"),
    pytest.param({"occurrenceID": "o", "datasetKey": "x"}, {"occurrenceID": "o", "datasetKey": "x"}, True, id="the dataset's own id"),
    pytest.param({"occurrenceID": "o", "datasetKey": "x"}, {"occurrenceID": "o", "datasetKey": "y"}, False, id="in two datasets"),
    pytest.param({"occurrenceID": "o"}, {"occurrenceID": "o"}, True, id="a table is one dataset"),
    pytest.param({"datasetKey": "x"}, {"datasetKey": "x"}, False, id="no id, no tie"),
    pytest.param({"gbifID": "", "occurrenceID": ""}, {"gbifID": "", "occurrenceID": ""}, False, id="empty is unknown"),
    pytest.param({"gbifID": "1"}, {"occurrenceID": "1"}, False, id="two kinds of key"),
])  # fmt: skip
def test_what_is_one_occurrence(a, b, same):
    assert welded("occurrence", a, b) == same


def test_ties_chain_through_events_and_duplicates_and_dropped_copies_name_no_group():
    rows = [
        row("b", recordedBy="Ann"), row("c", recordedBy="Ann", qc_duplicate_set="x"), row("d", recordedBy="Bo", qc_duplicate_set="x"),
        row("e", recordedBy="Bo"), row("f"), row("g", gbifID="7"),
    ]  # fmt: skip
    dropped = [row("a", gbifID="7", qc_duplicate_set="f"), row("z", qc_duplicate_set="conflict")]
    kinds = kinds_of_tie(50.0)
    found = groups(rows, dropped, [kinds[kind] for kind in FORBIDDEN["event"]])
    assert found == {"b": "b", "c": "b", "d": "b", "e": "b", "f": "f", "g": "f", "a": "f"}
    assert len(set(groups(rows, dropped, []).values())) == 6


def test_the_leakage_table_sees_what_a_faulty_split_did():
    rows = [
        row("a", recordedBy="Ann", eventDate="2024-05-01", sha256="s"), row("b", recordedBy="Ann", eventDate="2024-05-01", sha256="s"),
        row("c", recordedBy="Ann", eventDate="2024-05-01"), row("d"), row("e", gbifID="7"),
    ]  # fmt: skip
    dropped = [row("copy", gbifID="7", qc_duplicate_set="d")]
    where = {"a": "train", "b": "test", "c": "test", "d": "train", "e": "reserve"}
    cells = leakage(rows, dropped, where, kinds_of_tie(50.0), FORBIDDEN["occurrence"])
    hit = {
        (cell["edge"], cell["split_a"], cell["split_b"]): (cell["ties"], cell["images"])
        for cell in cells
        if cell["ties"]
    }
    assert hit == {
        ("event", "train", "test"): (1, 2), ("observer", "train", "test"): (1, 2), ("same_file", "train", "test"): (1, 1),
        ("occurrence", "train", "reserve"): (1, 1),
    }  # fmt: skip
    assert {cell["edge"] for cell in cells if cell["forbidden"]} == {"occurrence", "duplicate_set", "same_file"}
    assert not any(
        cell["ties"] for cell in leakage(rows, dropped, dict.fromkeys(where, "unused"), kinds_of_tie(50.0), ())
    )
    assert SPLIT_NAMES[-1] == "unused" and "unused" not in {cell["split_b"] for cell in cells}


# ---------------------------------------------------------------- where and when


def at(latitude, longitude, uncertainty=None):
    return {"decimalLatitude": latitude, "decimalLongitude": longitude, "coordinateUncertaintyInMeters": uncertainty}


@pytest.mark.parametrize("place, usable", [
    pytest.param(at(48.0, 11.0), True, id="no uncertainty given"),
    pytest.param(at(48.0, 11.0, 50_000.0), True, id="as uncertain as a square is wide"),
    pytest.param(at(48.0, 11.0, 50_001.0), False, id="blurred beyond a square"),
    pytest.param(at(None, 11.0), False, id="half a coordinate"),
    pytest.param(at(0.0, 0.0), False, id="null island"),
    pytest.param(at(0.0, 11.0), True, id="on the equator"),
    pytest.param(at(90.1, 11.0), False, id="north of the pole"),
    pytest.param(at(10.0, 181.0), False, id="east of the date line"),
    pytest.param(at(float("nan"), 11.0), False, id="not a number"),
    pytest.param(at(90.0, 0.0), True, id="the north pole"),
    pytest.param(at(-90.0, 180.0), True, id="the south pole"),
])  # fmt: skip
def test_which_coordinates_say_where(place, usable):
    assert (block(place, 50.0) is not None) == usable


@pytest.mark.parametrize("side", [10.0, 50.0, 300.0])
@pytest.mark.parametrize("latitude", [-89.0, -60.0, 0.1, 45.0, 80.0])
def test_a_square_is_about_as_wide_and_as_high_as_asked_at_every_latitude(side, latitude):
    km = math.pi * 6371.0088 / 180  # length of a degree on a sphere
    around = {block(at(latitude, -180 + k * 360 / 40_000), side) for k in range(40_000)}
    width = 360 * km * math.cos(math.radians(latitude)) / len(around)
    assert len(around) < 4 or abs(width / side - 1) < 0.5 + side / 1000  # near a pole few squares fit, of odd widths
    up = {block(at(latitude + k * 0.001, 5.0), side)[0] for k in range(900)}
    assert abs(len(up) - 0.9 * km / side) <= 1
    assert block(at(latitude, 180.0), side) == block(at(latitude, -180.0), side)


@pytest.mark.parametrize("text, expected", [
    ("2024-02-11", ("2024-02-11", "2024-02-11")),
    (" 2024-02-11T23:59:59+02:00 ", ("2024-02-11", "2024-02-11")),
    ("2024", ("2024-01-01", "2024-12-31")),
    ("2024-02", ("2024-02-01", "2024-02-29")),
    ("2023-12-30/2024-01-02", ("2023-12-30", "2024-01-02")),
    ("2024-05-01/09", ("2024-05-01", "2024-05-09")),
    ("2024-05-01/06-09", ("2024-05-01", "2024-06-09")),
    ("2024-05-01T10:00/2024-05-03T11:00", ("2024-05-01", "2024-05-03")),
    ("2024-05-01T10:00/12:00", ("2024-05-01", "2024-05-01")),
    ("2023/2024", ("2023-01-01", "2024-12-31")),
    ("2024-05-09/2024-05-01", None),
    ("2024-13", None),
    ("2023-02-29", None),
    ("0000-00-00", None),
    ("spring 2024", None),
    ("", None),
    (None, None),
])  # fmt: skip
def test_first_and_last_day_of_a_date(text, expected):
    assert days(text) == expected


def test_an_occurrence_key_is_never_made_of_nothing():
    assert occurrence(row()) == occurrence(row(datasetKey="x")) == []
