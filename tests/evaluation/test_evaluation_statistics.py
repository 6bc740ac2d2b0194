import numpy as np
import pytest
from scipy import stats

from taxaforge.evaluation.statistics import (
    benjamini_hochberg,
    crossed,
    holm,
    parts,
    sign_flip,
    tost,
    wilson,
)


def test_with_one_class_and_single_images_it_is_the_formula_by_hand():
    d = np.array([[1, 0, 0, -1, 1, 0], [1, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0.0]])
    result = crossed(d, np.zeros(6), np.arange(6))
    assert result.value == pytest.approx(d.mean())
    assert result.variance_seeds == pytest.approx(d.mean(1).var(ddof=1) / 3)
    assert result.variance_groups == pytest.approx(d.mean(0).var(ddof=1) / 6)
    a, b = result.variance_seeds, result.variance_groups
    assert result.df == pytest.approx((a + b) ** 2 / (a**2 / 2 + b**2 / 5))
    low, high = result.interval(0.05)
    want = stats.t.interval(0.95, result.df, d.mean(), np.sqrt(a + b))
    assert (low, high) == pytest.approx(want)
    assert result.p == pytest.approx(2 * stats.t.sf(abs(d.mean()) / np.sqrt(a + b), result.df))


def test_classes_count_the_same_whatever_their_size():
    d = np.array([[1, 1, 1, 1, 1, 1, 0, 0.0]])
    assert crossed(d, np.array([0] * 6 + [1] * 2), np.arange(8)).value == 0.5


def test_images_of_one_group_are_one_draw():
    """Every image five times in one group must give the interval of the single images, not a narrower one."""
    rng = np.random.default_rng(0)
    d = rng.integers(-1, 2, (4, 20)).astype(float)
    single = crossed(d, np.zeros(20), np.arange(20))
    copied = crossed(np.repeat(d, 5, axis=1), np.zeros(100), np.repeat(np.arange(20), 5))
    assert copied.interval(0.05) == pytest.approx(single.interval(0.05))


def test_unequal_species_are_no_noise():
    """One species always better, one always worse, by the same in every image and seed: nothing is left to chance."""
    d = np.tile([1.0, 1, 1, -0.5, -0.5, -0.5], (3, 1))
    result = crossed(d, np.repeat([0, 1], 3), np.arange(6))
    assert result.value == 0.25 and result.se == pytest.approx(0, abs=1e-12)


def test_identical_arms_differ_by_nothing():
    result = crossed(np.zeros((3, 12)), np.repeat([0, 1], 6), np.arange(12))
    assert result.value == 0 and result.interval(0.05) == (0, 0) and result.p == 1


@pytest.mark.parametrize("seeds, groups", [(1, [0, 1, 2, 3]), (3, [0, 0, 0, 0])])
def test_one_seed_or_one_group_says_nothing_about_chance(seeds, groups):
    result = crossed(np.ones((seeds, 4)), np.zeros(4), np.array(groups))
    assert result.interval(0.05) == (-np.inf, np.inf) and result.p == 1 and result.df == 0


@pytest.mark.parametrize("groups", [13, 20])
def test_groups_that_lie_in_every_class_are_counted_once(groups):
    """Observers who photographed all species: the variance over 600 drawn test sets is the one that is stated."""
    rng, classes = np.random.default_rng(groups), 12
    label, group = (part.ravel() for part in np.indices((classes, groups)))
    found = [
        crossed(d, label, group)
        for d in rng.normal(size=(600, 1, groups))[..., group] + rng.normal(size=(600, 1, classes * groups))
    ]
    assert {estimate.df_groups for estimate in found} == {groups - 1}
    stated = np.mean([estimate.variance_groups for estimate in found])
    assert stated == pytest.approx(np.var([estimate.value for estimate in found]), rel=0.2)


