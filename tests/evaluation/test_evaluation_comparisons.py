import numpy as np
import pytest

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.accuracy import summarise
from taxaforge.evaluation.comparisons import compare, control_arm, differences
from taxaforge.evaluation.predictions import Predictions, read
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS
from taxaforge.evaluation.statistics import crossed, holm
from taxaforge.evaluation.verdict import CORE_CONTROLS, verdicts
from taxaforge.files import read_json, write_json

CFG = {"alpha": 0.05, "delta_points": 1.0}
ARMS = [control_arm(name, method) for name in CORE_CONTROLS for method in ("a", "b")]


def compared(files, classes, tmp_path, methods=("a", "b")):
    logged = {}
    out = tmp_path / "comparisons.csv"
    compare(predictions=files, methods=methods, classes=classes, cfg=CFG, out=out, log=lambda s, v: logged.update(v))
    rows = tables.read(COMPARISONS, out)
    assert logged == {
        f"difference_points/{r['method']}/{r['control']}": r["difference_points"] for r in rows if r["scope"] == "all"
    }
    return {(row["method"], row["control"], row["scope"]): row for row in rows}


def test_a_difference_is_paired_by_image_and_seed(arms, classes, tmp_path):
    files = arms({"real": 0.5, "real-equal-steps": 0.5, "real+a": 0.8, "real+b": 0.5})
    rows = compared(files, classes, tmp_path)
    assert {key[1] for key in rows} == {"real", "real-equal-steps"} and len(rows) == 2 * 2 * (1 + 4)
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


def test_under_the_null_hardly_any_run_adopts_and_the_intervals_hold():
    """Two methods that do nothing against one control, the least that can stand in the way; arms vary by about 3 points."""
    rng, runs, images = np.random.default_rng(0), 300, 240
    label, group = np.arange(images) % 6, np.arange(images) // 12 * 6 + np.arange(images) % 6
    names = ["real-equal-steps", "real+a", "real+b"]
    adopted = covered = 0
    for _ in range(runs):
        easy = rng.normal(0.5, 0.8, images)
        probability = {}
        for arm in names:
            for seed in range(5):
                right = easy + rng.normal(0, 0.8, images) + rng.normal(0, 0.1) > 0
                probability[arm, str(seed)] = np.eye(6)[np.where(right, label, (label + 1) % 6)]
        rows = differences(Predictions(label, group, probability), ["a", "b"], [f"s{c}" for c in range(6)], 0.05)
        rows = [row for row in rows if row["scope"] == "all"]
        decided = verdicts(rows, [], ["a", "b"], ARMS, CFG, {}, {})
        adopted += any(row["verdict"] == "adopt" for row in decided)
        covered += np.mean([row["low_points"] <= 0 <= row["high_points"] for row in rows])
    assert adopted / runs <= 0.05
    assert 0.93 <= covered / runs <= 0.995


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
