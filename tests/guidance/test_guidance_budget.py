"""Who gets how many images."""

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.files import read_json, write_json
from taxaforge.guidance.allocation_schema import ALLOCATION
from taxaforge.guidance.budget import NoBudget, allocate, deal
from taxaforge.packs import Pack

SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea", "Certhia familiaris"]
IMAGES = [8, 2, 1, 0]


@pytest.fixture
def dealt(tmp_path):
    """Deals out 10 images a species under a rule; returns the rows of the table and what was logged."""
    label = np.repeat(np.arange(4), IMAGES)
    names = [f"image {number}" for number in range(len(label))]
    Pack(np.zeros((len(label), 2, 2, 3), dtype=np.uint8), SPECIES, names, label, names, [""] * len(label)).save(
        tmp_path / "train.npy"
    )
    write_json(tmp_path / "classes.json", [{"species": name} for name in SPECIES])
    write_json(
        tmp_path / "validation.json",
        {"species": {"Parus major": {"images": 8, "wrong": 0}, "Poecile palustris": {"images": 4, "wrong": 4},
                     "Sitta europaea": {"images": 0, "wrong": 0}}},
    )  # fmt: skip

    def make(validation: bool = False, images: int = 10, **rule):
        cfg = {
            "images_per_species": images,
            "allocation": {"by": "equal", "power": 1.0, "least": 1, "only": "all"} | rule,
        }
        told = {}
        allocate(
            train=tmp_path / "train.npy", classes=tmp_path / "classes.json", cfg=cfg, out=tmp_path / "allocation.parquet",
            validation=tmp_path / "validation.json" if validation else None, log=lambda step, values: told.update(values),
        )  # fmt: skip
        rows = tables.read(ALLOCATION, tmp_path / "allocation.parquet")
        assert read_json(tmp_path / "allocation.json") == {row["species"]: row["images"] for row in rows}
        return rows, told

    return make


def column(rows: list[dict], name: str) -> list:
    return [row[name] for row in rows]


def test_equal_shares_are_the_number_that_was_asked_for(dealt):
    rows, told = dealt()
    assert column(rows, "species") == SPECIES and column(rows, "train_images") == IMAGES
    assert column(rows, "images") == [10] * 4 and column(rows, "confusion") == [None] * 4
    assert told == {"images": 40, "species": 4, "fewest": 10, "most": 10}


def test_rare_species_get_more_at_the_same_total(dealt):
    rows, _ = dealt(by="rare")
    assert column(rows, "weight") == [1 / 8, 1 / 2, 1, 1]
    assert column(rows, "images") == [2, 8, 15, 15]  # 40 * (1, 4, 8, 8) / 21 = 1.9, 7.6, 15.2, 15.2
    steeper = column(dealt(by="rare", power=2.0)[0], "images")
    assert sum(steeper) == 40 and steeper[0] < 2 and steeper[2] > 15
    assert column(dealt(by="rare", power=0.0)[0], "images") == [10] * 4


def test_confused_species_get_more_and_what_was_never_seen_counts_as_half(dealt):
    rows, _ = dealt(validation=True, by="confused")
    assert column(rows, "confusion") == pytest.approx([1 / 10, 5 / 6, 1 / 2, 1 / 2])
    assert column(rows, "images") == [2, 17, 11, 10]  # 40 * (0.1, 0.833, 0.5, 0.5) / 1.933 = 2.07, 17.2, 10.3, 10.3


def test_only_species_without_images_may_take_part(dealt):
    rows, told = dealt(only="without_images", by="rare")
    assert column(rows, "images") == [0, 0, 0, 10] and column(rows, "weight") == [0, 0, 0, 1]
    assert told == {"images": 10, "species": 1, "fewest": 10, "most": 10}


def test_everyone_gets_the_least(dealt):
    images = column(dealt(by="rare", power=3.0, least=4)[0], "images")
    assert images[0] == 4 and sum(images) == 40
    assert column(dealt(by="rare", least=10)[0], "images") == [10] * 4


@pytest.mark.parametrize("rule, message", [
    pytest.param({"by": "rare", "least": 11}, "least 11 for 4 species .* 40 images", id="more than there is"),
    pytest.param({"by": "confused"}, "no guiding classifier", id="nobody to ask"),
    pytest.param({"by": "taste"}, "'taste' is no rule", id="unknown rule"),
    pytest.param({"by": "rare", "power": 1e6}, "Lower guidance.allocation.power", id="weights vanish"),
])  # fmt: skip
def test_what_cannot_be_dealt_is_refused_with_a_remedy(dealt, rule, message):
    with pytest.raises(NoBudget, match=message):
        dealt(**rule)


def test_without_unseen_species_nobody_is_left(dealt, monkeypatch):
    monkeypatch.setattr("taxaforge.guidance.budget.Counter", lambda labels: dict.fromkeys(SPECIES, 1))
    with pytest.raises(NoBudget, match="each of the 4 species has training images"):
        dealt(only="without_images")


def test_rounding_keeps_the_total_and_is_never_off_by_a_whole_image():
    rng = np.random.default_rng(0)
    for total in (0, 1, 7, 100, 12345):
        weights = rng.lognormal(0, 2, 23).tolist()
        dealt = deal(weights, total)
        assert sum(dealt) == total
        assert all(abs(n - total * w / sum(weights)) < 1 for n, w in zip(dealt, weights, strict=True))


def test_ties_go_to_whoever_stands_first():
    assert deal([1.0] * 7, 24) == [4, 4, 4, 3, 3, 3, 3]
    assert deal([0.1] * 3, 300) == [100] * 3


def test_what_the_least_costs_is_shared_by_those_above_it_in_proportion():
    assert deal([1, 1, 30, 60], 100, least=10) == [10, 10, 27, 53]  # 80 left, one to two
    assert deal([1, 12, 87], 100, least=12) == [12, 12, 76]  # the second falls under it only once the first is served
