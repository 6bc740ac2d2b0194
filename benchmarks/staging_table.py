"""The comparison of staged training as tables: means over seeds, and differences that are paired by seed."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit
from staging_inputs import COLLECTIONS, LEVELS, SCOPES, SPLITS, WORLDS

REFERENCE = "joint"
METRICS = {"recognised": ("recognised, %", 100.0, 1), "fd": ("Frechet distance", 1.0, 2), "kid": ("KID", 1.0, 3)}
"""metric -> heading, factor, digits."""

Interval = tuple[float, float, float]
"""mean, low, high; low and high are NaN where one value alone is known."""


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % t interval over seeds.

    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float(values.mean()), np.nan, np.nan
    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Interval | None:
    """Interval of ours - theirs over the seeds that both have; None where they share none."""
    common = sorted(set(ours) & set(theirs))
    return interval([ours[seed] - theirs[seed] for seed in common]) if common else None


def excludes_zero(difference: Interval | None) -> bool:
    return difference is not None and (difference[1] > 0 or difference[2] < 0)


def cell(found: Interval | None, factor: float, digits: int, sign: str = "") -> str:
    """ "mean (low to high)", the mean alone where there is no interval, nothing where there is nothing."""
    if found is None:
        return ""
    mean, low, high = (factor * value for value in found)
    text = f"{mean:{sign}.{digits}f}"
    if not np.isnan(low):
        text += f" ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"
    return f"**{text}**" if sign and excludes_zero(found) else text


def by_seed(results: Sequence[dict]) -> dict[tuple, dict[int, float]]:
    """(collection, guidance, scope, variant, metric) -> seed -> value."""
    found: dict[tuple, dict[int, float]] = defaultdict(dict)
    for one in results:
        for guidance, figures in one["guidance"].items():
            for metric in METRICS:
                for scope in SCOPES:
                    key = (one["collection"], guidance, scope, one["variant"], metric)
                    found[key][one["seed"]] = figures[metric][scope]
    return found


def tables(results: Sequence[dict], real: dict[str, dict], order: Sequence[str], variants: Sequence[str]) -> str:
    """One table a collection that has results.

    Args:
        results: one a finished item: collection, variant, seed, and guidance scale -> metric -> scope -> value.
        real: collection -> metric -> scope -> value of held-out real images against others.
        order: collections. variants: in the order of rows; REFERENCE is what others are compared with.
    """
    found = by_seed(results)
    head = ["images", "species", "variant", "seeds"]
    head += [text for name, *_ in METRICS.values() for text in (name, f"to {REFERENCE}")]
    parts = []
    for collection in (name for name in order if any(key[0] == name for key in found)):
        lines = [f"### {collection}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for scope in SCOPES:
            cells = [f"{f * real[collection][metric][scope]:.{d}f} | " for metric, (_, f, d) in METRICS.items()]
            lines.append(f"| real, held out | {scope} |  |  | {' | '.join(cells)} |")
        for guidance in sorted({key[1] for key in found if key[0] == collection}, key=float):
            for scope in SCOPES:
                for variant in variants:
                    lines.append(_row(found, collection, guidance, scope, variant))
        parts.append("\n".join(line for line in lines if line is not None) + "\n")
    return "\n".join(parts)


def _row(found: dict, collection: str, guidance: str, scope: str, variant: str) -> str | None:
    cells, seeds = [], 0
    for metric, (_, factor, digits) in METRICS.items():
        values = found.get((collection, guidance, scope, variant, metric), {})
        seeds = len(values)
        if not values:
            return None
        theirs = {} if variant == REFERENCE else found.get((collection, guidance, scope, REFERENCE, metric), {})
        cells += [
            cell(interval(list(values.values())), factor, digits),
            cell(paired(values, theirs), factor, digits, "+"),
        ]
    return f"| guidance {guidance} | {scope} | {variant} | {seeds} | {' | '.join(cells)} |"


def chance(results: Sequence[dict]) -> tuple[int, int]:
    """(differences to REFERENCE whose interval excludes 0, differences that have an interval)."""
    found = by_seed(results)
    differences = [
        paired(values, found.get((*key[:3], REFERENCE, key[4]), {}))
        for key, values in found.items()
        if key[3] != REFERENCE
    ]
    known = [one for one in differences if one is not None and not np.isnan(one[1])]
    return sum(map(excludes_zero, known)), len(known)


def words(results: Sequence[dict], worlds: dict[str, dict], settings: dict, commit: str) -> str:
    """What stands above the tables. worlds: collection -> its world.json."""
    excluding, known = chance(results)
    hours = sum(sum(one["cpu_seconds"].values()) for one in results) / 3600
    size, steps, batch = settings["size"], settings["steps"], settings["batch"]
    compared = "; ".join(f"{name} {world.held_out // 2}" for name, world in WORLDS.items())
    lines = [
        f"`python benchmarks/staging.py` at {commit}: {len(results)} trainings, {hours:.1f} core hours. Backbone `small` from "
        f"scratch, {size} px, channels {settings['channels']}. Every variant makes {steps} optimiser steps of {batch} images in "
        f"all, peak learning rate {settings['learning_rate']:g}, level modules a tenth. No base stage; every stage trains the "
        f"whole denoiser. *progressive*: {steps // len(LEVELS)} steps each on {', '.join(LEVELS)}, every stage with a warm-up "
        "and a cosine of its own. *random_level* and *joint*: one stage. *flat*: one stage, the species alone; its name "
        "holds that of the genus, and the text tower has read the lineages.",
        "",
        "| collection | rare species | training images of each | common species | training images of each | images for the judge |",
        "|---|---|---|---|---|---|",
    ]
    for name, world in worlds.items():
        of, images, rare = COLLECTIONS[name], world["images"], len(world["rare"])
        species = images["held_out"] // WORLDS[of.world].held_out
        judged = images["judging"] + images["stopping"]
        lines.append(f"| {name} | {rare} | {of.rare} | {species - rare} | {of.common} | {judged} |")
    lines += [
        "",
        "lambda: Pagel's, of drawn specimens; at 0 the tree says nothing about looks. As many rare species as can have a "
        "common one in their genus; the photographs have few such genera.",
        "",
        f"*Recognised*: by a judge that saw the images above at {size} px, mean over species. Distances: between the judge's "
        "features of generated and of held-out real images, as many on both sides (images a species: "
        f"{compared}), mean over {SPLITS} halvings of the real ones. *real, held out* is the distance between real halves, the "
        "floor. Distances compare within a table and a group of species only: judges differ, and the Frechet distance of few "
        f"images is biased upwards. Guidance is classifier-free, away from the null lineage, {settings['denoising']} steps; 1 is "
        "none. A seed is new training images from a fixed pool, a new text tower on them, new weights, and new noise to draw "
        "from, shared by all variants; collection, judge and held-out images are fixed. In brackets 95 % t intervals over "
        f"seeds, those of differences paired by seed, bold where 0 is outside: {excluding} of {known} differences, of which "
        f"chance alone would give about {0.05 * known:.0f}. They are not corrected for their number.",
    ]
    return "\n".join(lines)
