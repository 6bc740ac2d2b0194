import pytest

from taxaforge.evaluation.next_run import Run, next_rows, run_of
from taxaforge.evaluation.power import planned, power
from taxaforge.evaluation.schema import NEXT_RUN
from taxaforge.evaluation.statistics import Estimate
from taxaforge.evaluation.weighing import told

CFG = {"alpha": 0.05, "delta_points": 2.0, "delta_tier_points": 2.0}
RUN = Run(["real", "real-equal-steps", "real+a"], 3, 30, 900.0, 90.0)


def verdict(obstacle, **other):
    row = {"method": "a", "scope": "all", "verdict": "inconclusive", "obstacle": obstacle, "missing_controls": "",
           "control": "real", "filter": ""}  # fmt: skip
    return row | other


def compared(difference=1.0, half=3.0, one=0.8, groups=0.3, both=0.1, control="real", scope="all", df=6.0):
    return {"method": "a", "control": control, "scope": scope, "difference_points": difference, "low_points": difference - half,
            "high_points": difference + half, "p_holm": 0.3, "family": 2, "seeds": 3, "images": 360, "groups": 180,
            "df_groups": 168, "df": df, "variance_seeds": one, "variance_groups": groups, "variance_both": both}  # fmt: skip


def planned_rows(decided, rows, run=RUN):
    found = next_rows([decided], rows, run, CFG)
    NEXT_RUN.check(found, "next_run.csv")
    return {row["option"]: row for row in found}


def test_a_difference_under_the_margin_is_to_be_told_from_the_margin():
    """At 0.5, a gain of 2 has to be excluded, which takes no correction."""
    found = planned_rows(verdict("unbeaten"), [compared(difference=0.5)])
    row = found["seeds"]
    seeds = int(row["change"].removeprefix("classification.seeds: "))
    estimate = Estimate(0.5, 0.8, 0.3, 3, 180, 168, 0.1)
    assert power(1.5, *planned(estimate, seeds, 1.0)) >= 0.8 > power(1.5, *planned(estimate, seeds - 1, 1.0))
    assert row["wall_s"] == pytest.approx(90 / 3 * (seeds - 3)) and row["cheapest"]
    assert told([], list(found.values()), 2.0)[0].endswith(f"(classification.seeds: {seeds})")


def test_a_difference_over_the_margin_is_to_be_told_from_nothing_at_the_level_of_the_family():
    row = planned_rows(verdict("unbeaten"), [compared(difference=2.5)])["seeds"]
    seeds = int(row["change"].removeprefix("classification.seeds: "))
    estimate = Estimate(2.5, 0.8, 0.3, 3, 180, 168, 0.1)
    assert (
        power(2.5, *planned(estimate, seeds, 1.0), 0.025) >= 0.8 > power(2.5, *planned(estimate, seeds - 1, 1.0), 0.025)
    )


def test_all_controls_have_to_be_beaten_but_one_is_enough_to_advise_against():
    of = lambda *rows: planned_rows(verdict("unbeaten"), list(rows))["seeds"]["wall_s"]  # noqa: E731
    easy, hard = compared(difference=3.0), compared(difference=3.0, one=1.6, control="balanced")
    assert of(easy, hard) == of(hard) > of(easy)
    low, lower = compared(difference=0.4), compared(difference=-0.5, control="balanced")
    assert of(low, lower) == of(lower) < of(low)
    beaten = compared(difference=9.0, one=5.0, control="balanced") | {"p_holm": 0.001}
    assert of(easy, beaten) == of(easy)


def test_where_test_images_are_scarce_only_more_of_them_would_do():
    found = planned_rows(verdict("unbeaten"), [compared(one=0.02, groups=3.0, both=0.01)])
    assert set(found) == {"test images"} and found["test images"]["cheapest"]
    assert found["test images"]["change"].startswith("split.test: ") and found["test images"]["wall_s"] == 900
    assert int(found["test images"]["change"].split()[-1]) > 60


def test_where_neither_alone_would_do_both_are_asked_for():
    found = planned_rows(verdict("unbeaten"), [compared(one=3.0, groups=1.2, both=0.1)])
    row = found["seeds and test images"]
    assert "split.test" in row["change"] and "classification.seeds" in row["change"] and row["wall_s"] > 900


def test_missing_controls_are_trained_alone():
    decided = verdict("controls", missing_controls="balanced; label-shuffled")
    row = planned_rows(decided, [compared(difference=9)])["controls"]
    assert row["change"] == "classification.arms: add balanced, label-shuffled+a"
    assert row["wall_s"] == pytest.approx(90 / 3 * 2) and "1.0 minutes" in row["sentence"]


def test_one_seed_asks_for_a_first_look():
    row = compared(df=0.0) | {"seeds": 1}
    found = planned_rows(verdict("unbeaten"), [row], Run(["real", "real+a"], 1, 30, 900.0, 30.0))
    assert found["seeds"]["change"] == "classification.seeds: 5" and found["seeds"]["wall_s"] == 120


