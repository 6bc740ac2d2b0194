"""Paired differences, their uncertainty, and what may be concluded from them. Pure numpy; no files, no arms."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit


@dataclass(frozen=True)
class Estimate:
    """A mean over crossed seeds and observation groups.

    value: in the units of the data. variance_seeds, variance_groups: the two parts of SE^2, NaN where
    there is one seed, or no class with two groups. seeds, groups: how many; df_groups: groups - `parts`.
    variance_both: what stands in both parts, because it differs from seed to seed and from group to group;
    it shrinks with either. Known for planning only: SE^2 counts it twice, on the safe side.
    """

    value: float
    variance_seeds: float
    variance_groups: float
    seeds: int
    groups: int
    df_groups: int
    variance_both: float = 0.0

    @property
    def se(self) -> float:
        return float(np.sqrt(self.variance_seeds + self.variance_groups))

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom; 0 where the standard error cannot be estimated."""
        if np.isnan(self.se):
            return 0.0
        a, b = self.variance_seeds, self.variance_groups
        if a + b == 0:
            return float(self.seeds - 1 + self.df_groups)
        return float((a + b) ** 2 / (a**2 / (self.seeds - 1) + b**2 / self.df_groups))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Two-sided 1 - alpha interval; infinite where the standard error cannot be estimated."""
        if not self.df:
            return -np.inf, np.inf
        half = float(stdtrit(self.df, 1 - alpha / 2)) * self.se
        return self.value - half, self.value + half

    @property
    def p(self) -> float:
        """Two-sided, of no difference."""
        if not self.df or self.value == 0:
            return 1.0
        return 0.0 if self.se == 0 else float(2 * stdtr(self.df, -abs(self.value) / self.se))


def balanced(label: np.ndarray) -> np.ndarray:
    """(N,) weights that sum to 1, the same for every class in sum and within a class for every image."""
    _, label, count = np.unique(np.asarray(label), return_inverse=True, return_counts=True)
    return 1 / (len(count) * count[label])


def parts(label: np.ndarray, group: np.ndarray) -> int:
    """Connected parts of the graph that joins each class with the groups that its images are of.

    Args: label, group: (N,) 0, 1, 2..., none left out.

    >>> parts(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3])), parts(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]))
    (2, 1)
    """
    part = np.arange(label.max() + 1)
    while True:
        lowest = np.full(group.max() + 1, len(part))
        np.minimum.at(lowest, group, part[label])
        joined = part.copy()
        np.minimum.at(joined, label, lowest[group])
        if (joined == part).all():
            return len(np.unique(part))
        part = joined


def crossed(d: np.ndarray, label: np.ndarray, group: np.ndarray) -> Estimate:
    """The class-balanced mean of d with a standard error that counts seeds and observation groups.

    Args:
        d: (S, N), one row a seed, one column a test image: the difference of two arms' correctness
            (-1, 0, 1), or one arm's correctness.
        label: (N,) true class. group: (N,) observation group; its images are one draw, not several.
    Returns: D = mean over classes of the mean over their images and seeds, and
        SE^2 = Var_s(D_s)/S + Var_g/G, Var_g/G being that of the linearised group totals: with one
        class and equal groups exactly the variance of group means over G.
    Source: docs/statistics.md. Images are centred inside their class, as in a stratified sample, so
        unequal species do not count as noise. A group may be of several classes (observers, places).

    >>> crossed(np.array([[1, 0, 1, 0], [1, 1, 1, 1]]), np.zeros(4), np.arange(4)).value
    0.75
    """
    d = np.asarray(d, np.float64)
    weight = balanced(label)
    _, label = np.unique(np.asarray(label), return_inverse=True)
    _, group = np.unique(np.asarray(group), return_inverse=True)
    count = np.bincount(label)
    per_seed = d @ weight
    class_mean = np.stack([np.bincount(label, row) for row in d]) / count
    centred = weight * (d - class_mean[:, label])
    by_seed = np.stack([np.bincount(group, row) for row in centred])
    totals = by_seed.mean(0)
    seeds, groups, free = len(d), len(totals), len(totals) - parts(label, group)  # totals sum to 0 in each part
    both = groups / free * ((by_seed - totals) ** 2).sum() / (seeds * (seeds - 1)) if free > 0 and seeds > 1 else 0.0
    return Estimate(
        value=round(float(per_seed.mean()), 12),  # sums that cancel are 0, not 1e-17 of some sign
        variance_seeds=float(per_seed.var(ddof=1) / seeds) if seeds > 1 else np.nan,
        variance_groups=float(groups / free * (totals**2).sum()) if free > 0 else np.nan,
        seeds=seeds,
        groups=groups,
        df_groups=max(free, 0),
        variance_both=float(both),
    )


def sign_flip(per_seed: np.ndarray) -> float | None:
    """Exact two-sided p of a mean difference over seeds, all 2^S signs; None above 20 seeds.

    >>> sign_flip(np.array([1.0, 2.0, 0.5, 1.5, 1.0]))
    0.0625
    """
    per_seed = np.asarray(per_seed, np.float64)
    if len(per_seed) > 20:
        return None
    signs = 1 - 2 * ((np.arange(2 ** len(per_seed))[:, None] >> np.arange(len(per_seed))) & 1)
    means = np.abs(signs @ per_seed)
    return float((means >= abs(per_seed.sum()) - 1e-12).mean())


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values, in the order given: reject where one is at most alpha.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """q-values: rejecting where q is at most 0.1 keeps the expected share of false rejections under 0.1."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    q = np.empty_like(p)
    q[order] = np.minimum(np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1)), 1)
    return q


def tost(value: float, se: float, df: float, delta: float) -> float:
    """p of equivalence within (-delta, delta), the larger of the two one-sided tests (Schuirmann 1987)."""
    if se == 0:
        return float(abs(value) >= delta)
    return float(max(stdtr(df, -(value + delta) / se), stdtr(df, (value - delta) / se)))


def wilson(hits: int, n: int, alpha: float = 0.05) -> tuple[float, float]:
    """Interval of a share; (0, 1) where nothing was counted (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, share = float(ndtri(1 - alpha / 2)), hits / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
