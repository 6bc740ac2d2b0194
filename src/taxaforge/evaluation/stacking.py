"""Calibrated stacking: naming images among species with and without training images. Pure numpy; no files, no arms.

A classifier that saw no photograph of a species seldom names it. A handicap for the seen species mends
that: as it grows, unseen species are named better (U) and seen ones worse (S).
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contest:
    """N images, each with its best seen class against its best unseen one.

    gap: (N,) share of the best seen class less that of the best unseen one, -1..1. unseen: (N,) bool, is the
    true class unseen? right: (N,) bool, is the best class of the true class's own side the true class?
    unseen_first: (N,) bool, does the unseen one come first in class order, so that argmax takes it on equality?
    label: (N,) true class.
    """

    gap: np.ndarray
    unseen: np.ndarray
    right: np.ndarray
    unseen_first: np.ndarray
    label: np.ndarray

    def switched(self, handicap: float) -> np.ndarray:
        """(N,) bool: named as an unseen species. Equality goes to the unseen side for a handicap > 0, to the
        seen one for < 0, so that -1 names all seen and 1 all unseen; at 0 to the first, which is argmax."""
        ties = self.unseen_first if handicap == 0 else np.full(len(self.gap), handicap > 0)
        return (self.gap < handicap) | ((self.gap == handicap) & ties)


@dataclass(frozen=True)
class Curve:
    """handicap, u, s: (K,) each, in the order of growing handicap."""

    handicap: np.ndarray
    u: np.ndarray
    s: np.ndarray


def shares(probability: np.ndarray, competing: np.ndarray) -> np.ndarray:
    """(N, C) probabilities among the competing classes alone, 0 elsewhere: the softmax without the others' logits.

    probability: (N, C), rows sum to 1. competing: (C,) bool. Where nothing is left of a row, all competitors are equal.
    """
    kept = np.where(competing, np.asarray(probability, np.float64), 0.0)
    total = kept.sum(1, keepdims=True)
    return np.where(total > 0, kept / np.where(total > 0, total, 1), competing / competing.sum())


def _sides(probability: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """((N,) best seen class, (N,) best unseen class, (N,) gap between their shares)."""
    share = shares(probability, seen | unseen)
    best, other = (np.where(side, share, -1.0).argmax(1) for side in (seen, unseen))
    rows = np.arange(len(share))
    return best, other, share[rows, best] - share[rows, other]


def contest(probability: np.ndarray, label: np.ndarray, seen: np.ndarray, unseen: np.ndarray) -> Contest:
    """Each image's best seen class against its best unseen one.

    Args:
        probability: (N, C) softmax. label: (N,) true class, seen or unseen. seen, unseen: (C,) bool; classes that
            are neither do not compete.
    """
    best, other, gap = _sides(probability, seen, unseen)
    hidden = unseen[label]
    return Contest(gap, hidden, np.where(hidden, other, best) == label, other < best, np.asarray(label))


def stacked(probability: np.ndarray, seen: np.ndarray, unseen: np.ndarray, handicap: float) -> np.ndarray:
    """(N,) class by calibrated stacking: argmax over the competing classes of o_c - handicap * [c is seen].

    Source: Chao et al. 2016 (arXiv:1605.04253) [note]. Shares o are among the competing
    classes; equality as in `Contest.switched`.

    >>> p, seen = np.array([[0.6, 0.3, 0.1]]), np.array([True, False, False])
    >>> [int(stacked(p, seen, ~seen, handicap)[0]) for handicap in (0.0, 0.2, 0.4)]
    [0, 0, 1]
    """
    best, other, gap = _sides(probability, seen, unseen)
    unknown = np.zeros(len(gap), bool)
    return np.where(Contest(gap, unknown, unknown, other < best, best).switched(handicap), other, best)


def weights(found: Contest, count: np.ndarray | None = None) -> np.ndarray:
    """(N,) what an image counts for: every class the same on its side, which sums to 1; count: (N,) how often drawn.

    A class that was not drawn is left out of the mean; a side without images has no weight.
    """
    count = np.ones(len(found.label)) if count is None else count
    out = np.zeros(len(found.label))
    for side in (found.unseen, ~found.unseen):
        drawn = side & (count > 0)
        if drawn.any():
            label, many = found.label[drawn], count[drawn]
            per_class = np.bincount(label, many)
            out[drawn] = many / per_class[label] / (per_class > 0).sum()
    return out


def rates(found: Contest, handicap: float, weight: np.ndarray) -> tuple[float, float]:
    """(U, S) at one handicap, 0..1."""
    switched = found.switched(handicap)
    hit = found.right & (switched == found.unseen)
    return float(weight[hit & found.unseen].sum()), float(weight[hit & ~found.unseen].sum())


def t1(found: Contest, weight: np.ndarray) -> float:
    """Accuracy on unseen species' images among unseen species alone. Equals U where every image is named unseen."""
    return float(weight[found.right & found.unseen].sum())


