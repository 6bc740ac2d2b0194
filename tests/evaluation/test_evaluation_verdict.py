from dataclasses import replace

import pytest

from taxaforge import tables
from taxaforge.evaluation.comparisons import control_arm
from taxaforge.evaluation.decision import CORE_CONTROLS, FILTER, OBSTACLES, Case, Comparison, decide_one, judge_filter
from taxaforge.evaluation.schema import COMPARISONS, IMAGES, VERDICT
from taxaforge.evaluation.verdict import decide, verdicts
from taxaforge.guidance.schema import IMAGES as SYNTHETIC
from taxaforge.tables import TYPES


def against(control, difference, low, high, p=0.001, seeds=4):
    """A comparison whose 90 % interval is a sixth narrower than its 95 % one."""
    narrow = [difference + 0.84 * (end - difference) for end in (low, high)]
    return Comparison(control, difference, low, high, *narrow, p, lambda: seeds)


GOOD = (against("real", 4, 2, 6), against("real-equal-steps", 3, 1.2, 4.8))
USELESS, UNSURE = against("random-drop", 0.1, -0.6, 0.8), against("random-drop", 0.5, -2, 3)
CFG = {"delta_points": 1.0, "delta_tier_points": 1.0, "alpha": 0.05}
ALL = [control_arm(name, "a") for name in CORE_CONTROLS]


@pytest.mark.parametrize(
    "case, verdict, words",
    [
        pytest.param(Case(GOOD), "adopt", "better than every control", id="beats all, all controls ran"),
        pytest.param(Case(GOOD, missing=["balanced"]), "inconclusive", "did not run: balanced", id="a core control is missing"),
        pytest.param(
            Case(GOOD, unmade_audits=["copies (3 held-out images)"]), "inconclusive", "not audited in everything: copies",
            id="an audit could not be made",
        ),
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
        pytest.param(
            Case([*GOOD, against("balanced", -2, -3, -0.1, p=0.06)]), "do not use", "less than the 1.0 percentage point ",
            id="below nothing before the correction only is no harm, and no gain",
        ),
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
        pytest.param(Case(GOOD, twin=against("random-drop", 2, 1, 3)), "adopt", "every control", id="the filter helps, too"),
        pytest.param(Case(GOOD, twin=USELESS), "inconclusive", "its filter brings less", id="a useless filter"),
        pytest.param(Case(GOOD, twin=UNSURE), "inconclusive", "not settled", id="a filter of which little is known"),
        pytest.param(
            Case([against("real", -2, -3, -1)], twin=USELESS), "do not use", "worse", id="harm does not hide behind the filter"
        ),
        pytest.param(
            Case(GOOD, tiers={"many": against("real", 5, 3, 7), "few": against("balanced", 1, -1.5, 3.5)}), "inconclusive",
            "species with few training images a loss of more than 1.0 percentage point", id="a loss hides in a tier",
        ),
        pytest.param(Case(GOOD, tiers={"few": against("real", 1, -0.9, 2.9)}), "adopt", "every control", id="no loss in any tier"),
    ],
)  # fmt: skip
def test_one_case_for_each_row_of_the_table(case, verdict, words):
    found, reason, _, obstacle, _ = decide_one(case, delta=1.0, alpha=0.05)
    assert (found, words in reason) == (verdict, True), reason
    assert obstacle in OBSTACLES if verdict != "adopt" else not obstacle
    assert reason.endswith(".") and reason.count(". ") == 0  # one sentence


def test_the_control_that_decides_is_the_hardest_to_beat():
    assert decide_one(Case(GOOD), 1.0, 0.05)[2].control == "real-equal-steps"
    harm = against("real", -2, -3, -1)
    assert decide_one(Case([*GOOD, harm]), 1.0, 0.05)[2] is harm


def test_an_audit_that_failed_is_not_said_to_be_of_its_images():
    assert decide_one(Case(GOOD, failed_audits=["leaks (x)"]), 1.0, 0.05).reason == "An audit failed: leaks (x)."


def test_seeds_are_those_that_all_open_controls_take():
    def asked(*seeds):
        return decide_one(
            Case([GOOD[0], *(against(f"c{i}", 2, -1 - i, 5, seeds=n) for i, n in enumerate(seeds))]), 1.0, 0.05
        )

    assert asked(30, 9).seeds_needed == asked(9, 30).seeds_needed == 30
    assert "about 30 seeds would show a gain of 1.0 percentage point." in asked(30, 9).reason
    assert asked(9, 30, None).seeds_needed is None and "more test photographs" in asked(9, 30, None).reason
    assert asked(9, 51).seeds_needed == 51 and "more test photographs" in asked(9, 51).reason
    assert decide_one(Case(GOOD), 1.0, 0.05).seeds_needed == 4  # nothing is open: the control that decides
    assert decide_one(Case([]), 1.0, 0.05).seeds_needed is None


