from dataclasses import replace

import pytest

from taxaforge import tables
from taxaforge.evaluation.comparisons import control_arm
from taxaforge.evaluation.schema import COMPARISONS, IMAGES, VERDICT
from taxaforge.evaluation.verdict import CORE_CONTROLS, Case, Comparison, decide, decide_one, verdicts
from taxaforge.guidance.schema import IMAGES as SYNTHETIC
from taxaforge.tables import TYPES


def against(control, difference, low, high, p=0.001, seeds=4):
    """A comparison whose 90 % interval is a sixth narrower than its 95 % one."""
    narrow = [difference + 0.84 * (end - difference) for end in (low, high)]
    return Comparison(control, difference, low, high, *narrow, p, seeds)


GOOD = (against("real", 4, 2, 6), against("real-equal-steps", 3, 1.2, 4.8))


@pytest.mark.parametrize(
    "case, verdict, words",
    [
        pytest.param(Case(GOOD), "adopt", "better than every control", id="beats all, all controls ran"),
        pytest.param(Case(GOOD, missing=["balanced"]), "inconclusive", "did not run: balanced", id="a core control is missing"),
        pytest.param(Case(GOOD, failed_audits=["copies"]), "do not use", "copies", id="an audit failed"),
        pytest.param(Case(GOOD, harmed_species=["Aglais io"]), "inconclusive", "harms Aglais io", id="a species is harmed"),
        pytest.param(
            Case([GOOD[0], replace(GOOD[1], p=0.2)]), "inconclusive", "Neither", id="Holm's correction takes the significance"
        ),
        pytest.param(Case([GOOD[0], against("real-equal-steps", 2, -1, 5)]), "inconclusive", "4 seeds", id="one control not beaten"),
        pytest.param(
            Case([GOOD[0], against("real-equal-steps", 2, -1, 5, seeds=None)]), "inconclusive", "more test photographs",
            id="seeds alone would not settle it",
        ),
        pytest.param(Case([against("real", 0.8, 0.2, 1.4)]), "inconclusive", "likely below", id="a gain below the margin"),
        pytest.param(Case([GOOD[0], against("real-equal-steps", -2, -3, -1)]), "do not use", "worse", id="harm"),
        pytest.param(Case([against("real", -2, -3, -1)], missing=["balanced"]), "do not use", "worse", id="harm needs no more controls"),
        pytest.param(Case([against("real", -1, -2.9, 0.9)]), "do not use", "less than the 1.0 percentage point ", id="no benefit"),
        pytest.param(Case([against("real", 0, -0.5, 0.5)]), "do not use", "shown to be equivalent", id="no benefit, equivalence shown"),
        pytest.param(Case([against("real", 0, -1.1, 1.1)]), "do not use", "no difference", id="equivalent by the 90 % interval only"),
        pytest.param(Case([against("real", 5, -100, 100)]), "inconclusive", "at least two seeds", id="chance not estimated"),
        pytest.param(Case([against("real", 0, 0, 0)]), "inconclusive", "same test photographs", id="arms agree on every image"),
        pytest.param(
            Case([against("real", 0, 0, 0), against("balanced", -2, -3, -1)]), "do not use", "worse",
            id="agreement with one control does not hide harm against another",
        ),
        pytest.param(Case([]), "inconclusive", "not tested", id="no arm"),
    ],
)  # fmt: skip
def test_one_case_for_each_row_of_the_table(case, verdict, words):
    found, reason, _ = decide_one(case, delta=1.0, alpha=0.05)
    assert (found, words in reason) == (verdict, True), reason
    assert reason.endswith(".") and reason.count(". ") == 0  # one sentence


def test_the_control_that_decides_is_the_hardest_to_beat():
    assert decide_one(Case(GOOD), 1.0, 0.05)[2].control == "real-equal-steps"
    harm = against("real", -2, -3, -1)
    assert decide_one(Case([*GOOD, harm]), 1.0, 0.05)[2] is harm


def comparison_row(scope="all", difference=4.0, low=2.0, high=6.0, p=0.001, control="real"):
    return {
        "method": "a", "arm": "real+a", "control": control, "scope": scope, "difference_points": difference,
        "low_points": low, "high_points": high, "equivalence_low_points": low + 0.1, "equivalence_high_points": high - 0.1,
        "p": p, "p_holm": p if scope == "all" else None, "q": None if scope == "all" else p, "p_sign": 0.06, "seeds": 5,
        "images": 300, "groups": 150, "df_groups": 138, "df": 6.0, "variance_seeds": 0.5, "variance_groups": 0.05,
    }  # fmt: skip


@pytest.mark.parametrize(
    "high, q, harmed",
    [(-4.0, 0.05, True), (-4.0, 0.2, False), (0.5, 0.05, False)],
)
def test_a_species_is_harmed_where_its_interval_and_its_q_value_say_so(high, q, harmed):
    rows = [comparison_row(), comparison_row("species:Aglais io", -9.0, -14.0, high, q)]
    decided = verdicts(
        rows,
        [],
        ["a"],
        [control_arm(name, "a") for name in CORE_CONTROLS],
        {"delta_points": 1.0, "alpha": 0.05},
        {},
        {},
    )
    assert decided[0]["verdict"] == ("inconclusive" if harmed else "adopt")


def test_this_version_s_controls_cap_the_verdict_and_say_which_are_missing(tmp_path):
    rows = [comparison_row(), comparison_row("species:Aglais io", -9.0, -14.0, -4.0)]
    tables.write(COMPARISONS, rows, tmp_path / "c.csv")
    seen = {"value": 0.8, "low": 0.7, "high": 0.9, "floor": 0.95, "floor_low": 0.9, "floor_high": 0.99, "n": 100}
    tables.write(IMAGES, [{"method": "a", "scope": "all", "metric": "recognised"} | seen], tmp_path / "i.csv")
    drawn = {name: None if column.nullable else TYPES[column.type]() for name, column in SYNTHETIC.columns.items()}
    tables.write(SYNTHETIC, [drawn | {"identifier": "a-1", "evidence": "code"}], tmp_path / "metadata.parquet")
    decide(
        comparisons=tmp_path / "c.csv",
        images=tmp_path / "i.csv",
        methods=["a", "untested"],
        arms=["real", "real-equal-steps"],
        cfg={"delta_points": 1.0, "alpha": 0.05},
        synthetic={"a": tmp_path / "metadata.parquet"},
        out=tmp_path / "verdict.csv",
    )
    overall, species, untested = tables.read(VERDICT, tmp_path / "verdict.csv")
    assert overall["verdict"] == "inconclusive" and overall["control"] == "real" and overall["evidence"] == "code"
    assert overall["missing_controls"].split("; ") == [
        n for n in CORE_CONTROLS if n not in ("real", "real-equal-steps")
    ]
    assert (overall["recognised"], overall["recognised_real"], overall["seeds_needed"]) == (0.8, 0.95, 34)
    assert "harms Aglais io" in overall["reason"]
    assert species["scope"] == "species:Aglais io" and species["verdict"] == "do not use"
    assert species["reason"].startswith("Exploratory: ")
    assert untested["verdict"] == "inconclusive" and untested["difference_points"] is None
