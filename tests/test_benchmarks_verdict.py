"""The whole verdict on simulated runs whose truth is known: nothing, something, harm, a useless filter."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taxaforge.evaluation.statistics import wilson
from taxaforge.guidance.decisions import decide, lottery

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


def small(name, **other):
    """Six species, two methods: a run that takes some milliseconds."""
    from verdict import World

    usual = {"seeds": 4, "methods": 2, "classes": 6, "per_class": 40, "controls": ("real", "real-equal-steps")}
    return World(name, **usual | other)


def test_under_the_null_hardly_any_run_adopts_and_the_intervals_hold():
    """One control only, the least that can stand in the way. 250 runs tell 5 % from 10 %, not from 6 %."""
    from verdict import rates

    found = rates(small("null", controls=("real-equal-steps",), twin=None), 250)
    for what in ("any", "shown", "worse"):
        low, high = wilson(int(found[what].sum()), 250)
        assert low <= 0.05 and high <= 0.10, what
    assert 0.93 <= found["covered"].mean() <= 0.99  # conservative: noise of single answers stands in both parts of SE^2


def test_seeds_alone_would_miss_that_the_test_images_are_a_sample():
    """The instrument can tell: intervals from a seed's spread only, on the same runs, hold far less often."""
    from scipy import stats
    from verdict import names, simulate

    from taxaforge.evaluation.statistics import balanced

    world = replace(small("null", controls=("real-equal-steps",), twin=None), own=0.0, cell=0.2, taste=0.5)
    held = []
    for number in range(150):
        found = simulate(world, np.random.default_rng(number))
        for method in names(world):
            seeds = found.seeds("real-equal-steps")
            d = (found.correct(f"real+{method}", seeds) - found.correct("real-equal-steps", seeds)) @ balanced(
                found.label
            )
            half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
            held.append(abs(d.mean()) <= half)
    assert np.mean(held) < 0.8


def test_a_planted_effect_is_what_the_simulation_says():
    from verdict import simulate

    world = small("gain", gain=5.0, per_class=400, seeds=3, own=0.0, taste=0.0)
    found = simulate(world, np.random.default_rng(0))
    accuracy = {arm: found.correct(arm, found.seeds(arm)).mean() for arm in ("real", "real+m0")}
    assert accuracy["real"] == pytest.approx(0.6, abs=0.03)
    assert accuracy["real+m0"] - accuracy["real"] == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("truth, other, word, least", [
    pytest.param({"gain": 12.0, "twin": None}, {}, "adopt", 0.8, id="a real effect"),
    pytest.param({"gain": -12.0, "twin": -12.0}, {}, "against", 0.9, id="a harmful method"),
])  # fmt: skip
def test_what_is_planted_plainly_is_called_correctly(truth, other, word, least):
    from verdict import rates

    found = rates(small("planted", seeds=6, **truth, **other), 30)
    assert found[word].mean() >= least


@pytest.mark.parametrize("truth", [
    pytest.param({"gain": 12.0, "twin": 12.0, "controls": ("real", "real-equal-steps", "random-drop")}, id="a useless filter"),
    pytest.param({"gain": 12.0, "few": -12.0, "twin": None}, id="harm where training images are few"),
    pytest.param({"gain": 0.0}, id="no effect"),
])  # fmt: skip
def test_what_must_not_be_adopted_is_not(truth):
    from verdict import rates

    found = rates(small("planted", seeds=6, **truth), 30)
    assert found["adopt"].mean() <= 0.05


def test_a_filter_whose_scores_are_permuted_is_its_random_drop():
    """Images differ in how much they help; half are dropped, by a score that sees it or by the same scores shuffled."""
    from verdict import CFG, names, simulate

    from taxaforge.evaluation.comparisons import differences
    from taxaforge.evaluation.verdict import verdicts

    world = small("filter", methods=1, seeds=6, per_class=80, controls=("real", "random-drop"))
    said = {True: [], False: []}
    for number in range(20):
        rng = np.random.default_rng(number)
        helps = rng.normal(5, 25, 200)
        for permuted in said:
            score = rng.permutation(helps) if permuted else helps
            rows = [
                {"scientificName": f"s{i % 6}", "helps": h, "score": x}
                for i, (h, x) in enumerate(zip(helps, score, strict=True))
            ]
            rows = lottery(decide(rows, {"semantics": lambda row: row["score"] < 5}), number)
            dropped = [sum(not row[which] for row in rows) for which in ("kept", "control")]
            assert dropped[0] == dropped[1] > 0
            gain, twin = (float(np.mean([row["helps"] for row in rows if row[which]])) for which in ("kept", "control"))
            found = simulate(replace(world, gain=gain, twin=twin), np.random.default_rng([number, permuted]))
            table = differences(found, names(world), [f"s{c}" for c in range(6)], 0.05)
            decided = verdicts(table, [], names(world), [], CFG, {}, {})
            said[permuted].append(next(row["filter"] for row in decided if row["scope"] == "all"))
    assert said[False].count("helps") >= 18 and said[True].count("helps") <= 2


def test_the_section_states_every_truth(monkeypatch):
    import verdict

    world = small("null")
    text = verdict.section({world: verdict.rates(world, 3, resamples=50)}, "python x", 60.0)
    assert "| null | 4 | 3 |" in text and "nan" not in text
    assert len({(world.name, world.seeds) for world in verdict.worlds()}) == len(verdict.worlds())
