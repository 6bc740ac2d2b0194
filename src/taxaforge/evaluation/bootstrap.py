"""Intervals of a difference by drawing seeds and observation groups again: the cross-check of the formula."""

from collections.abc import Hashable, Mapping

import numpy as np

from taxaforge.seeds import seed_of

BLOCK = 250
"""Resamples held in memory at once."""


def resampled_class_means(
    values: Mapping[Hashable, np.ndarray], label: np.ndarray, group: np.ndarray, resamples: int
) -> dict[Hashable, np.ndarray]:
    """Each arm's mean over the images of every class, in every resample of seeds and groups.

    Args:
        values: arm -> (S, N), one row a seed, one column a test image; S >= 2, and arms that are subtracted from
            each other have the same seeds in the same order.
        label: (N,) 0..C-1, every class present. group: (N,) observation group; belongs to the class of its first image.
    Returns: arm -> (resamples, C). All arms live through the same resamples, so differences between columns of two
        arms are paired, and a mean over columns is the macro accuracy of these classes.
    Source: Owen 2007, The pigeonhole bootstrap. One draw fewer than there are, from the S seeds and from the groups of
        each class, so that small samples get their whole variance (Rao and Wu 1988). Percentiles of so few seeds remain
        too narrow, hence a cross-check and not the interval.
    """
    label = np.asarray(label)
    _, group = np.unique(np.asarray(group), return_inverse=True)
    cells, cell = np.unique(label * (group.max() + 1) + group, return_inverse=True)
    cell_class, cell_group = np.divmod(cells, group.max() + 1)
    starts = np.searchsorted(cell_class, np.arange(label.max() + 1))
    size = np.bincount(cell)
    sums = {arm: np.stack([np.bincount(cell, row) for row in np.asarray(d, np.float64)]) for arm, d in values.items()}
    first = np.full(group.max() + 1, len(label))
    np.minimum.at(first, group, np.arange(len(label)))
    parts: dict[Hashable, list[np.ndarray]] = {arm: [] for arm in sums}
    for start in range(0, resamples, BLOCK):
        rng = np.random.default_rng(seed_of("crossed bootstrap", start))
        count = min(BLOCK, resamples - start)
        weight = _draws(rng, label[first], count)[:, cell_group]
        images = np.add.reduceat(weight * size, starts, axis=1)
        over_seeds: dict[int, np.ndarray] = {}
        for arm, table in sums.items():
            if len(table) not in over_seeds:
                over_seeds[len(table)] = _draws(rng, np.zeros(len(table), int), count) / len(table)
            drawn = np.add.reduceat(weight * (over_seeds[len(table)] @ table), starts, axis=1)
            with np.errstate(invalid="ignore"):
                # A class none of whose groups was drawn, which takes groups across classes, keeps its own mean.
                plain = np.add.reduceat(table.mean(0), starts) / np.add.reduceat(size, starts)
                parts[arm].append(np.where(images > 0, drawn / images, plain))
    return {arm: np.concatenate(blocks) for arm, blocks in parts.items()}


def _draws(rng: np.random.Generator, stratum: np.ndarray, count: int) -> np.ndarray:
    """(count, units) how often each unit is drawn: units - 1 times in its stratum, scaled to mean 1; single units stay."""
    weight = np.ones((count, len(stratum)))
    for one in np.unique(stratum):
        mine = np.flatnonzero(stratum == one)
        if (units := len(mine)) > 1:
            weight[:, mine] = rng.multinomial(units - 1, np.full(units, 1 / units), count) * units / (units - 1)
    return weight


def percentiles(differences: np.ndarray, alpha: float) -> tuple[float, float]:
    """The middle 1 - alpha of resampled differences."""
    low, high = np.quantile(differences, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
