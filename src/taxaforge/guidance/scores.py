"""What the filter measures on generated images: as arrays first, then as columns of the table of images."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from taxaforge.packs import Pack
from taxaforge.semantics.relatives import siblings

GREY = np.array([0.299, 0.587, 0.114])
AT_ONCE = 4096  # rows of a matrix of similarities


def contrast(pixels: np.ndarray) -> np.ndarray:
    """(N,) standard deviation of grey values, 0..127.5, of uint8 (N, H, W, 3)."""
    return (pixels @ GREY).std(axis=(1, 2))


def clipped(pixels: np.ndarray) -> np.ndarray:
    """(N,) share of colour values at 0 or 255, of uint8 (N, H, W, 3)."""
    return ((pixels == 0) | (pixels == 255)).mean(axis=(1, 2, 3))


def rivals(classes: Sequence[Mapping], among: str) -> np.ndarray:
    """(C, C) bool: the names that an image of the species in each row may be taken for, its own included.

    Args:
        classes: records of classes.json. among: "all", or "siblings" (`relatives.siblings`).
    """
    everyone = np.ones((len(classes), len(classes)), dtype=bool)
    if among == "all":
        return everyone
    out = np.eye(len(classes), dtype=bool)
    for row in range(len(classes)):
        out[row, siblings(classes, row)] = True
    return out


def standing(logits: np.ndarray, own: np.ndarray, rival: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """How well images agree with their own class.

    Args:
        logits: (N, C), or any log-probabilities. own: (N,) index of each image's class. rival: (C, C) bool as
            `rivals` gives it; None is all classes.
    Returns:
        probability (N,) in 0..1 among the rivals, and rank (N,), 1 for first; a tie, or a number
        that is none, counts against the image.
    """
    logits = np.asarray(logits, dtype=np.float64)
    compared = np.ones(logits.shape, dtype=bool) if rival is None else rival[own]
    mine = logits[np.arange(len(own)), own][:, None]
    # Of differences to the own logit: the exponentials of 1 is then exact and a sure image scores exactly 1.
    with np.errstate(over="ignore", invalid="ignore"):
        others = np.where(compared, np.exp(logits - mine), 0.0).sum(1)
    return 1 / others, (compared & ~(logits < mine)).sum(1)


class Known:
    """Training images, by their pixels and, where features are given, by their place in a space.

    Args:
        pack: the training images. feature: (N, d) unit vectors of them, or None.
    """

    def __init__(self, pack: Pack, feature: np.ndarray | None = None):
        self.pack, self.feature = pack, feature
        self.middle = pack.pixels.shape[1] // 2
        # One line of pixels finds the few images that are worth comparing whole.
        self.lines: dict[bytes, list[int]] = defaultdict(list)
        for number in range(len(pack)):
            self.lines[pack.pixels[number, self.middle].tobytes()].append(number)

    def exact(self, picture: np.ndarray) -> int | None:
        """Index of the first training image that equals `picture` (H, W, 3) in every pixel."""
        if picture.shape != self.pack.pixels.shape[1:]:
            return None
        candidates = self.lines.get(picture[self.middle].tobytes(), ())
        return next((number for number in candidates if np.array_equal(self.pack.pixels[number], picture)), None)

    def nearest(self, feature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(index (N,), cosine similarity (N,)) of the training image that is nearest to each row of (N, d)."""
        return nearest(feature, self.feature)

    def false_alarms(self, threshold: float, most: int = 1000) -> float:
        """Share of training images that are nearer than `threshold` to one of another observation group.

        These are real, and nobody copied them: what a threshold says of them it also says of good generated
        images. Looks at `most` of them, evenly spread.
        """
        looked = np.unique(np.linspace(0, len(self.pack) - 1, min(most, len(self.pack))).astype(int))
        group = np.unique(self.pack.group, return_inverse=True)[1]
        allowed = group[looked][:, None] != group[None, :]
        similarity = nearest(self.feature[looked], self.feature, allowed)[1]
        return float((similarity > threshold).mean())

    def columns(self, pixels: np.ndarray, feature: np.ndarray | None) -> list[dict]:
        """nearestTrain, nearestSimilarity and exactCopy of pictures (N, H, W, 3); feature (N, d) or None."""
        near = [(None, None)] * len(pixels) if feature is None else zip(*self.nearest(feature), strict=True)
        rows = []
        for picture, (index, similarity) in zip(pixels, near, strict=True):
            copied = self.exact(picture)
            index, similarity = (index, similarity) if copied is None else (copied, 1.0)
            rows.append(
                {
                    "nearestTrain": None if index is None else self.pack.identifier[index],
                    "nearestSimilarity": None if similarity is None else float(similarity),
                    "exactCopy": copied is not None,
                }
            )
        return rows


def nearest(
    feature: np.ndarray, reference: np.ndarray, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(index (N,), cosine similarity (N,)) of the nearest of `reference` (M, d) to each row of `feature` (N, d).

    Unit vectors. allowed: (N, M) bool, pairs that count; without any, similarity -1. The first of equals wins.
    """
    index, best = np.zeros(len(feature), dtype=np.int64), np.full(len(feature), -1.0)
    for start in range(0, len(reference), AT_ONCE):
        part = (feature @ reference[start : start + AT_ONCE].T).astype(np.float64)
        if allowed is not None:
            part = np.where(allowed[:, start : start + AT_ONCE], part, -1.0)
        at = part.argmax(1)
        here = part[np.arange(len(part)), at]
        better = ~(here <= best)  # a number that is none is taken along, so that it is seen
        index[better], best[better] = start + at[better], here[better]
    return index, best


def repeats(feature: np.ndarray, label: np.ndarray) -> list[float | None]:
    """Similarity of each image to the nearest earlier one of its species; None for the first.

    feature: (N, d) unit vectors in the run's order. label: (N,).
    """
    out: list[float | None] = [None] * len(label)
    for c in np.unique(label):
        mine = np.flatnonzero(label == c)
        similarity = feature[mine] @ feature[mine].T
        for row in range(1, len(mine)):
            out[mine[row]] = float(similarity[row, :row].max())
    return out
