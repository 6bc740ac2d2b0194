"""What scores of likeness can and cannot happen by chance. Pure numpy; scores are cosines, compared as Fisher's z."""

import numpy as np

MOST = 1 - 1e-9
"""Cosine above which two pictures count as the same: its z, 10.7, stands for infinity."""


def z_of(score: np.ndarray) -> np.ndarray:
    """arctanh, which spreads the scores near 1 where copies are told from lookalikes."""
    return np.arctanh(np.clip(np.asarray(score, np.float64), -MOST, MOST))


def bound(z: np.ndarray, trials: int, false_alarms: float) -> float:
    """The z that of `trials` pictures by chance any exceeds with a probability of about `false_alarms`.

    A score is the largest of many, so its tail is that of a Gumbel distribution, here through the median and the
    upper quartile: neither moves much where some pictures are copies in truth, while the largest would be just those.
    Rough below 50 pictures. Source: Gumbel 1958, Statistics of Extremes.
    """
    middle, high = np.quantile(z, [0.5, 0.75])
    spread = (high - middle) / (np.log(np.log(2)) - np.log(np.log(4 / 3)))
    return float(middle + spread * (np.log(np.log(2)) + np.log(max(trials, 1) / false_alarms)))


def p_values(z: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Conformal p of each: (1 + how many of the null are as large) / (1 + size of the null).

    >>> p_values(np.array([0.0, 5.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 0.25]
    """
    ordered = np.sort(null)
    return (1 + len(null) - np.searchsorted(ordered, z, side="left")) / (1 + len(null))


def all_largest(count: int, images: int, null: int) -> float:
    """Probability that at least `count` of `images` exceed all of a null of the same kind.

    >>> all_largest(0, 5, 10), round(all_largest(1, 5, 10), 3), all_largest(2, 1, 10)
    (1.0, 0.333, 0.0)
    """
    steps = np.arange(count)
    return float(np.prod(np.maximum(images - steps, 0) / np.maximum(images + null - steps, 1)))


def excess(
    z: np.ndarray,
    cluster: np.ndarray,
    null: np.ndarray,
    null_cluster: np.ndarray,
    level: float,
    seed: int,
    draws: int = 400,
) -> tuple[float, float, float]:
    """Share of p-values at most `level`, minus `level`: value and 95 % interval.

    Whole clusters are drawn again on both sides, since a small null is as much a matter of chance as the images are.

    Args: z: (n,), cluster: (n,) of the images; null: (m,), null_cluster: (m,).
    """
    value = float((p_values(z, null) <= level).mean() - level)
    rng = np.random.default_rng(seed)
    weight, null_weight = _drawn(cluster, draws, rng), _drawn(null_cluster, draws, rng)
    order = np.argsort(-null, kind="stable")
    above = np.searchsorted(-null[order], -z, side="right")  # how many of the null are as large
    sums = np.concatenate([np.zeros((draws, 1)), np.cumsum(null_weight[:, order], axis=1)], axis=1)
    low = (1 + sums[:, above]) / (1 + sums[:, -1:]) <= level
    shares = (low * weight).sum(axis=1) / weight.sum(axis=1)
    first, last = np.quantile(shares - level, [0.025, 0.975])
    return value, float(first), float(last)


def _drawn(cluster: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws, n) how often each item comes, whole clusters drawn with replacement."""
    _, number = np.unique(cluster, return_inverse=True)
    count = number.max() + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, number]