def comparison_row(scope="all", difference=4.0, low=2.0, high=6.0, p=0.001, control="real"):
    return {
        "method": "a", "arm": "real+a", "control": control, "scope": scope, "difference_points": difference,
        "low_points": low, "high_points": high, "equivalence_low_points": low + 0.1, "equivalence_high_points": high - 0.1,
        "low_bootstrap_points": None, "high_bootstrap_points": None, "family": 1,
        "p": p, "p_holm": None if scope.startswith("species:") else p, "q": p if scope.startswith("species:") else None, "p_sign": 0.06, "seeds": 5,
        "images": 300, "groups": 150, "df_groups": 138, "df": 6.0, "variance_seeds": 0.5, "variance_groups": 0.05,
        "variance_both": 0.0,
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
        ALL,
        CFG,
        {},
        {},
    )
    assert decided[0]["verdict"] == ("inconclusive" if harmed else "adopt")


def test_a_species_is_not_harmed_by_doing_worse_than_images_dropped_at_random():
    """That speaks against the filter; the same row against another control is harm."""
    rows = [comparison_row(), comparison_row("species:Aglais io", -9.0, -14.0, -4.0, 0.01, control="random-drop")]
    assert decided(rows)["a", "all"]["verdict"] == "adopt"
    rows[1] |= {"control": "label-shuffled"}
    assert decided(rows)["a", "all"]["obstacle"] == "species"


def drawn(kept, control):
    """Rows of a method's images."""
    empty = {name: None if column.nullable else TYPES[column.type]() for name, column in SYNTHETIC.columns.items()}
    return [
        empty | {"identifier": f"a-{i}", "evidence": "code", "kept": one, "control": other}
        for i, (one, other) in enumerate(zip(kept, control, strict=True))
    ]


def test_controls_that_did_not_run_cap_the_verdict_and_are_named(tmp_path):
    rows = [comparison_row(), comparison_row("species:Aglais io", -9.0, -14.0, -4.0)]
    tables.write(COMPARISONS, rows, tmp_path / "c.csv")
    seen = {"value": 0.8, "low": 0.7, "high": 0.9, "floor": 0.95, "floor_low": 0.9, "floor_high": 0.99, "n": 100}
    tables.write(
        IMAGES,
        [{"method": "a", "features": "judge", "scope": "all", "metric": "recognised", "independent": True} | seen],
        tmp_path / "i.csv",
    )
    tables.write(SYNTHETIC, drawn([True, False], [False, True]), tmp_path / "metadata.parquet")
    logged = {}
    decide(
        comparisons=tmp_path / "c.csv",
        images=tmp_path / "i.csv",
        methods=["a", "untested"],
        arms=["real", "real-equal-steps"],
        cfg=CFG,
        synthetic={"a": tmp_path / "metadata.parquet"},
        out=tmp_path / "verdict.csv",
        log=lambda step, values: logged.update(values),
    )
    assert logged == {"methods_adopted": 0, "methods_rejected": 0, "verdict/a/all": 0, "verdict/untested/all": 0}
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


def decided(rows, arms=ALL, blind=(), methods=("a",)):
    return {(r["method"], r["scope"]): r for r in verdicts(rows, [], methods, arms, CFG, {}, {}, blind)}


def test_a_filter_that_dropped_what_chance_would_needs_no_twin():
    """Its twin was trained on the same images, so the two agree on every photograph and would decide nothing."""
    rows = [comparison_row(), comparison_row(control="random-drop", difference=0.0, low=0.0, high=0.0, p=1.0)]
    assert decided(rows)["a", "all"]["verdict"] == "inconclusive"
    row = decided(rows, blind=["a"])["a", "all"]
    assert row["verdict"] == "adopt" and row["filter"] == "dropped what chance would"
    without = [arm for arm in ALL if arm != "random-drop+a"]
    row = decided(rows[:1], arms=without, blind=["a"])["a", "all"]
    assert row["verdict"] == "adopt" and row["missing_controls"] == ""
    assert decided(rows[:1], arms=without)["a", "all"]["missing_controls"] == "random-drop"