def test_fewer_groups_than_classes_have_an_interval_where_the_classes_share_them():
    d = np.random.default_rng(0).normal(size=(3, 24))
    low, high = crossed(d, np.arange(24) % 6, np.arange(24) // 6).interval(0.05)
    assert np.isfinite([low, high]).all()


@pytest.mark.parametrize("pairs, count", [
    ([(0, 0), (0, 1), (1, 2), (2, 3), (2, 4)], 3), ([(0, 0), (1, 0), (2, 1)], 2), ([(3, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 1),
])  # fmt: skip
def test_classes_hang_together_through_the_groups_they_share(pairs, count):
    assert parts(*np.array(pairs).T) == count


def simulate(rng, seeds, per_class, seed_sd, gain=0.0, classes=6):
    """Correctness of two arms that share image difficulty; each seed shifts an arm; groups of two images."""
    n = classes * per_class
    label, group = np.repeat(np.arange(classes), per_class), np.arange(n) // 2
    easy = rng.normal(0.8, 0.7, n) + rng.normal(0, 0.7, n // 2 + 1)[group]
    taste = rng.normal(0, 0.3, n // 2 + 1)[group]  # what the arms find differently hard, the same for all seeds
    noise = rng.normal(0, 1, (2, seeds, n))
    shift = rng.normal(0, seed_sd, (2, seeds, 1))
    right = (easy + noise + shift + np.array([gain, 0])[:, None, None] + np.stack([taste, -taste])[:, None] > 0) * 1.0
    return right[0] - right[1], label, group


@pytest.mark.parametrize("seeds, per_class, seed_sd", [(5, 30, 0.02), (5, 60, 0.1), (8, 30, 0.1)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(seeds, per_class, seed_sd):
    rng = np.random.default_rng(seeds + per_class)
    covered = 0
    for _ in range(1000):
        low, high = crossed(*simulate(rng, seeds, per_class, seed_sd)).interval(0.05)
        covered += low <= 0 <= high
    assert 0.92 <= covered / 1000 <= 0.995  # conservative where noise is all residual: both parts of SE^2 hold it


def test_sign_flips_by_hand():
    assert sign_flip(np.array([1.0, 1, 1])) == 0.25
    assert sign_flip(np.array([1.0, -1])) == 1
    assert (
        sign_flip(np.array([3.0, 2, -1])) == 0.5
    )  # |4| is reached by 3+2-1 and its mirror, |6| by 3+2+1 and its mirror
    assert sign_flip(np.arange(1.0, 9)) == 2 / 2**8
    assert sign_flip(np.ones(21)) is None


def test_holm_against_a_worked_example():
    p = np.array([0.01, 0.04, 0.03, 0.005])  # Wikipedia's: hypotheses 1 and 4 fall at .05
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert (holm(p) <= 0.05).tolist() == [True, False, False, True]
    assert holm(np.array([0.9, 0.8])).max() <= 1


def test_benjamini_hochberg_against_scipy():
    p = np.random.default_rng(0).uniform(size=50) ** 2
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_equivalence_is_the_rule_of_the_90_percent_interval_on_1000_inputs():
    rng, agree, both = np.random.default_rng(1), 0, set()
    for _ in range(1000):
        value, se, df, delta = rng.normal(), rng.uniform(0.05, 1), rng.integers(2, 40), rng.uniform(0.2, 2)
        low, high = stats.t.interval(0.90, df, value, se)
        inside = -delta < low and high < delta
        agree += inside == (tost(value, se, df, delta) < 0.05)
        both.add(inside)
    assert agree == 1000 and both == {True, False}


def test_equivalence_against_a_worked_example():
    # difference 0.2, SE 0.3, df 20, margin 1: t = 4 and -2.667
    assert tost(0.2, 0.3, 20, 1.0) == pytest.approx(stats.t.sf(0.8 / 0.3, 20))


def test_wilson_against_a_worked_example():
    assert wilson(15, 20) == pytest.approx((0.5313, 0.8881), abs=1e-4)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == pytest.approx(1) and wilson(0, 0) == (0, 1)


def test_what_varies_from_cell_to_cell_is_told_from_what_seeds_and_groups_have_in_common():
    """Against the mean squares of a two-way layout, in float64 and by hand: one class, one image a group."""
    rng = np.random.default_rng(0)
    seeds, groups = 6, 40
    d = rng.normal(size=(seeds, groups)) + rng.normal(0, 2, (seeds, 1)) + rng.normal(0, 1.5, groups)
    residual = d - d.mean(0) - d.mean(1, keepdims=True) + d.mean()
    mean_square = (residual**2).sum() / ((seeds - 1) * (groups - 1))
    assert crossed(d, np.zeros(groups), np.arange(groups)).variance_both == pytest.approx(
        mean_square / (seeds * groups)
    )


def test_noise_of_every_image_and_seed_stands_in_both_parts():
    rng = np.random.default_rng(1)
    found = [crossed(rng.normal(size=(5, 60)), np.arange(60) % 3, np.arange(60)) for _ in range(400)]
    both, one, groups = (np.mean([getattr(e, n) for e in found])
                         for n in ("variance_both", "variance_seeds", "variance_groups"))  # fmt: skip
    assert both == pytest.approx(1 / 300, rel=0.05) and one == pytest.approx(1 / 300, rel=0.1)
    assert groups == pytest.approx(1 / 300, rel=0.05)
