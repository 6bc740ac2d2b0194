"""The pure parts of the comparison of staged training: who is rare, what comes when, what the tables say."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Benchmarks are scripts that import each other from their own folder."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield
    for name in set(sys.modules) - before:
        if (ROOT / "benchmarks" / f"{name}.py").exists():
            del sys.modules[name]


def test_a_whole_seed_of_everything_comes_before_the_next():
    from staging import Item, items

    found = items(["a", "b"], ["joint", "flat"], 2)
    assert [one.seed for one in found] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert found[1:3] == [Item("a", "flat", 0), Item("b", "joint", 0)]
    assert len(set(found)) == 8


def test_every_variant_makes_the_same_number_of_steps_without_a_base():
    from staging import VARIANTS, asked, settings_of, training

    settings = settings_of(asked(["--work", "x", "--steps", "40", "--batch", "8"]))
    for variant, stages in VARIANTS.items():
        cfg = training(variant, settings)
        assert len(stages) * cfg["steps"] == 40
        assert (cfg["batch_size"], cfg["trainable"], cfg["learning_rate"]) == (8, "full", 2e-3)
        assert "base" not in cfg
        assert cfg["levels"] == (["species"] if variant == "flat" else ["order", "family", "genus", "species"])


def test_steps_that_stages_cannot_share_are_refused(capsys):
    from staging import asked

    with pytest.raises(SystemExit):
        asked(["--work", "x", "--steps", "42"])
    assert "cannot be shared" in capsys.readouterr().err


def test_a_third_is_rare_and_has_a_common_relative_where_there_is_one():
    from staging_inputs import rare_species, simulated_species

    records = simulated_species()
    rare = rare_species(records)
    assert len(records) == 12
    assert "Inachis io" not in [record["species"] for record in records]  # a synonym
    genus = {record["species"]: record["genus"] for record in records}
    assert len(rare) == 4
    assert all(any(genus[other] == genus[name] for other in set(genus) - set(rare)) for name in rare)
    more = rare_species([{"species": f"{c} s", "genus": c} for c in "ABCDEFGHI"])
    assert len(set(more)) == 3
    assert more == rare_species([{"species": f"{c} s", "genus": c} for c in reversed("ABCDEFGHI")])


def test_pictures_are_dealt_once_and_in_the_wanted_numbers():
    from staging_inputs import World, dealt

    pictures = [(f"{c}:{i}", c, np.full((2, 2, 3), i, np.uint8)) for c in range(2) for i in range(30)]
    packs = dealt(pictures, ["A a", "B b"], World(held_out=4, pool=6, signal=None, judge={}))
    assert {name: np.bincount(pack.label).tolist() for name, pack in packs.items()} == {
        "held_out": [4, 4], "pool": [6, 6], "stopping": [3, 3], "judging": [17, 17],
    }  # fmt: skip
    assert sorted(i for pack in packs.values() for i in pack.identifier) == sorted(p[0] for p in pictures)


def test_differences_are_paired_by_seed():
    from staging_table import paired

    ours, theirs = {0: 5.0, 1: 7.0, 2: 9.5, 7: 100.0}, {0: 4.0, 1: 5.0, 2: 8.0}
    mean, low, high = paired(ours, theirs)
    expected = stats.ttest_rel([5.0, 7.0, 9.5], [4.0, 5.0, 8.0]).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((1.5, expected.low, expected.high))
    assert np.isnan(paired({0: 1.0}, {0: 0.5})[1])
    assert paired({0: 1.0}, {1: 0.5}) is None


def results() -> list[dict]:
    """Three seeds of joint and flat; flat is always 0.1 better on rare species, and seed 2 of it is missing elsewhere."""
    made = []
    for variant in ("joint", "flat"):
        for seed in range(3):
            better = 0.1 + 0.001 * seed if variant == "flat" else 0.0
            figures = {
                metric: {"all": seed * 0.1, "rare": seed * 0.1 + better, "common": seed * 0.1}
                for metric in ("recognised", "fd", "kid")
            }
            made.append({"collection": "c", "variant": variant, "seed": seed, "guidance": {"2": figures}})
    return made


def test_a_table_has_a_row_a_cell_and_marks_what_is_not_chance():
    from staging_table import chance, tables

    real = {"c": {metric: dict.fromkeys(("all", "rare", "common"), 0.5) for metric in ("recognised", "fd", "kid")}}
    text = tables(results()[:-1], real, ["unfinished", "c"], ["joint", "flat", "progressive"])
    rows = {tuple(part.strip() for part in line.split("|")[1:5]): line for line in text.splitlines() if "guid" in line}
    assert "unfinished" not in text
    assert len(rows) == 6
    flat = rows["guidance 2", "rare", "flat", "2"]
    assert "**+10.1 (+9.4 to +10.7)**" in flat  # 0.1005 +- 12.7 * 0.0005, in points
    assert "**" not in rows["guidance 2", "rare", "joint", "3"]
    assert rows["guidance 2", "common", "flat", "2"].count("+0.0 (+0.0 to +0.0)") == 1
    assert text.count("| real, held out |") == 3
    assert chance(results()) == (3, 9)


def test_every_line_of_a_table_is_as_long():
    from staging_table import tables

    real = {"c": {metric: dict.fromkeys(("all", "rare", "common"), 0.5) for metric in ("recognised", "fd", "kid")}}
    lines = [line for line in tables(results(), real, ["c"], ["joint", "flat"]).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize("found, text", [
    pytest.param((1.0, -1.0, 3.0), "+1.0 (-1.0 to +3.0)", id="0 is inside"),
    pytest.param((-2.0, -3.0, -1.0), "**-2.0 (-3.0 to -1.0)**", id="below 0"),
    pytest.param((2.0, np.nan, np.nan), "+2.0", id="one seed"),
    pytest.param(None, "", id="nothing shared"),
])  # fmt: skip
def test_a_difference_is_bold_where_0_is_outside_its_interval(found, text):
    from staging_table import cell

    assert cell(found, 1.0, 1, "+") == text