def curve(found: Contest, weight: np.ndarray) -> Curve:
    """U and S at every handicap at which either changes, exactly: no grid.

    An image changes side once, at its gap, and only one that is right on its own side changes U or S. Between
    two such gaps nothing changes; their middle stands for the stretch, -1 and 1 for the open ends. Handicap 0,
    plain argmax, is always among the points.
    """
    own, hidden = weight[found.right], found.unseen[found.right]
    at, place = np.unique(found.gap[found.right], return_inverse=True)
    gain = np.bincount(place[hidden], own[hidden], len(at))
    loss = np.bincount(place[~hidden], own[~hidden], len(at))
    u = np.concatenate([[0.0], np.cumsum(gain)])
    s = np.concatenate([np.cumsum(loss[::-1])[::-1], [0.0]])
    low, high = at[:-1], at[1:]
    middle = low + (high - low) / 2
    # Neighbouring floats have no middle: take the end at which `switched` counts the lower one alone.
    middle = np.where((low < middle) & (middle < high), middle, np.where(high <= 0, high, low))
    handicap = np.concatenate([[-1.0], middle, [1.0]][: 2 + bool(len(at))])
    if 0.0 not in handicap:
        k = int((at < 0).sum())
        u0, s0 = u[k], s[k]
        if 0.0 in at:  # some are named seen and some unseen; sums in another order must not leave their neighbours
            u0, s0 = rates(found, 0.0, weight)
            u0, s0 = np.clip(u0, u[k], u[k + 1]), np.clip(s0, s[k + 1], s[k])
        here = int(np.searchsorted(handicap, 0.0))
        handicap, u, s = (np.insert(values, here, v) for values, v in ((handicap, 0.0), (u, u0), (s, s0)))
    return Curve(handicap, u, s)


def harmonic(u: np.ndarray | float, s: np.ndarray | float) -> np.ndarray:
    """2US/(U+S), 0 where both are 0.

    >>> float(harmonic(0.5, 1.0)), float(harmonic(0.0, 0.0))
    (0.6666666666666666, 0.0)
    """
    u, s = np.asarray(u, np.float64), np.asarray(s, np.float64)
    return np.where(u + s > 0, 2 * u * s / np.where(u + s > 0, u + s, 1), 0.0)


def area(line: Curve) -> float:
    """AUSUC: area under S as a function of U, by trapezoids, which is exact for these points.

    Source: Chao et al. 2016 (arXiv:1605.04253) [note].
    """
    return float((np.diff(line.u) * (line.s[1:] + line.s[:-1]) / 2).sum())


def chosen(line: Curve) -> float:
    """The handicap with the highest H; among equals the one nearest to 0, which changes the classifier least."""
    h = harmonic(line.u, line.s)
    best = np.flatnonzero(h >= h.max() - 1e-12)
    return float(min(line.handicap[best], key=lambda value: (abs(value), value)))
