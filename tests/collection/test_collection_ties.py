"""What ties pictures: people under several spellings, records, squares, days; and what an unknown never does."""

import math
import random
from datetime import date, timedelta
from itertools import combinations

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
        "informationWithheld",
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
    pytest.param(("Ann", "2020-05-01/2020-05-03"), ("Ann", "2020-05-02"), True, id="a day within an interval"),
    pytest.param(("Ann", "2020-05-01/2020-05-03"), ("Ann", "2020-05-04"), False, id="the day after an interval"),
    pytest.param(("Ann", "2020-05"), ("Ann", "2020-05-02"), True, id="a day of a month"),
    pytest.param(("Ann", "2020-05"), ("Ann", "2020-06-01"), False, id="the next month"),
    pytest.param(("Ann", "2019"), ("Ann", "2019-12-31T23:59"), True, id="a day of a year"),
    pytest.param(("Ann", "2010/2020"), ("Ann", "2015-07-01/2015-07-02"), True, id="however long an interval is"),
    pytest.param(("Ann", None), ("Ann", "2024-05-01"), True, id="an undated picture may be of any day"),
    pytest.param(("Ann", "spring"), ("Ann", "2024-05-01"), True, id="so may one whose date nobody can read"),
    pytest.param(("Ann", None), ("Bo", "2024-05-01"), False, id="but it is not of any observer"),
    pytest.param((None, "2024"), (None, "2024-05-01"), False, id="unknown observers never join, whenever it was"),
    pytest.param(("Ann", "2024-05-01 10:30"), ("Ann", "2024-05-01"), True, id="a blank before the time"),
    pytest.param(("Ann", "2024-05-01 10:30:00"), ("Ann", "2024-05-02 10:30:00"), False, id="and another day"),
    pytest.param(("Ann", "2024-05-01Z"), ("Ann", "2024-05-02Z"), False, id="a day with its time zone"),
])  # fmt: skip
def test_what_makes_one_event(a, b, together):
    rows = [dict(zip(("recordedBy", "eventDate"), one, strict=True)) for one in (a, b)]
    assert welded("event", *rows) == together


def test_pictures_of_two_days_are_one_event_through_a_third_that_may_be_of_either():
    rows = [row(name, recordedBy="Ann", eventDate=when) for name, when in
            {"a": "2024-05-01", "b": "2024-05-03", "c": "2024-04-30/2024-05-03", "d": "2024-05-04", "e": "2024-04"}.items()]  # fmt: skip
    event = [kinds_of_tie(50.0)["event"]]
    assert groups(rows[:2], [], event) == {"a": "a", "b": "b"}
    assert groups(rows, [], event) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "a"}
    assert groups(rows[:2], [row("x", recordedBy="Ann")], event) == {"a": "a", "b": "a", "x": "a"}


