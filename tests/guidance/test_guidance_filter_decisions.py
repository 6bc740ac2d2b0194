"""Which check drops an image, and what a lottery drops instead."""

from collections import Counter

import numpy as np
import pytest

from taxaforge.config.filter import Filter
from taxaforge.guidance.decisions import checks, decide, lottery

ALL = {
    "min_contrast": 4.0, "max_clipped": 0.5, "near_copy": 0.95, "near_repeat": 0.9, "semantics": {"top_k": 3},
    "classifier": {"top_k": 2},
}  # fmt: skip
GOOD = {
    "contrast": 4.0, "clipped": 0.5, "exactCopy": False, "nearestSimilarity": 0.95, "filterRank": 3,
    "classifierRank": 2, "repeatSimilarity": 0.9,
}  # fmt: skip
BAD = {
    "contrast": 3.99, "clipped": 0.51, "exactCopy": True, "nearestSimilarity": 0.951, "filterRank": 4,
    "classifierRank": 3, "repeatSimilarity": 0.901,
}  # fmt: skip


def decided(row: dict, **asked) -> str:
    (out,) = decide([row], checks(Filter(**{**ALL, **asked}).model_dump(mode="json")))
    assert out["kept"] == (out["reason"] == "")
    return out["reason"]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("contrast", "min_contrast"),
        ("clipped", "max_clipped"),
        ("exactCopy", "near_copy"),
        ("nearestSimilarity", "near_copy"),
        ("filterRank", "semantics"),
        ("classifierRank", "classifier"),
        ("repeatSimilarity", "near_repeat"),
    ],
)
def test_exactly_the_limit_is_enough_and_a_little_beyond_is_not(column, reason):
    assert decided(GOOD) == ""
    assert decided({**GOOD, column: BAD[column]}) == reason


@pytest.mark.parametrize("column", ["contrast", "clipped", "nearestSimilarity", "repeatSimilarity"])
def test_a_score_that_is_no_number_counts_against_the_image(column):
    assert decided({**GOOD, column: float("nan")}) != ""


def test_the_first_check_in_order_names_the_reason():
    order = ["min_contrast", "max_clipped", "near_copy", "semantics", "classifier", "near_repeat"]
    assert list(checks(ALL)) == order
    columns = ["contrast", "clipped", "exactCopy", "filterRank", "classifierRank", "repeatSimilarity"]
    for number, reason in enumerate(order):
        assert decided({**BAD, **{name: GOOD[name] for name in [*columns[:number], "nearestSimilarity"]}}) == reason


def test_each_check_is_turned_off_alone():
    off = {"semantics": {"top_k": 0}, "classifier": {"top_k": 0}}
    bad = {**BAD, "exactCopy": False}
    order = list(checks(ALL))
    without = {}
    for number, name in enumerate(order):
        without[name] = off.get(name, 0)
        assert decided(bad, **without) == (order[number + 1] if number + 1 < len(order) else "")
    none = Filter(**{name: off.get(name, 0) for name in order}).model_dump(mode="json")
    assert list(checks(none)) == ["near_copy"]
    assert decide([{**bad, "exactCopy": True}], checks(none))[0]["reason"] == "near_copy"


def test_the_first_image_of_a_species_repeats_nothing():
    assert decided({**GOOD, "repeatSimilarity": None}) == ""


def rows_of(dropped: list[bool], species=("a", "b")) -> list[dict]:
    return [{"scientificName": species[i % len(species)], "kept": not d} for i, d in enumerate(dropped)]


def counts(rows, column) -> Counter:
    return Counter(row["scientificName"] for row in rows if row[column])


def test_the_lottery_drops_as_many_of_each_species_as_the_filter():
    rng = np.random.default_rng(0)
    for share in (0.0, 0.2, 0.7, 1.0):
        rows = lottery(rows_of((rng.random(60) < share).tolist(), ("a", "b", "c")), seed=3)
        assert counts(rows, "control") == counts(rows, "kept")


def test_the_lottery_does_not_see_which_images_the_filter_dropped():
    """Scores exchanged among the images of a species: the filter drops others, the lottery the same."""
    rng = np.random.default_rng(0)
    filterRank = rng.integers(1, 6, 80)
    cfg = Filter(min_contrast=0, semantics={"top_k": 3}).model_dump(mode="json")

    def control(ranks):
        rows = [
            {"scientificName": "ab"[i % 2], "exactCopy": False, "nearestSimilarity": None, "filterRank": int(rank)}
            for i, rank in enumerate(ranks)
        ]
        rows = lottery(decide(rows, checks(cfg)), seed=1)
        return [row["kept"] for row in rows], [row["control"] for row in rows], counts(rows, "control")

    exchanged = filterRank.copy()
    for start in (0, 1):
        exchanged[start::2] = rng.permutation(exchanged[start::2])
    kept, drawn, number = control(filterRank)
    other_kept, other_drawn, other_number = control(exchanged)
    assert kept != other_kept and drawn == other_drawn and number == other_number
    # Among all images the numbers a species change with the scores, but not how many are dropped in all.
    assert sum(control(rng.permutation(filterRank))[2].values()) == sum(number.values())


def test_the_lottery_belongs_to_the_seed_and_to_the_species():
    dropped = [True] * 20 + [False] * 20
    one = [row["control"] for row in lottery(rows_of(dropped), seed=1)]
    assert one == [row["control"] for row in lottery(rows_of(dropped), seed=1)]
    assert one != [row["control"] for row in lottery(rows_of(dropped), seed=2)]
    assert one[0::2] != one[1::2]  # two species, drawn apart
    alone = [row["control"] for row in lottery(rows_of(dropped[0::2], ("a",)), seed=1)]
    assert alone == one[0::2]  # whichever other species there are


def test_a_stricter_filter_only_adds_to_what_the_lottery_dropped():
    some = [row["control"] for row in lottery(rows_of([True] * 10 + [False] * 30), seed=1)]
    more = [row["control"] for row in lottery(rows_of([True] * 24 + [False] * 16), seed=1)]
    assert all(before or not after for before, after in zip(some, more, strict=True)) and some != more


def test_the_lottery_is_fair():
    """Every image of ten is dropped in about 3 of 10 runs: 300 of 1000, sd 14.5."""
    lost = np.sum([[not row["control"] for row in lottery(rows_of([True] * 3 + [False] * 7, ("a",)), seed)]
                   for seed in range(1000)], axis=0)  # fmt: skip
    assert lost.sum() == 3000 and (abs(lost - 300) < 65).all()