def test_draws_that_are_joined_are_counted_as_the_seeds():
    found = planned_rows(
        verdict("unbeaten"), [compared(difference=0.2)], Run(["real", "real+a"], 2, 30, 900.0, 30.0, runs=3)
    )
    more = int(found["seeds"]["change"].split()[1]) + 1 - 3
    assert found["seeds"]["change"].startswith("evaluation.beside: ") and found["seeds"]["wall_s"] == 900 * more


@pytest.mark.parametrize("seeds, option, change", [
    (3, "test images", "split.test: 60"), (1, "seeds and test images", "split.test: 60, classification.seeds: 5"),
])  # fmt: skip
def test_where_groups_lack_more_seeds_are_not_advised(seeds, option, change):
    """One observation group a species: no number of seeds tells what another test would have shown."""
    row = compared(df=0.0) | {"df_groups": 0, "seeds": seeds}
    found = planned_rows(verdict("unbeaten"), [row], Run(["real", "real+a"], seeds, 30, 900.0, 30.0))
    assert set(found) == {option} and found[option]["change"] == change
    assert "at least two observation groups" in found[option]["sentence"] and found[option]["wall_s"] >= 900
    assert ("two seeds" in found[option]["sentence"]) == (seeds == 1)


def test_what_is_made_again_is_made_again_in_every_run_that_is_joined():
    joined = Run(["real", "real+a"], 2, 30, 900.0, 30.0, runs=3)
    scarce = planned_rows(verdict("unbeaten"), [compared(one=0.02, groups=3.0, both=0.01)], joined)
    assert scarce["test images"]["wall_s"] == 2700
    assert planned_rows(verdict("controls", missing_controls="balanced"), [], joined)["controls"]["wall_s"] == 45
    rows = [compared(difference=9.0) | {"p_holm": 0.001}, compared(difference=0.1, control="random-drop")]
    useless = verdict("filter", filter="no better than random", control="random-drop")
    assert planned_rows(useless, rows, joined)["no filter"]["wall_s"] == 2700


@pytest.mark.parametrize("obstacle, rows, option, words", [
    ("species", [compared()], "none", "some species are harmed"),
    ("alike", [compared(one=0.0, groups=0.0, both=0.0)], "none", "right on the same photographs"),
    ("tier", [compared(difference=-2.5, scope="tier:few")], "none", "a tier loses more than its margin"),
    ("small gain", [compared(difference=2.0)], "none", "too close to the margin"),
    ("untested", [], "controls", "real+a"),
    ("unaudited", [compared()], "audit", "It beat every control, but"),
])  # fmt: skip
def test_what_no_number_of_seeds_settles_is_said(obstacle, rows, option, words):
    found = planned_rows(
        verdict(obstacle, reason="It beat every control, but."), rows, Run(["real"], 3, 30, None, None)
    )
    assert bool(found[option]["change"]) == (option == "controls")
    assert set(found) == {option} and words in found[option]["sentence"] and found[option]["wall_s"] is None


def test_a_useless_filter_is_taken_out_and_an_uncertain_one_looked_at_again():
    rows = [compared(difference=9.0) | {"p_holm": 0.001}, compared(difference=0.1, control="random-drop")]
    useless = verdict("filter", filter="no better than random", control="random-drop")
    assert set(planned_rows(useless, rows)) == {"no filter"}
    assert "seeds" in planned_rows(verdict("filter", filter="not shown", control="random-drop"), rows)


def test_a_tier_is_looked_at_until_its_loss_is_excluded():
    rows = [compared(difference=9.0), compared(difference=0.0, half=3.0, scope="tier:few")]
    found = planned_rows(verdict("tier"), rows)
    assert found["seeds"]["cheapest"] and int(found["seeds"]["change"].split()[-1]) > 3
    fewer = compared(difference=8.0, half=11.0, one=0.1, groups=0.1, both=0.05, scope="tier:few")
    # Two seeds would find ten points, but nobody is told to run fewer than there are.
    assert all(
        "classification" not in row["change"] for row in planned_rows(verdict("tier"), [rows[0], fewer]).values()
    )
    lost = [rows[0], compared(difference=-2.5, scope="tier:few")]
    assert set(planned_rows(verdict("tier"), lost)) == {"none"}


def test_only_open_questions_are_planned():
    rows = [
        verdict("", verdict="adopt"),
        verdict("no gain", verdict="do not use"),
        verdict("unbeaten", scope="tier:few"),
    ]
    assert next_rows(rows, [compared()], RUN, CFG) == []


def test_costs_are_read_from_the_runs_own():
    spent = [{"level": level, "name": name, "wall_s": wall, "jobs": 2} for level, name, wall in (
        ("rule", "train_classifier", 50.0), ("rule", "score_classifier", 10.0), ("rule", "train_stage", 70.0),
        ("arm", "real", 1.0), ("total", "total", 130.0))]  # fmt: skip
    cfg = {"arms": ["real"], "seeds": 3, "test": 30, "runs": 1}
    assert run_of(spent, cfg) == Run(["real"], 3, 30, 130.0, 60.0)
    assert run_of([], cfg) == Run(["real"], 3, 30, None, None)
