import numpy as np
import pytest

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.accuracy import summarise
from taxaforge.evaluation.bootstrap import percentiles, resampled_class_means
from taxaforge.evaluation.comparisons import adjust, compare, control_arm, estimate_of, pairs
from taxaforge.evaluation.predictions import read
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, SECONDARY
from taxaforge.evaluation.statistics import crossed, holm
from taxaforge.evaluation.verdict import CORE_CONTROLS, verdicts
from taxaforge.files import read_json, write_json

CFG = {"alpha": 0.05, "delta_points": 1.0, "delta_tier_points": 1.0, "resamples": 400}
ARMS = [control_arm(name, method) for name in CORE_CONTROLS for method in ("a", "b")]


def compared(files, classes, tmp_path, methods=("a", "b")):
    logged = {}
    out, train = tmp_path / "comparisons.csv", tmp_path / "train.json"
    write_json(train, {"label": [0] * 30 + [1] * 10 + [2] * 2 + [3] * 4})
    compare(
        predictions=files, methods=methods, classes=classes, train=train, cfg=CFG, out=out,
        out_secondary=tmp_path / "secondary.csv", log=lambda s, v: logged.update(v),
    )  # fmt: skip
    rows = tables.read(COMPARISONS, out)
    assert logged == {
        f"difference_points/{r['method']}/{r['control']}": r["difference_points"] for r in rows if r["scope"] == "all"
    }
    return {(row["method"], row["control"], row["scope"]): row for row in rows}


