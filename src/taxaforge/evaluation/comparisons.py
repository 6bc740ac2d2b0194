"""Each method's arm against each control, on the same seeds and the same test images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import predictions as reading
from taxaforge.evaluation.schema import COMPARISONS
from taxaforge.evaluation.statistics import balanced, benjamini_hochberg, crossed, holm, sign_flip
from taxaforge.files import read_json

RANDOM_DROP = "random-drop"
"""The control of a filter: an arm of each method, its images dropped at random."""


def compare(
    *,
    predictions: Sequence[tuple[str, int | str, str | Path]],
    methods: Sequence[str],
    classes: str | Path,
    cfg: dict,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write COMPARISONS for every method that has an arm `real+<method>`.

    Controls are the arms without "+", and for a method its own `random-drop+<method>`, where it ran.

    cfg: alpha. Methods without an arm get no rows.
    """
    species = [record["species"] for record in read_json(classes)]
    rows = differences(reading.read(predictions, species), methods, species, cfg["alpha"])
    tables.write(COMPARISONS, rows, out)
    for row in rows:
        if row["scope"] == "all":
            log(None, {f"difference_points/{row['method']}/{row['control']}": row["difference_points"]})


def differences(found: reading.Predictions, methods: Sequence[str], species: Sequence[str], alpha: float) -> list[dict]:
    """Rows of COMPARISONS: overall, Holm over the methods of one control; by species, Benjamini-Hochberg over both."""
    rows = []
    own = [RANDOM_DROP] * any(arm.startswith(f"{RANDOM_DROP}+") for arm in found.arms)
    for control in [*(arm for arm in found.arms if "+" not in arm), *own]:
        overall, by_species = [], []
        tested = [m for m in methods if f"real+{m}" in found.arms and control_arm(control, m) in found.arms]
        for method in tested:
            overall.append(_row(found, method, control, "all", np.ones(len(found.label), bool), alpha))
            for c in np.unique(found.label):
                by_species.append(_row(found, method, control, f"species:{species[c]}", found.label == c, alpha))
        for family, name, adjust in ((overall, "p_holm", holm), (by_species, "q", benjamini_hochberg)):
            adjusted = adjust(np.array([row["p"] for row in family]))
            for row, value in zip(family, adjusted, strict=True):
                row |= {"p_holm": None, "q": None, name: float(value)}
        rows += overall + by_species
    return rows


def control_arm(control: str, method: str) -> str:
    """The arm that a method is held against: most controls are common to all methods."""
    return f"{control}+{method}" if control == RANDOM_DROP else control


def _row(found: reading.Predictions, method: str, control: str, scope: str, images: np.ndarray, alpha: float) -> dict:
    arm, other = f"real+{method}", control_arm(control, method)
    seeds = [seed for seed in found.seeds(arm) if seed in found.seeds(other)]
    if not seeds:
        raise TaxaforgeError(
            f"Arms {arm!r} and {other!r} share no seed, so nothing is paired. Train both with the same seeds."
        )
    d = 100 * (found.correct(arm, seeds) - found.correct(other, seeds))[:, images]
    label, group = found.label[images], found.group[images]
    estimate = crossed(d, label, group)
    (low, high), (low2, high2) = (np.clip(estimate.interval(a), -100, 100) for a in (alpha, 2 * alpha))
    return {
        "method": method,
        "arm": arm,
        "control": control,
        "scope": scope,
        "difference_points": estimate.value,
        "low_points": float(low),
        "high_points": float(high),
        "equivalence_low_points": float(low2),
        "equivalence_high_points": float(high2),
        "p": estimate.p,
        "p_sign": sign_flip(d @ balanced(label)),
        "seeds": estimate.seeds,
        "images": int(images.sum()),
        "groups": estimate.groups,
        "df_groups": estimate.df_groups,
        "df": estimate.df,
        "variance_seeds": float(np.nan_to_num(estimate.variance_seeds)),
        "variance_groups": float(np.nan_to_num(estimate.variance_groups)),
    }
