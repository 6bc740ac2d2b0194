import numpy as np
import pytest

from taxaforge.evaluation.bootstrap import percentiles, resampled_class_means
from taxaforge.evaluation.statistics import crossed


def world(seed=0, seeds=6, classes=4, per_class=40, cell=0.3):
    """Two arms on groups of two images: seeds and groups move the difference, single cells a little."""
    rng = np.random.default_rng(seed)
    n = classes * per_class
    label, group = np.repeat(np.arange(classes), per_class), np.arange(n) // 2
    base = rng.normal(size=n)
    gain = rng.normal(0, 0.2, (seeds, 1)) + rng.normal(0, 0.5, n // 2)[group] + rng.normal(0, cell, (seeds, n))
    return {"a": base + gain, "b": np.tile(base, (seeds, 1))}, label, group


def test_its_spread_is_the_standard_error_of_the_formula_where_cells_add_little():
    arms, label, group = world(cell=0.0)
    drawn = resampled_class_means(arms, label, group, 4000)
    spread = (drawn["a"] - drawn["b"]).mean(1).std()
    assert spread == pytest.approx(crossed(arms["a"] - arms["b"], label, group).se, rel=0.05)


def test_arms_live_through_the_same_resamples():
    arms, label, group = world()
    drawn = resampled_class_means({"a": arms["a"], "same": arms["a"]}, label, group, 300)
    assert np.array_equal(drawn["a"], drawn["same"]) and drawn["a"].shape == (300, 4)
    again = resampled_class_means({"b": arms["b"], "a": arms["a"]}, label, group, 300)
    assert np.array_equal(again["a"], drawn["a"])  # whatever stands beside it


def test_a_resample_by_hand_draws_one_seed_and_group_fewer_than_there_are():
    """Two seeds and two groups a class: every draw is one seed and one group of each class, so values are cell means."""
    d = np.array([[1.0, 2, 4, 8], [16, 32, 64, 128]])
    drawn = resampled_class_means({"a": d}, np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), 400)["a"]
    assert set(drawn[:, 0]) == {1, 2, 16, 32} and set(drawn[:, 1]) == {4, 8, 64, 128}
    assert {tuple(row) for row in drawn} == {(x, y) for s in (0, 1) for x in d[s, :2] for y in d[s, 2:]}


def test_groups_across_classes_and_classes_of_one_group_are_drawn_too():
    label, group = np.array([0, 0, 1, 1, 2]), np.array(["x", "y", "x", "y", "z"])
    drawn = resampled_class_means({"a": np.arange(10.0).reshape(2, 5)}, label, group, 200)["a"]
    assert np.isfinite(drawn).all() and set(drawn[:, 2]) == {4.0, 9.0}


def test_equal_arms_differ_by_nothing_in_every_resample():
    arms, label, group = world()
    drawn = resampled_class_means({"a": arms["a"], "b": arms["a"].copy()}, label, group, 100)
    assert percentiles((drawn["a"] - drawn["b"]).mean(1), 0.05) == (0, 0)


def test_the_interval_is_near_the_formulas():
    arms, label, group = world(3, seeds=10)
    drawn = resampled_class_means(arms, label, group, 2000)
    low, high = percentiles((drawn["a"] - drawn["b"]).mean(1), 0.05)
    want = crossed(arms["a"] - arms["b"], label, group).interval(0.05)
    assert 0.6 < (high - low) / (want[1] - want[0]) < 1.1 and low < np.mean(want) < high