def test_a_difference_is_paired_by_image_and_seed(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real-equal-steps": 0.5, "real+a": 0.8, "real+b": 0.5})
    rows = compared(files, classes, tmp_path)
    assert {key[1] for key in rows} == {"real", "real-equal-steps"} and len(rows) == 2 * 2 * (1 + 3 + 4)
    row = rows["a", "real", "all"]
    found = read(files, ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"])
    accuracy = [np.mean([found.correct(arm, [str(s)])[0][found.label == c].mean() for c in range(4)])
                for arm in ("real+a", "real") for s in range(5)]  # fmt: skip
    assert row["difference_points"] == pytest.approx(100 * (np.mean(accuracy[:5]) - np.mean(accuracy[5:])))
    assert row["low_points"] < row["equivalence_low_points"] < row["difference_points"] < row["high_points"]
    assert row["seeds"] == 5 and row["images"] == 160 and row["groups"] == 80 and row["df_groups"] == 76
    assert row["p_holm"] < 0.05 and row["q"] is None and row["p_sign"] == 2 / 2**5
    both = [rows[m, "real", "all"] for m in ("a", "b")]
    assert [r["p_holm"] for r in both] == pytest.approx(holm([r["p"] for r in both]).tolist())
    assert rows["a", "real", "species:Aglais io"]["images"] == 40


def test_identical_arms_differ_by_nothing_and_are_not_adopted(write_predictions, classes, tmp_path):
    rng = np.random.default_rng(0)
    correct = rng.uniform(size=(5, 160)) < 0.6
    files = [write_predictions(arm, s, correct[s]) for arm in ("real", "real+a") for s in range(5)]
    row = compared(files, classes, tmp_path, ["a"])["a", "real", "all"]
    assert [row[k] for k in ("difference_points", "low_points", "high_points", "p")] == [0, 0, 0, 1]
    decided = verdicts([row], [], ["a"], ARMS, CFG, {}, {})
    assert decided[0]["verdict"] == "inconclusive" and "same test photographs" in decided[0]["reason"]


def test_one_seed_is_never_enough(arms, classes, tmp_path):
    rows = compared(arms({"real": 0.2, "real+a": 0.9}, seeds=1), classes, tmp_path, ["a"])
    row = rows["a", "real", "all"]
    assert (row["low_points"], row["high_points"], row["df"]) == (-100, 100, 0)
    decided = verdicts(list(rows.values()), [], ["a"], ARMS, CFG, {}, {})
    assert {r["verdict"] for r in decided} == {"inconclusive"} and "two seeds" in decided[0]["reason"]


def test_arms_scored_on_other_images_are_not_compared(arms, write_predictions, classes, tmp_path):
    files = arms({"real": 0.5}, seeds=1)
    files.append(write_predictions("real+a", 0, np.ones(160), prefix="other"))
    with pytest.raises(TaxaforgeError, match="other images"):
        compared(files, classes, tmp_path)


def test_arms_without_a_common_seed_are_not_compared(write_predictions, classes, tmp_path):
    files = [write_predictions("real", 0, np.ones(8)), write_predictions("real+a", 1, np.ones(8))]
    with pytest.raises(TaxaforgeError, match="share no seed"):
        compared(files, classes, tmp_path)


def test_a_tier_is_the_mean_over_its_species_and_its_tests_are_corrected_together(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real+a": 0.6, "real+b": 0.55})
    rows = compared(files, classes, tmp_path)
    few = rows["a", "real", "tier:few"]  # Pieris rapae has two training images, the oak four
    single = [rows["a", "real", f"species:{name}"]["difference_points"] for name in ("Pieris rapae", "Quercus robur")]
    assert few["difference_points"] == pytest.approx(np.mean(single)) and few["images"] == 80
    found = read(files, ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"])
    both = {arm: found.correct(arm, found.seeds(arm)) for arm in ("real", "real+a")}
    drawn = resampled_class_means(both, found.label, found.group, CFG["resamples"])
    want = percentiles(100 * (drawn["real+a"] - drawn["real"])[:, 2:].mean(1), 0.05)
    assert (few["low_bootstrap_points"], few["high_bootstrap_points"]) == pytest.approx(want)
    tests = [row for (_, _, scope), row in rows.items() if scope.startswith("tier:")]
    assert len(tests) == 6 == few["family"] and few["q"] is None
    assert [row["p_holm"] for row in tests] == pytest.approx(holm([row["p"] for row in tests]).tolist())
    assert rows["a", "real", "species:Aglais io"]["low_bootstrap_points"] is None


def test_the_bootstrap_is_the_crossed_resampling_of_paired_differences(arms, classes, tmp_path):
    rows = compared(arms({"real": 0.5, "real+a": 0.8}, seeds=8, images=320), classes, tmp_path, ["a"])
    row = rows["a", "real", "all"]
    width = (row["high_bootstrap_points"] - row["low_bootstrap_points"]) / (row["high_points"] - row["low_points"])
    assert 0.6 < width < 1.3
    again = compared(arms({"real": 0.5, "real+a": 0.8}, seeds=8, images=320), classes, tmp_path, ["a"])
    assert again == rows  # seeded


def test_one_seed_has_no_bootstrap_either(arms, classes, tmp_path):
    rows = compared(arms({"real": 0.5, "real+a": 0.8}, seeds=1), classes, tmp_path, ["a"])
    assert rows["a", "real", "all"]["low_bootstrap_points"] is None


def test_which_arms_are_controls_of_which_method():
    arms = [
        "real",
        "balanced",
        "real+a",
        "real+cfg",
        "random-drop+a",
        "label-shuffled+cfg",
        "synthetic+a",
        "real+sdedit",
    ]
    found = [(method, control, other) for method, _, control, other in pairs(arms, ["a", "cfg", "untrained"])]
    assert found == [
        ("a", "real", "real"), ("cfg", "real", "real"), ("a", "balanced", "balanced"), ("cfg", "balanced", "balanced"),
        ("a", "random-drop", "random-drop+a"), ("cfg", "label-shuffled", "label-shuffled+cfg"),
        ("a", "real+cfg", "real+cfg"), ("a", "real+sdedit", "real+sdedit"), ("cfg", "real+sdedit", "real+sdedit"),
    ]  # fmt: skip


def test_families_are_those_of_one_control_and_one_kind_of_scope():
    rows = [
        {"control": c, "scope": s, "p": 0.02}
        for c in ("real", "balanced")
        for s in ("all", "all", "tier:few", "species:x")
    ]
    adjust(rows)
    assert [(r["p_holm"], r["q"], r["family"]) for r in rows] == 2 * [
        (0.04, None, 2), (0.04, None, 2), (0.02, None, 1), (None, 0.02, 1),
    ]  # fmt: skip


def test_a_row_gives_back_the_estimate_behind_it(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real+a": 0.6})
    row = compared(files, classes, tmp_path, ["a"])["a", "real", "all"]
    found = read(files, ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"])
    seeds = found.seeds("real")
    want = crossed(100 * (found.correct("real+a", seeds) - found.correct("real", seeds)), found.label, found.group)
    got = estimate_of(row)
    assert got.interval(0.05) == pytest.approx(want.interval(0.05)) and got.variance_both == pytest.approx(
        want.variance_both
    )


def test_siblings_calibration_and_tree_distance_are_compared_with_an_interval(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real+a": 0.8})
    compared(files, classes, tmp_path, ["a"])
    rows = {r["metric"]: r for r in tables.read(SECONDARY, tmp_path / "secondary.csv")}
    assert set(rows) == {"brier", "nll", "lca_height", "sibling_errors", "sibling_mass"}  # four species: no top five
    found = read(files, ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"])
    wrong = np.array([[1 - found.correct(arm, [str(s)])[0] for s in range(5)] for arm in ("real+a", "real")])
    # A wrong answer puts .7 on the guess, .1 on each other: (.1 - 1)^2 + .7^2 + 2 * .1^2; a right one .3^2 + 3 * .1^2.
    brier = np.where(wrong == 1, 0.81 + 0.49 + 0.02, 0.09 + 0.03)
    by_class = [[np.mean(b[:, found.label == c]) for c in range(4)] for b in brier]
    assert rows["brier"]["difference"] == pytest.approx(np.mean(by_class[0]) - np.mean(by_class[1]))
    assert rows["brier"]["without"] == pytest.approx(np.mean(by_class[1])) and rows["brier"]["high"] < 0
    # Only the two Aglais have a sibling; io's wrong answer is the sibling, urticae's is not.
    assert rows["sibling_errors"]["images"] == 80 and rows["lca_height"]["images"] == 160
    io = found.label == 0
    want = (wrong[0][:, io].mean() - wrong[1][:, io].mean()) / 2
    assert rows["sibling_errors"]["difference"] == pytest.approx(want)


def test_a_real_gain_over_every_control_is_adopted(arms, classes, tmp_path):
    accuracy = dict.fromkeys(CORE_CONTROLS, 0.5) | {"real+a": 0.8}
    rows = compared(arms(accuracy, seeds=5, images=400), classes, tmp_path, ["a"])
    decided = verdicts(list(rows.values()), [], ["a"], ARMS, CFG, {}, {})
    assert decided[0]["verdict"] == "adopt"


def test_accuracy_table_by_scope_seed_and_mean(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real+a": 0.8}, seeds=3)
    write_json(tmp_path / "train.json", {"label": [0] * 30 + [1] * 10 + [2] * 2})
    out = tmp_path / "accuracy.csv"
    summarise(predictions=files, classes=classes, train=tmp_path / "train.json", cfg=CFG, out=out)
    rows = {(r["arm"], r["seed"], r["scope"], r["metric"]): r for r in tables.read(ACCURACY, out)}
    found = read(files, ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"])
    assert {"brier", "sibling_mass"} <= {metric for _, _, scope, metric in rows if scope == "all"}
    mean = rows["real", "mean", "all", "macro_top1"]
    estimate = crossed(found.correct("real", ["0", "1", "2"]), found.label, found.group)
    assert mean["value"] == pytest.approx(estimate.value)
    assert (mean["low"], mean["high"]) == pytest.approx(estimate.interval(0.05))
    assert rows["real", "1", "all", "macro_top1"]["low"] is None
    assert rows["real", "mean", "tier:many", "macro_top1"]["n"] == 40  # Aglais io has 30 training images
    assert rows["real", "mean", "tier:few", "macro_top1"]["n"] == 80  # two and none
    assert (
        rows["real", "0", "species:Pieris rapae", "recall"]["low"]
        < rows["real", "0", "species:Pieris rapae", "recall"]["value"]
    )
    assert rows["real", "mean", "family", "rolled_top1"]["n"] == 120  # the oak has no family here
    # The wrong answer to Aglais io is its sister: right at genus rank.
    assert rows["real", "0", "genus", "rolled_top1"]["value"] > rows["real", "0", "all", "macro_top1"]["value"]
    assert 0 < rows["real", "0", "all", "sibling_errors"]["value"] < 0.25


def test_a_filter_is_held_against_dropping_at_random_by_each_method_itself(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real+a": 0.8, "real+b": 0.6, "random-drop+a": 0.8, "random-drop+b": 0.5})
    rows = compared(files, classes, tmp_path)
    assert {control for _, control, _ in rows} == {"real", "random-drop"}
    apart = {method: rows[method, "random-drop", "all"]["difference_points"] for method in "ab"}
    assert abs(apart["a"]) < 8 < apart["b"] + 8
    assert apart["b"] == pytest.approx(
        rows["b", "real", "all"]["difference_points"] - _against_real(files, classes, "random-drop+b"), abs=1e-9
    )


def _against_real(files, classes, arm) -> float:
    """Macro accuracy of an arm less that of `real`, in points."""
    found = read(files, [record["species"] for record in read_json(classes)])
    seeds = found.seeds(arm)
    d = 100 * (found.correct(arm, seeds) - found.correct("real", seeds))
    return float(np.mean([d[:, found.label == c].mean() for c in np.unique(found.label)]))
