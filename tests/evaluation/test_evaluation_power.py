import numpy as np
import pytest
from scipy import stats

from taxaforge.evaluation.power import detectable, factor_needed, planned, power, seeds_needed
from taxaforge.evaluation.power_table import at_seeds, power_rows, sentence
from taxaforge.evaluation.statistics import Estimate, crossed


@pytest.mark.parametrize("gain, seeds, want", [(1, 5, 0.79), (1, 8, 0.98), (0.5, 5, 0.30), (0.5, 8, 0.53)])
def test_power_at_a_paired_sd_of_0_6_points(gain, seeds, want):
    assert power(gain, 0.6 / np.sqrt(seeds), seeds - 1) == pytest.approx(want, abs=0.01)


def test_power_agrees_with_a_simulation():
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1, (4000, 12))
    assert power(0.5, 1 / np.sqrt(12), 11) == pytest.approx(
        (stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05).mean(), abs=0.025
    )


def test_seeds_needed_is_the_first_number_with_the_power_wanted():
    needed = seeds_needed(Estimate(0.2, 2.0**2 / 3, 0.04, 3, 300, 288), delta=1.5)
    ses = [np.sqrt(4.0 / s + 0.04) for s in (needed - 1, needed)]
    dfs = [se**4 / ((4.0 / s) ** 2 / (s - 1) + 0.04**2 / 288) for se, s in zip(ses, (needed - 1, needed), strict=True)]
    assert power(1.5, ses[0], dfs[0]) < 0.8 <= power(1.5, ses[1], dfs[1])


def test_where_test_images_limit_no_number_of_seeds_helps():
    assert seeds_needed(Estimate(0.2, 0.1, 1.0, 3, 300, 288), delta=1.0) is None
    assert seeds_needed(Estimate(0.0, 0.0, 0.0, 3, 300, 288), delta=1.0) is None
    assert seeds_needed(Estimate(0.2, np.nan, 1.0, 1, 300, 288), delta=1.0) is None


def test_power_at_many_places_at_once_is_power_at_each():
    ses, dfs = np.array([0.3, 0.5, 0.01, 0.0]), np.array([4.0, 9.0, 4.0, 4.0])
    together = power(1.0, ses, dfs)
    assert together == pytest.approx([power(1.0, float(se), float(df)) for se, df in zip(ses, dfs, strict=True)])
    assert together[2] == together[3] == 1.0


@pytest.mark.parametrize("df", [2, 4, 6, 10, 50, 120])
def test_power_is_a_number_however_large_the_effect(df):
    found = [power(effect, 1.0, df) for effect in np.linspace(0.5, 40, 80)]
    assert np.isfinite(found).all() and (np.diff(found) >= -1e-9).all() and found[-1] > 0.999


def test_noise_of_single_cells_shrinks_with_seeds_and_with_images_alike():
    noise = Estimate(0.0, 0.02, 0.02, 5, 60, 48, variance_both=0.02)  # nothing but cell noise
    assert planned(noise, 10, 1.0)[0] ** 2 == pytest.approx(0.02)
    assert planned(noise, 5, 2.0)[0] ** 2 == pytest.approx(0.02)
    apart = Estimate(0.0, 0.02, 0.02, 5, 60, 48)
    assert planned(apart, 10, 1.0)[0] ** 2 == pytest.approx(0.03)
    assert planned(apart, 5, 1.0) == pytest.approx((apart.se, apart.df))


def test_a_plan_is_what_a_larger_run_of_the_same_world_then_shows():
    """Plans from runs of 4 seeds and 80 images, checked against runs of 9 seeds and 160 images."""

    def run(rng, seeds, images):
        shared = rng.normal(0, 1.0, images) + rng.normal(0, 0.25, (seeds, 1))
        return crossed(shared + rng.normal(0, 2.0, (seeds, images)), np.zeros(images), np.arange(images))

    rng = np.random.default_rng(0)
    small = np.mean([planned(run(rng, 4, 80), 9, 2.0)[0] ** 2 for _ in range(400)])
    large = np.mean([run(rng, 9, 160).se ** 2 for _ in range(400)])
    assert small == pytest.approx(large, rel=0.1)


@pytest.mark.parametrize("effect", [1.0, 2.0])
def test_images_needed_are_the_first_multiple_with_the_power_wanted(effect):
    estimate = Estimate(0.0, 0.05, 0.6, 5, 120, 108, 0.03)
    factor = factor_needed(estimate, effect)
    assert power(effect, *planned(estimate, 5, factor)) >= 0.8 > power(effect, *planned(estimate, 5, factor / 1.011))
    assert factor_needed(Estimate(0.0, 5.0, 0.1, 3, 120, 108), 1.0) is None  # seeds limit


def test_the_effect_that_a_run_can_see_is_found_four_times_out_of_five():
    estimate = Estimate(0.3, 0.1, 0.2, 5, 120, 108)
    assert power(detectable(estimate), estimate.se, estimate.df) == pytest.approx(0.8, abs=1e-6)
    assert detectable(Estimate(0.0, 0.0, 0.0, 3, 120, 108)) is None
    assert detectable(Estimate(0.0, np.nan, 0.1, 1, 120, 108)) is None


def test_the_same_noise_at_other_seeds_plans_the_same():
    estimate = Estimate(0.0, 0.3, 0.2, 3, 120, 108, 0.1)
    moved = at_seeds(estimate, 8)
    assert planned(moved, 8, 1.0) == pytest.approx(planned(estimate, 8, 1.0))
    assert planned(moved, 3, 2.0) == pytest.approx(planned(estimate, 3, 2.0))


def comparison(**other):
    row = {"method": "a", "control": "real", "scope": "all", "difference_points": 0.4, "seeds": 5, "images": 300,
           "groups": 150, "df_groups": 138, "df": 6.0, "variance_seeds": 0.1, "variance_groups": 0.05, "variance_both": 0.03,
           "family": 4}  # fmt: skip
    return {**row, **other}


def test_the_power_table_asks_for_a_point_and_for_the_margin_at_the_level_of_the_family():
    rows = power_rows([comparison(), comparison(scope="species:x")], 0.05, [2.0])
    assert [row["effect_points"] for row in rows] == [1.0, 2.0] and {row["alpha"] for row in rows} == {0.0125}
    one, two = rows
    assert one["power"] < two["power"] and one["seeds_needed"] > two["seeds_needed"]
    assert one["images_needed"] is None or one["images_needed"] > two["images_needed"]
    assert two["images_needed_8_seeds"] < (two["images_needed"] or 1e9)
    assert f"takes {two['seeds_needed']} seeds" in sentence(rows, 2.0)
    assert [row["effect_points"] for row in power_rows([comparison()], 0.05, [1.0])] == [1.0]


def test_a_run_of_one_seed_has_no_power_to_tell():
    rows = power_rows([comparison(df=0.0, seeds=1)], 0.05, [1.0])
    assert rows[0]["power"] is None and rows[0]["seeds_needed"] is None and rows[0]["images_needed_8_seeds"] is None
    assert "cannot be told" in sentence(rows, 1.0)
