"""Distances between sets of image features. Pure numpy in float64; (n, d) and (m, d) arrays, one row an image."""

import numpy as np


def frechet_distance(x: np.ndarray, y: np.ndarray) -> float:
    """|m_x - m_y|^2 + Tr(S_x + S_y - 2 (S_x S_y)^(1/2)); 0 for equal Gaussians, biased upwards at small n.

    The trace of the root is the sum of singular values of A B^T with A^T A = S_x and B^T B = S_y, which
    avoids the root of a nearly singular matrix. Source: Heusel et al. 2017 (arXiv:1706.08500).
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    a, b = ((v - v.mean(0)) / np.sqrt(len(v) - 1) for v in (x, y))
    a, b = (np.linalg.qr(v, mode="r") if len(v) > v.shape[1] else v for v in (a, b))
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(max(0.0, ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root))


def kid(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD with k(a, b) = (a.b/d + 1)^3: 0 on average for equal distributions, may be negative.

    Source: Binkowski et al. 2018 (arXiv:1801.01401).
    """
    return _mmd(*_polynomial(x, y))


def kid_of_subsets(x: np.ndarray, y: np.ndarray, size: int, times: int, seed: int) -> float:
    """Mean KID of `times` random subsets of `size` rows each, drawn without repeats from both sets.

    The estimate that most papers print. Its expectation is that of `kid`, its spread over subsets is no
    interval. Sets of fewer rows than `size` are taken whole.
    """
    xx, yy, xy = _polynomial(x, y)
    rng, values = np.random.default_rng(seed), []
    for _ in range(times):
        a, b = (rng.permutation(len(k))[:size] for k in (xx, yy))
        values.append(_mmd(xx[np.ix_(a, a)], yy[np.ix_(b, b)], xy[np.ix_(a, b)]))
    return float(np.mean(values))


def cmmd(x: np.ndarray, y: np.ndarray, biased: bool = False) -> float:
    """1000 x squared MMD between rows of length 1, k(a, b) = exp(-|a - b|^2 / 200): 0 on average for equal sets.

    At this width it is nearly 10 times the squared distance of the means, blind to how the sets spread: never
    shown without fd and kid. Differs from the published code, whose estimate is the biased one (`biased`,
    too large by about 10 (1 - mean cosine) (1/n + 1/m)). Source: Jayasumana et al. 2024 (arXiv:2401.09603).
    """
    x, y = unit(x), unit(y)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-(_distances(a, b) ** 2) / (2 * 10.0**2))

    return 1000 * _mmd(kernel(x, x), kernel(y, y), kernel(x, y), biased)


def _polynomial(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return tuple((a @ b.T / x.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))


def _mmd(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, biased: bool = False) -> float:
    """From kernel matrices within and between; unbiased leaves out every image's pair with itself."""
    if biased:
        return float(xx.mean() + yy.mean() - 2 * xy.mean())
    n, m = len(xx), len(yy)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage with balls that reach the k-th neighbour in the same set.

    Sources: Kynkaanniemi et al. 2019 (arXiv:1904.06991); Naeem et al. 2020 (arXiv:2002.09797).
    """
    between, real_radius, fake_radius = _distances(real, fake), _radius(real, k), _radius(fake, k)
    in_real = between < real_radius[:, None]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float((between < fake_radius[None]).any(1).mean()),
        "density": float(in_real.sum() / (k * len(fake))),
        "coverage": float(in_real.any(1).mean()),
    }


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.sqrt(np.maximum(squared, 0))


def _radius(x: np.ndarray, k: int) -> np.ndarray:
    distances = _distances(x, x)
    np.fill_diagonal(distances, 0)
    return np.partition(distances, k, axis=1)[:, k]  # position 0 is the image itself


def vendi(x: np.ndarray) -> float:
    """Effective number of different images, 1..n: exp of the entropy of the cosine kernel's eigenvalues.

    Source: Friedman & Dieng 2023 (arXiv:2210.02410).
    """
    x = unit(x)
    values = np.linalg.svd(x, compute_uv=False) ** 2 / len(x)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def mean_apart(distances: np.ndarray) -> float:
    """Mean of a symmetric (n, n) matrix over its pairs: how far images are apart, 0 for one picture n times."""
    return float(distances[np.triu_indices(len(distances), 1)].mean())


def nearest_similarity(x: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n,) highest cosine of each row with any reference; grows with the number of references."""
    return (unit(x) @ unit(references).T).max(1)


def unit(x: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero."""
    x = np.asarray(x, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
