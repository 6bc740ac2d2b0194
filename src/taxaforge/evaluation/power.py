"""How large an effect a run can see, and how many seeds or test images it takes to see a smaller one.

Plans with the run's own noise. Part of it shrinks with seeds, part with test images, part with either
(`Estimate.variance_both`); a plan counts the last twice, as the interval of the planned run will.
"""

import numpy as np
from scipy.special import nctdtr, stdtrit

from taxaforge.evaluation.statistics import Estimate

WANTED = 0.8
"""Probability with which a planned run is to find the effect."""


def power(delta: float, se: float | np.ndarray, df: float | np.ndarray, alpha: float = 0.05) -> float | np.ndarray:
    """Probability that a two-sided t test finds a true difference of delta; se and df broadcast together."""
    se, df = np.broadcast_arrays(np.asarray(se, np.float64), np.asarray(df, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(se > 0, abs(delta) / se, np.inf)
    certain = shift > 30  # beyond, the noncentral t loses its digits and the answer is 1
    shift, critical = np.where(certain, 0, shift), stdtrit(df, 1 - alpha / 2)
    below, wrong = (np.nan_to_num(nctdtr(df, shift, end)) for end in (critical, -critical))  # NaN: too small for digits
    found = np.where(certain, 1.0, 1 - below + wrong)
    return float(found) if found.ndim == 0 else found


def planned(estimate: Estimate, seeds: float | np.ndarray, factor: float | np.ndarray) -> tuple:
    """(standard error, degrees of freedom) that a run with so many seeds and `factor` times the groups would have."""
    both = min(estimate.variance_both, estimate.variance_seeds, estimate.variance_groups)
    one = estimate.seeds / np.asarray(seeds, np.float64)
    shared = both * one / factor
    a = (estimate.variance_seeds - both) * one + shared
    b = (estimate.variance_groups - both) / factor + shared
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (a + b) ** 2 / (a**2 / (np.asarray(seeds) - 1) + b**2 / (estimate.df_groups * np.asarray(factor)))
    return np.sqrt(a + b), df


def seeds_needed(
    estimate: Estimate,
    delta: float,
    alpha: float = 0.05,
    wanted: float = WANTED,
    most: int = 200,
    factor: float = 1.0,
) -> int | None:
    """Paired seeds that find a true difference of delta with the wanted power; None where even `most` do not.

    factor: test images of the planned run, as a multiple of this one's.

    >>> seeds_needed(Estimate(0.0, 0.36 / 5, 0.0, 5, 1000, 999), delta=1.0)  # standard deviation 0.6 over seeds
    6
    """
    if not _known(estimate):
        return None
    enough = lambda seeds: power(delta, *planned(estimate, seeds, factor), alpha) >= wanted  # noqa: E731
    low, high = 1, most
    if not enough(high):
        return None
    while high - low > 1:  # more seeds never find less
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def factor_needed(
    estimate: Estimate, delta: float, alpha: float = 0.05, wanted: float = WANTED, most: float = 100.0
) -> float | None:
    """Test images, as a multiple of this run's, that find delta with this run's seeds; None where not even `most` do.

    To 1 %. Not below a multiple that leaves ten degrees of freedom among the groups.
    """
    if not _known(estimate):
        return None
    enough = lambda factor: power(delta, *planned(estimate, estimate.seeds, factor), alpha) >= wanted  # noqa: E731
    low, high = min(1.0, 10 / max(estimate.df_groups, 1)), most
    if enough(low) or not enough(high):
        return low if enough(low) else None
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def detectable(estimate: Estimate, alpha: float = 0.05, wanted: float = WANTED) -> float | None:
    """Smallest true difference that a run like this one finds with the wanted power; None without a spread."""
    if not _known(estimate):
        return None
    low, high = 0.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if power(middle * estimate.se, estimate.se, estimate.df, alpha) >= wanted else (middle, high)
        )
    return high * estimate.se


def _known(estimate: Estimate) -> bool:
    """Where nothing varied, nothing is known of how much it would."""
    return bool(estimate.df) and estimate.se > 0