@pytest.mark.parametrize("kept, control, needed", [
    pytest.param([True, True], [True, True], False, id="nothing dropped"),
    pytest.param([True, False], [True, False], False, id="the same one dropped"),
    pytest.param([True, False], [False, True], True, id="another one dropped"),
])  # fmt: skip
def test_whether_a_twin_is_needed_is_read_from_the_images(tmp_path, kept, control, needed):
    tables.write(COMPARISONS, [comparison_row()], tmp_path / "c.csv")
    tables.write(IMAGES, [], tmp_path / "i.csv")
    tables.write(SYNTHETIC, drawn(kept, control), tmp_path / "m.parquet")
    decide(comparisons=tmp_path / "c.csv", images=tmp_path / "i.csv", methods=["a"], arms=["real"], cfg=CFG,
           synthetic={"a": tmp_path / "m.parquet"}, out=tmp_path / "v.csv")  # fmt: skip
    row = tables.read(VERDICT, tmp_path / "v.csv")[0]
    assert ("random-drop" in row["missing_controls"]) == needed and (row["filter"] == "") == needed


@pytest.mark.parametrize("beside, needed", [([True, True], False), ([False, True], True)])
def test_a_filter_that_dropped_something_in_another_run_needs_its_twin(tmp_path, beside, needed):
    tables.write(COMPARISONS, [comparison_row()], tmp_path / "c.csv")
    tables.write(IMAGES, [], tmp_path / "i.csv")
    for name, kept in (("m", [True, True]), ("b", [True, True]), ("d", beside)):
        tables.write(SYNTHETIC, drawn(kept, [True, True]), tmp_path / f"{name}.parquet")
    decide(comparisons=tmp_path / "c.csv", images=tmp_path / "i.csv", methods=["a"], arms=["real"], cfg=CFG,
           synthetic={"a": tmp_path / "m.parquet"}, out=tmp_path / "v.csv",
           synthetic_beside={"a": [tmp_path / "b.parquet", tmp_path / "d.parquet"]})  # fmt: skip
    row = tables.read(VERDICT, tmp_path / "v.csv")[0]
    assert ("random-drop" in row["missing_controls"]) == needed and (row["filter"] == "") == needed


@pytest.mark.parametrize("twin, word", [
    (against("random-drop", 2, 1, 3), "helps"), (USELESS, "no better than random"), (UNSURE, "not shown"),
    (against("random-drop", 0, 0, 0), "not shown"), (against("random-drop", -3, -5, -1), "no better than random"), (None, ""),
])  # fmt: skip
def test_what_is_known_of_a_filter(twin, word):
    assert judge_filter(twin, 1.0, 0.05) == word and word in FILTER


def test_a_tier_has_its_own_verdict_by_its_own_margin():
    rows = [comparison_row(), comparison_row("tier:few", -4.0, -6.0, -2.0), comparison_row("tier:many", 5.0, 3.0, 7.0)]
    found = decided(rows)
    assert found["a", "tier:few"]["verdict"] == "do not use" and found["a", "tier:many"]["verdict"] == "adopt"
    assert found["a", "all"]["verdict"] == "inconclusive" and found["a", "all"]["obstacle"] == "tier"
    assert not found["a", "tier:few"]["reason"].startswith("Exploratory")
    wide = verdicts(rows, [], ["a"], ALL, CFG | {"delta_tier_points": 7.0}, {}, {})
    assert next(row for row in wide if row["scope"] == "all")["verdict"] == "adopt"


def test_a_filter_has_no_say_in_what_a_tier_may_lose():
    rows = [comparison_row(), comparison_row(control="random-drop"), comparison_row("tier:few", 2.0, 1.0, 3.0)]
    rows.append(comparison_row("tier:few", -2.0, -9.0, 5.0, 0.9, control="random-drop"))
    assert decided(rows)["a", "all"]["verdict"] == "adopt"


def test_a_plain_generator_stands_beside_a_method_and_decides_nothing():
    rows = [comparison_row(), comparison_row(control="real+cfg", difference=-5.0, low=-8.0, high=-2.0)]
    row = decided(rows, arms=[*ALL, "real+cfg"])["a", "all"]
    assert row["verdict"] == "adopt" and row["missing_beside"] == "real+sdedit"
    assert (
        decided([comparison_row() | {"method": "cfg"}], methods=["cfg"])["cfg", "all"]["missing_beside"]
        == "real+sdedit"
    )


def test_seeds_are_planned_for_the_level_that_is_left_after_correction():
    alone = decided([comparison_row(low=-2.0, p=0.3)])["a", "all"]["seeds_needed"]
    among = decided([comparison_row(low=-2.0, p=0.3) | {"family": 4}])["a", "all"]["seeds_needed"]
    assert alone < among
