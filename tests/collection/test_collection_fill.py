"""Who goes to the tail where groups hold several species, and what becomes of pictures whose place the unit decides."""

from collections import Counter, defaultdict

import pytest

from taxaforge.collection.fill import fill
from taxaforge.collection.tail import TooFewImages

ANY = frozenset({"test", "validation", "train", "reserve"})
SPLIT = {"unit": "observer", "short": "train", "test": 3, "validation": 2, "reserve": 0}
FEW = {"kind": "few_shot", "shots": 3}


def filled(groups, fixed=None, may=None, **changes):
    """groups: name -> species -> pictures. Returns (split -> species -> pictures, species -> what it lacked, places)."""
    kept, group = [], {}
    for name, species in groups.items():
        for own, count in species.items():
            for k in range(count):
                kept.append({"identifier": f"{own}-{name}-{k}", "scientificName": own})
                group[f"{own}-{name}-{k}"] = name
    names = sorted({row["scientificName"] for row in kept})
    may = dict.fromkeys(groups, ANY) | (may or {})
    where, short = fill(kept, group, fixed or {}, may, names, SPLIT | changes, FEW, 0)
    counts = defaultdict(Counter)
    for row in kept:
        counts[row["scientificName"]][where[row["identifier"]]] += 1
    return counts, short, where


CROWDED = {
    "g2": {"T": 2}, "g3": {"P": 3}, "g4": {"S": 3}, "g5": {"Q": 1, "S": 2}, "g6": {"Q": 1, "P": 1}, "g7": {"T": 3, "P": 2},
    "g8": {"T": 2, "Q": 4, "P": 2}, "g9": {"S": 1, "Q": 1}, "g10": {"R": 2, "Q": 2}, "g11": {"R": 2, "S": 1},
    "g12": {"R": 4, "T": 1, "S": 1}, "g13": {"R": 1},
}  # fmt: skip
"""Every species can fill its splits alone; dealt together P, Q, S and T run short, and without P and S nobody does."""


def test_only_as_many_species_go_to_the_tail_as_makes_room_for_the_others():
    counts, short, _ = filled(CROWDED)
    assert short == {"P": ["train"], "S": ["train"]}
    for name in "QRT":
        assert (counts[name]["test"], counts[name]["validation"], counts[name]["train"]) == (3, 2, 3)
    for name in "PS":
        assert set(counts[name]) <= {"train", "unused"}
    with pytest.raises(TooFewImages, match="4 of 5 species"):
        filled(CROWDED, short="stop")


def test_two_species_that_stand_in_each_others_way_stop_the_run():
    groups = {
        "g0": {"P": 2, "Q": 1},
        "g1": {"Q": 2},
        "g2": {"P": 1, "Q": 1},
        "g3": {"P": 2, "Q": 1},
        "g4": {"P": 3, "Q": 1},
        "g5": {"Q": 2},
    }
    with pytest.raises(TooFewImages, match=r"1 of 2 species .* Q has 8 in 6 groups .* At least two species must"):
        filled(groups)


def test_the_tail_trains_on_nothing_that_the_unit_keeps_for_the_test():
    plenty = {f"{name}{k}": {name: 1} for name in "PQ" for k in range(9)}
    groups = plenty | {"sealed": {"S": 3}, "late": {"S": 1}, "early": {"S": 2}}
    fixed = {f"S-sealed-{k}": "test" for k in range(3)}
    counts, short, where = filled(groups, fixed, {"late": frozenset({"test"})})
    assert short == {"S": ["train"]}
    assert counts["S"] == {"unused": 4, "train": 2}
    assert where["S-early-0"] == where["S-early-1"] == "train"