@pytest.mark.parametrize("seed", range(12))
def test_events_and_their_leaks_are_those_of_the_calendar_day_by_day(seed):
    """Every pair compared by the sets of days that either may have been taken on; None: any day."""
    rng, first = random.Random(seed), date(2023, 12, 20)
    rows, of = [], {}
    for k in range(60):
        start = first + timedelta(rng.randrange(60))
        length = rng.choice([1, 1, 1, 1, 2, 4, 10, 40])
        span = {start + timedelta(n) for n in range(length)}
        text = start.isoformat() if length == 1 else f"{start}/{start + timedelta(length - 1)}"
        if rng.random() < 0.03:
            span, text = None, rng.choice([None, "", "in spring", "2024-02-31"])
        elif rng.random() < 0.03:
            span, text = {date(2024, 1, 1) + timedelta(n) for n in range(31)}, "2024-01"
        people = rng.sample(["Ann", "Bo", "Cy", "Dee", "Eve", "Flo", "Gus"], rng.choice([0, 1, 1, 1, 1, 2]))
        rows.append(
            row(f"{k:02}", recordedBy="|".join(people), eventDate=text, scientificName=rng.choice("PQ"), sha256=None)
        )
        of[f"{k:02}"] = (set(people), span)
    component = {one["identifier"]: {one["identifier"]} for one in rows}
    for a, b in combinations(rows, 2):
        (people, days_a), (others, days_b) = of[a["identifier"]], of[b["identifier"]]
        together = days_a is None or days_b is None or days_a & days_b
        if a["scientificName"] == b["scientificName"] and people & others and together:
            both = component[a["identifier"]] | component[b["identifier"]]
            component |= dict.fromkeys(both, both)
    event = kinds_of_tie(50.0)["event"]
    assert groups(rows, [], [event]) == {name: min(own) for name, own in component.items()}
    assert groups(rows[::-1], [], [event]) == groups(rows, [], [event])
    where = {name: rng.choice(SPLIT_NAMES) for name in component}
    for cell in leakage(rows, [], where, {"event": event}, ()):
        a, b = cell["split_a"], cell["split_b"]
        crossing = [own for own in map(set, {frozenset(own) for own in component.values()})
                    if {a, b} <= {where[name] for name in own}]  # fmt: skip
        assert cell["ties"] == len(crossing)
        assert cell["images"] == sum(where[name] == b for own in crossing for name in own)


def test_full_dates_are_tied_by_their_day_alone():
    rng = random.Random(0)
    rows = [
        row(f"{k:03}", recordedBy=rng.choice(["Ann", "Bo", "Cy | Dee"]), scientificName=rng.choice("PQ"),
            eventDate=f"2024-05-{rng.randrange(1, 30):02}" + rng.choice(["", "T10:00:00Z", " 23:59", "T09:00/10:00"]))
        for k in range(300)
    ]  # fmt: skip
    alike = {}
    for one in rows:
        alike.setdefault((one["recordedBy"], one["scientificName"], one["eventDate"][:10]), one["identifier"])
    assert groups(rows, [], [kinds_of_tie(50.0)["event"]]) == {
        one["identifier"]: alike[one["recordedBy"], one["scientificName"], one["eventDate"][:10]] for one in rows
    }


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
    assert observers(row(recordedBy="n/a")) == []
    assert event([row(recordedBy="n/a", eventDate="2024"), row()]) == [[], []]


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


def at(latitude, longitude, uncertainty=None, withheld=None):
    return {
        "decimalLatitude": latitude, "decimalLongitude": longitude, "coordinateUncertaintyInMeters": uncertainty,
        "informationWithheld": withheld,
    }  # fmt: skip


