"""How many seeds and test images an effect needs, from the noise of a finished run."""

from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.evaluation.comparisons import estimate_of
from taxaforge.evaluation.power import detectable, factor_needed, planned, power, seeds_needed
from taxaforge.evaluation.statistics import Estimate

ONE_POINT = 1.0
CLAIM_SEEDS = 8
"""Seeds that a claim wants: Holm over four methods and an exact test over seeds both fail below."""


def power_rows(compared: Sequence[Mapping], alpha: float, effects: Sequence[float]) -> list[dict]:
    """Rows of POWER for every declared comparison of COMPARISONS. effects: in points, beside the one-point effect."""
    rows = []
    for row in compared:
        if row["scope"] != "all":
            continue
        estimate, level = estimate_of(row), alpha / row["family"]
        known = bool(estimate.df) and estimate.se > 0
        for effect in sorted({ONE_POINT, *effects}):
            rows.append(
                {
                    "method": row["method"],
                    "control": row["control"],
                    "effect_points": effect,
                    "alpha": level,
                    "seeds": row["seeds"],
                    "images": row["images"],
                    "power": power(effect, estimate.se, estimate.df, level) if known else None,
                    "detectable_points": detectable(estimate, level),
                    "seeds_needed": seeds_needed(estimate, effect, level),
                    "images_needed": images_needed(estimate, row["images"], effect, level),
                    "images_needed_8_seeds": images_needed(
                        at_seeds(estimate, CLAIM_SEEDS), row["images"], effect, level
                    ),
                }
            )
    return rows


def images_needed(estimate: Estimate, images: int, effect: float, alpha: float) -> int | None:
    """Test images with which this many seeds find the effect; None where not even 100 times as many would do."""
    factor = factor_needed(estimate, effect, alpha)
    return None if factor is None else int(np.ceil(images * factor))


def at_seeds(estimate: Estimate, seeds: int) -> Estimate:
    """The same noise as another number of seeds would show it."""
    if not estimate.df:
        return estimate
    one = estimate.seeds / seeds
    both = min(estimate.variance_both, estimate.variance_seeds, estimate.variance_groups)
    se, _ = planned(estimate, seeds, 1.0)
    groups = estimate.variance_groups - both + both * one
    return Estimate(
        estimate.value, float(se**2 - groups), groups, seeds, estimate.groups, estimate.df_groups, both * one
    )


def sentence(rows: Sequence[Mapping], effect: float) -> str:
    """What the least certain comparison of a run asks for; rows of POWER."""
    mine = [row for row in rows if row["effect_points"] == effect]
    known = [row for row in mine if row["detectable_points"] is not None]
    if not known:
        return "How many seeds an effect needs cannot be told from this run: it takes two seeds and arms that differ."
    worst = max(known, key=lambda row: row["detectable_points"])
    needs = []
    if worst["seeds_needed"] is not None:
        needs.append(f"{worst['seeds_needed']} seeds with these {worst['images']} test images")
    if worst["images_needed"] is not None:
        needs.append(f"{worst['images_needed']} test images with these {worst['seeds']} seeds")
    found = f"Against any control this run finds a true gain of {worst['detectable_points']:.1f} points four times out of five."
    if not needs:
        return f"{found} A gain of {effect:.1f} takes more seeds and more test images, neither alone will do."
    return f"{found} A gain of {effect:.1f} takes {', or '.join(needs)}."
