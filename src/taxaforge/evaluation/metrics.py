"""Numbers that describe one classifier's predictions. Pure functions of arrays."""

from collections.abc import Mapping, Sequence

import numpy as np

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def recall(true: np.ndarray, predicted: np.ndarray) -> dict[int, float]:
    """Share of each class's images that are named right; classes without images are left out."""
    return {int(c): float((predicted[true == c] == c).mean()) for c in np.unique(true)}


def macro_top1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean recall over classes: every species counts the same."""
    return float(np.mean(list(recall(true, predicted).values())))


def micro_top1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Share of images named right."""
    return float((true == predicted).mean())


def macro_f1(true: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes that have images of 2 hits / (2 hits + misses + false alarms)."""
    scores = []
    for c in np.unique(true):
        hits = ((true == c) & (predicted == c)).sum()
        scores.append(2 * hits / ((true == c).sum() + (predicted == c).sum()))
    return float(np.mean(scores))


def nll(true: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log probability of the truth, in nats; probability (N, C)."""
    return float(-np.log(np.maximum(probability[np.arange(len(true)), true], 1e-12)).mean())


def ece(true: np.ndarray, probability: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins of equal numbers of images."""
    confidence, right = probability.max(1), probability.argmax(1) == true
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return float(sum(abs(confidence[i].mean() - right[i].mean()) * len(i) for i in parts if len(i)) / len(true))


def brier(true: np.ndarray, probability: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the truth, summed over classes: 0 sure and right, 2 sure and wrong."""
    return float(_squared_error(true, probability).mean())


def top_k(true: np.ndarray, probability: np.ndarray, k: int = 5) -> float:
    """Share of images whose truth is among the k likeliest classes."""
    return float((_rank(true, probability) <= k).mean())


def by_image(true: np.ndarray, probability: np.ndarray, heights: np.ndarray) -> dict[str, np.ndarray]:
    """Each secondary metric as one number an image (N,).

    Args:
        probability: (N, C). heights: (C, C), see `lca_heights`.
    Returns: "brier", "nll" in nats, "lca_height" of the answer in ranks, "sibling_errors" (named as another species of
        the genus), "sibling_mass" (probability given to these), and, with 6 classes or more, "top5".
    """
    images = np.arange(len(true))
    height = heights[true, probability.argmax(1)]
    values = {
        "brier": _squared_error(true, probability),
        "nll": -np.log(np.maximum(probability[images, true], 1e-12)),
        "lca_height": height.astype(np.float64),
        "sibling_errors": (height == 1).astype(np.float64),
        "sibling_mass": (probability * (heights == 1)[true]).sum(1),
    }
    if probability.shape[1] >= 6:
        values["top5"] = (_rank(true, probability) <= 5).astype(np.float64)
    return values


def _squared_error(true: np.ndarray, probability: np.ndarray) -> np.ndarray:
    right = probability[np.arange(len(true)), true]
    return (probability**2).sum(1) - 2 * right + 1


def _rank(true: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(N,) place of the truth, 1 is first; ties go to the class that comes first, as with argmax."""
    right = probability[np.arange(len(true)), true][:, None]
    before = np.arange(probability.shape[1]) < np.asarray(true)[:, None]
    return 1 + ((probability > right) | ((probability == right) & before)).sum(1)


def lca_height(a: Mapping[str, str | None], b: Mapping[str, str | None]) -> int:
    """Ranks from the species up to the lowest common ancestor: 0 same species, 1 genus ... 6 kingdom, 7 none.

    A rank that is missing in either lineage is skipped: it neither matches nor separates.

    >>> lca_height({"species": "A a", "genus": "A", "family": "F"}, {"species": "B b", "genus": None, "family": "F"})
    2
    """
    for height, rank in enumerate(reversed(RANKS)):
        if a.get(rank) and a.get(rank) == b.get(rank):
            return height
    return len(RANKS)


def lca_heights(classes: Sequence[Mapping]) -> np.ndarray:
    """(C, C) table of `lca_height` between the classes of a run."""
    return np.array([[lca_height(a, b) for b in classes] for a in classes]).reshape(len(classes), len(classes))


def rolled_up(
    true: np.ndarray, probability: np.ndarray, classes: Sequence[Mapping], rank: str
) -> tuple[float, float, int] | None:
    """Accuracy at a rank, macro over its taxa, in two ways.

    Returns: (taxon of the likeliest species, likeliest taxon after adding its species' probabilities,
        images), over the images whose species has that rank; None where no species has it. A
        prediction without the rank is wrong.
    """
    names = sorted({record[rank] for record in classes if record.get(rank)})
    if not names:
        return None
    taxon = np.array([names.index(record[rank]) if record.get(rank) else -1 for record in classes])
    known = taxon[true] >= 0
    if not known.any():
        return None
    truth, probability = taxon[true[known]], probability[known]
    summed = np.stack([probability[:, taxon == t].sum(1) for t in range(len(names))], axis=1)
    return (
        macro_top1(truth, taxon[probability.argmax(1)]),
        macro_top1(truth, summed.argmax(1)),
        int(known.sum()),
    )