@pytest.mark.parametrize("place, usable", [
    pytest.param(at(48.0, 11.0), True, id="no uncertainty given"),
    pytest.param(at(48.0, 11.0, 0.0), True, id="exact"),
    pytest.param(at(48.0, 11.0, 100.0), True, id="as good as a phone can tell"),
    pytest.param(at(48.0, 11.0, 50_001.0), False, id="blurred beyond a square"),
    pytest.param(at(48.0, 11.0, 25_001.0), False, id="a circle that is wider than any square"),
    pytest.param(at(50.1, 8.1, 28_000.0), False, id="coarsened to hide a species"),
    pytest.param(at(48.0, 11.0, -1.0), False, id="an impossible uncertainty"),
    pytest.param(at(48.0, 11.0, float("nan")), False, id="an uncertainty that is no number"),
    pytest.param(at(48.0, 11.0, float("inf")), False, id="anywhere"),
    pytest.param(at(48.0, 11.0, None, "Coordinates hidden at the observer's request"), False, id="withheld, none given"),
    pytest.param(at(48.0, 11.0, 10.0, "Precise LOCATION information available on request"), False, id="withheld, some given"),
    pytest.param(at(48.0, 11.0, 10.0, "Fundort verschleiert"), False, id="in another language"),
    pytest.param(at(48.0, 11.0, None, "Name of the collector"), True, id="something else is withheld"),
    pytest.param(at(48.0, 11.0, None, ""), True, id="nothing is withheld"),
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


def around(latitude, longitude, metres, steps=720):
    """Points of the circle about a place, by the formula of the great-circle destination."""
    phi, lam, r = math.radians(latitude), math.radians(longitude), metres / 6371008.8
    for k in range(steps):
        way = 2 * math.pi * k / steps
        north = math.asin(math.sin(phi) * math.cos(r) + math.cos(phi) * math.sin(r) * math.cos(way))
        east = lam + math.atan2(
            math.sin(way) * math.sin(r) * math.cos(phi), math.cos(r) - math.sin(phi) * math.sin(north)
        )
        yield math.degrees(north), (math.degrees(east) + 180) % 360 - 180


@pytest.mark.parametrize("seed", range(4))
def test_a_place_has_a_square_only_where_its_whole_circle_lies_in_it(seed):
    rng, found = random.Random(seed), {True: 0, False: 0}
    for _ in range(150):
        latitude = rng.choice([rng.uniform(-90, 90), rng.uniform(-90, -88), rng.uniform(88, 90)])
        longitude, side = (
            rng.choice([*(rng.uniform(-180, 180) for _ in range(6)), 179.999, -180.0]),
            rng.choice([10.0, 50.0, 400.0]),
        )
        metres = side * 1000 * rng.choice([0.01, 0.1, 0.3, 0.45])
        own = block(at(latitude, longitude), side)
        inside = all(block(at(*point), side) == own for point in around(latitude, longitude, metres))
        decided = block(at(latitude, longitude, metres), side)
        if decided is None and inside:  # points of the circle may pass a corner by
            inside = all(block(at(*point), side) == own for point in around(latitude, longitude, metres * 1.001, 9000))
        assert decided == (own if inside else None), (latitude, longitude, side, metres)
        found[inside] += 1
    assert min(found.values()) > 15


def test_a_circle_about_the_north_pole_lies_in_the_one_square_there():
    squares = {block(at(89.99, longitude, 5_000.0), 400.0) for longitude in range(-180, 180)}
    assert len(squares) == 1 and None not in squares  # the last row is 15 km high
    assert block(at(89.99, 0.0, 20_000.0), 400.0) is None
    assert block(at(90.0, 0.0, 270_000.0), 394.8) is not None  # 50.7 rows: the last one is 276 km high
    assert {block(at(-89.99, longitude, 5_000.0), 400.0) for longitude in range(-180, 180)} == {
        None
    }  # three squares meet


def test_a_larger_uncertainty_never_gives_a_square_that_a_smaller_one_did_not():
    rng = random.Random(1)
    for _ in range(300):
        place = rng.uniform(-90, 90), rng.uniform(-180, 180)
        found = [
            block(at(*place, metres), 50.0) for metres in (None, 0, 1, 100, 5_000, 12_000, 24_000, 26_000, 1e6, 3e7)
        ]
        assert found == sorted(found, key=lambda one: one is None)
        assert found[0] == found[1] is not None and len(set(found) - {None}) == 1
        assert set(found[-3:]) == {None}


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
    ("2024-02-11 23:59:59", ("2024-02-11", "2024-02-11")),
    ("2024-02-11 23:59 / 2024-02-13 01:00", ("2024-02-11", "2024-02-13")),
    ("2024-02-11Z", ("2024-02-11", "2024-02-11")),
    ("2024-02-11+02:00", ("2024-02-11", "2024-02-11")),
    ("2024-02-11 or so", None),
    ("\u0662\u0660\u0662\u0664", None),
    ("spring 2024", None),
    ("", None),
    (None, None),
])  # fmt: skip
def test_first_and_last_day_of_a_date(text, expected):
    assert days(text) == expected


def test_an_occurrence_key_is_never_made_of_nothing():
    assert occurrence(row()) == occurrence(row(datasetKey="x")) == []
