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
