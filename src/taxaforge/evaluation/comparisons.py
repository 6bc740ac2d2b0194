"""Each method's arm against each control, on the same seeds and the same test images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import predictions as reading
from taxaforge.evaluation.accuracy import tiers
from taxaforge.evaluation.bootstrap import percentiles, resampled_class_means
from taxaforge.evaluation.schema import COMPARISONS, SECONDARY
from taxaforge.evaluation.secondary import secondary_rows
from taxaforge.evaluation.statistics import Estimate, balanced, benjamini_hochberg, crossed, holm, sign_flip
from taxaforge.files import read_json

RANDOM_DROP, LABEL_SHUFFLED = "random-drop", "label-shuffled"
OWN_CONTROLS = (RANDOM_DROP, LABEL_SHUFFLED)
"""Controls that are arms of each method: its images dropped at random, or under shuffled labels."""
EXTENDED_CONTROLS = {"real+cfg": "plain classifier-free guidance", "real+sdedit": "plain SDEdit"}
"""Arms of plain generators, beside which the other methods are shown: arm -> in words. They decide nothing."""


def compare(
    *,
    predictions: Sequence[tuple[str, int | str, str | Path]],
    methods: Sequence[str],
    classes: str | Path,
    train: str | Path,
    cfg: dict,
    out: str | Path,
    out_secondary: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write COMPARISONS and SECONDARY for every method that has an arm `real+<method>`.

    Args:
        train: the .json of the training pack, for the tiers. cfg: alpha, resamples (0: no bootstrap).
            Methods without an arm get no rows.
    """
    records = read_json(classes)
    species = [record["species"] for record in records]
    found = reading.read(predictions, species)
    images = np.bincount(read_json(train)["label"], minlength=len(species))
    rows = differences(found, methods, species, cfg["alpha"], images, cfg["resamples"])
    tables.write(COMPARISONS, rows, out)
    tables.write(SECONDARY, secondary_rows(found, pairs(found.arms, methods), records, cfg["alpha"]), out_secondary)
    for row in rows:
        if row["scope"] == "all":
            log(None, {f"difference_points/{row['method']}/{row['control']}": row["difference_points"]})


def pairs(arms: Sequence[str], methods: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """(method, its arm, control, the control's arm), control by control.

    Controls are the arms of real images alone, each method's own, and the plain generators.
    """
    kinds = {arm.partition("+")[0] for arm in arms if "+" in arm}
    common = [arm for arm in arms if "+" not in arm]
    return [
        (method, f"real+{method}", control, control_arm(control, method))
        for control in [*common, *(own for own in OWN_CONTROLS if own in kinds), *EXTENDED_CONTROLS]
        for method in methods
        if f"real+{method}" in arms and control_arm(control, method) in arms and control != f"real+{method}"
    ]


def control_arm(control: str, method: str) -> str:
    """The arm that a method is held against: most controls are common to all methods."""
    return f"{control}+{method}" if control in OWN_CONTROLS else control


def shared_seeds(found: reading.Predictions, arm: str, other: str) -> list[str]:
    """Seeds that both arms have. Raises TaxaforgeError where there is none."""
    seeds = [seed for seed in found.seeds(arm) if seed in found.seeds(other)]
    if not seeds:
        raise TaxaforgeError(
            f"Arms {arm!r} and {other!r} share no seed, so nothing is paired. Train both with the same seeds."
        )
    return seeds


def differences(
    found: reading.Predictions,
    methods: Sequence[str],
    species: Sequence[str],
    alpha: float,
    images: np.ndarray | None = None,
    resamples: int = 0,
) -> list[dict]:
    """Rows of COMPARISONS: overall, by tier and by species.

    Families, each of one control: Holm over the methods overall; Holm over methods x tiers; Benjamini-Hochberg over
    methods x species.

    Args:
        images: (C,) training images of every species, for the tiers; None: no tiers.
        resamples: of the bootstrap, overall and by tier; 0: none.
    """
    compared = pairs(found.arms, methods)
    seeds = {(arm, other): tuple(shared_seeds(found, arm, other)) for _, arm, _, other in compared}
    correct = {(arm, given): found.correct(arm, given) for pair, given in seeds.items() for arm in pair}
    present, label = np.unique(found.label, return_inverse=True)
    _, group = np.unique(found.group, return_inverse=True)
    scopes = {"all": np.ones(len(label), bool)}
    scopes |= {f"tier:{name}": mask for name, mask in tiers(found.label, images).items()} if images is not None else {}
    scopes |= {f"species:{species[c]}": found.label == c for c in present}
    drawn = {key: values for key, values in correct.items() if resamples and len(values) > 1}
    drawn = resampled_class_means(drawn, label, group, resamples) if drawn else {}
    rows = []
    for method, arm, control, other in compared:
        given = seeds[arm, other]
        d = 100 * (correct[arm, given] - correct[other, given])
        for scope, mask in scopes.items():
            row = {"method": method, "arm": arm, "control": control, "scope": scope}
            row |= _measured(d[:, mask], label[mask], group[mask], alpha)
            row |= {"low_bootstrap_points": None, "high_bootstrap_points": None}
            if (arm, given) in drawn and not scope.startswith("species:"):
                inside = np.unique(label[mask])
                apart = (drawn[arm, given] - drawn[other, given])[:, inside].mean(1)
                low, high = percentiles(100 * apart, alpha)
                row |= {"low_bootstrap_points": low, "high_bootstrap_points": high}
            rows.append(row)
    adjust(rows)
    return rows


def adjust(rows: Sequence[dict]) -> None:
    """Adds p_holm or q to the rows of every family."""
    families: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        families.setdefault((row["control"], row["scope"].partition(":")[0]), []).append(row)
    for (_, kind), family in families.items():
        name, method = ("q", benjamini_hochberg) if kind == "species" else ("p_holm", holm)
        for row, value in zip(family, method(np.array([row["p"] for row in family])), strict=True):
            row |= {"p_holm": None, "q": None, name: float(value), "family": len(family)}


def _measured(d: np.ndarray, label: np.ndarray, group: np.ndarray, alpha: float) -> dict:
    """The columns of one difference. d: (S, N) in points."""
    estimate = crossed(d, label, group)
    (low, high), (low2, high2) = (np.clip(estimate.interval(a), -100, 100) for a in (alpha, 2 * alpha))
    return {
        "difference_points": estimate.value,
        "low_points": float(low),
        "high_points": float(high),
        "equivalence_low_points": float(low2),
        "equivalence_high_points": float(high2),
        "p": estimate.p,
        "p_sign": sign_flip(d @ balanced(label)),
        "seeds": estimate.seeds,
        "images": len(label),
        "groups": estimate.groups,
        "df_groups": estimate.df_groups,
        "df": estimate.df,
        "variance_seeds": float(np.nan_to_num(estimate.variance_seeds)),
        "variance_groups": float(np.nan_to_num(estimate.variance_groups)),
        "variance_both": estimate.variance_both,
    }


def estimate_of(row: Mapping) -> Estimate:
    """The estimate behind a row of COMPARISONS."""
    parts = (row["variance_seeds"], row["variance_groups"]) if row["df"] else (float("nan"), float("nan"))
    return Estimate(
        row["difference_points"], *parts, row["seeds"], row["groups"], row["df_groups"], row["variance_both"]
    )
