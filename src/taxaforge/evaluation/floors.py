"""Rows of image metrics: each value with its range, beside what real images reach against real ones.

A floor is had with as many images as the value. Real images are halved as often as `floor_splits` says, no
observation group on both sides; a distance is that of generated images, or of the other half, to the first half.
Means over images (shares, similarities) do not depend on how many there are, so for them all held-out images count.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np

from taxaforge.evaluation.image_metrics import (
    cmmd,
    frechet_distance,
    kid,
    kid_of_subsets,
    mean_apart,
    nearest_similarity,
    prdc,
    vendi,
)
from taxaforge.evaluation.seen import Seen, halves
from taxaforge.evaluation.statistics import wilson
from taxaforge.seeds import seed_of

SETS = ("fd", "kid", "precision", "recall", "density", "coverage")
SUBSETS = 100
"""Subsets behind one KID, where it is one of subsets."""
PAIRED = 10
"""Most images a species whose distances make one value of diversity: 45 pairs."""
COLUMNS = ("value", "low", "high", "floor", "floor_low", "floor_high")

T = TypeVar("T")
Interval = tuple[float | None, float | None, float | None]
NOTHING: Interval = (None, None, None)


class Measure:
    """The metrics of one model; `rows` gives those of one set of images.

    Args:
        training: real images that a copy would be of. held_out: real images that the model never saw.
        real: what distances and diversity are held against. species: in class order.
        cfg: neighbours, floor_splits, kid_subset (0: all images at once). seed: of every draw.
        diversity: name of the metric that `Seen.apart` gives. unit: whether rows are points on a sphere, of an
            image-text model; then cmmd is measured too.
    """

    def __init__(
        self,
        *,
        training: Seen,
        held_out: Seen,
        real: Seen,
        species: Sequence[str],
        cfg: dict,
        seed: int,
        diversity: str = "layer_diversity",
        unit: bool = False,
    ):
        self.training, self.held_out, self.real, self.species = training, held_out, real, list(species)
        self.cfg, self.seed, self.diversity = cfg, seed, diversity
        self.sets = (*SETS, "cmmd") if unit else SETS
        self._floor: dict[int, list[dict[str, float]]] = {}

    def rows(self, images: Seen | None) -> list[dict]:
        """Rows of one method, without its name; None measures held-out real images against real ones."""
        shown, has_features = (self.held_out if images is None else images), bool(self.real.feature.shape[1])
        rows = self._distances(images) if has_features else []
        for c, scope in [(None, "all"), *enumerate(self.species)]:
            mine, reference = (s if c is None else s.where(s.label == c) for s in (shown, self.held_out))
            n = len(mine.label)
            for name, values in mine.scores.items():
                rows.append(row(scope, name, mean_of(values), mean_of(reference.scores[name]), n))
            if has_features:
                near, null = nearest(mine, self.training), nearest(reference, self.training)
                rows.append(row(scope, "nearest_train", mean_of(near), mean_of(null), n))
        if has_features:
            rows += self._diversity("vendi", shown.of_species(), self.real.of_species(), _vendi, sys.maxsize)
        if self.real.apart:
            rows += self._diversity(self.diversity, shown.apart, self.real.apart, _mean_apart, PAIRED)
        return rows

    @cached_property
    def _splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        return [halves(self.real, seed_of(self.seed, "floor", i)) for i in range(self.cfg["floor_splits"])]

    def _distances(self, images: Seen | None) -> list[dict]:
        """Set metrics, scope all: mean and 95 % range over the splits; empty under 2 k + 2 images a side."""
        n = min(min(len(a), len(b)) for a, b in self._splits)
        n = n if images is None else min(n, len(images.label))
        if n < 2 * self.cfg["neighbours"] + 2:
            return [row("all", metric, NOTHING, NOTHING, n) for metric in self.sets]
        floor = self._floor_at(n)
        value = floor if images is None else self._values_at(n, images)
        return [
            row("all", metric, range_of([v[metric] for v in value]), range_of([v[metric] for v in floor]), n)
            for metric in self.sets
        ]

    def _values_at(self, n: int, images: Seen) -> list[dict[str, float]]:
        """n images against the first half of each split."""
        values = []
        for i, (a, _) in enumerate(self._splits):
            pick = np.random.default_rng(seed_of(self.seed, "images", i)).permutation(len(images.label))[:n]
            values.append(self._compare(self.real.feature[a[:n]], images.feature[pick], i))
        return values

    def _floor_at(self, n: int) -> list[dict[str, float]]:
        """Half against half, n images each, a split an entry."""
        if n not in self._floor:
            real = self.real.feature
            pairs = enumerate(self._splits)
            self._floor[n] = [self._compare(real[a[:n]], real[b[:n]], i) for i, (a, b) in pairs]
        return self._floor[n]

    def _compare(self, real: np.ndarray, other: np.ndarray, split: int) -> dict[str, float]:
        size = self.cfg["kid_subset"]
        drawn = seed_of(self.seed, "kid", split)
        values = {
            "fd": frechet_distance(real, other),
            "kid": kid_of_subsets(real, other, size, SUBSETS, drawn) if size else kid(real, other),
            **prdc(real, other, self.cfg["neighbours"]),
        }
        return values | ({"cmmd": cmmd(real, other)} if "cmmd" in self.sets else {})

    def _diversity(
        self,
        metric: str,
        images: Mapping[int, T],
        real: Mapping[int, T],
        of: Callable[[T, np.ndarray], float],
        most: int,
    ) -> list[dict]:
        """Rows of a metric within species, and their mean over species: equal numbers of images and of real images.

        Args:
            images, real: class -> what is known of its images. of: (that, which images) -> value.
            most: images a draw; there are as many draws as splits.
        """
        rows = []
        for c, scope in enumerate(self.species):
            mine, reference = images.get(c, ()), real.get(c, ())
            n = min(len(mine), len(reference), most)
            if n < 2:
                rows.append(row(scope, metric, NOTHING, NOTHING, n))
                continue
            value, floor = [], []
            for i in range(self.cfg["floor_splits"]):
                rng = np.random.default_rng(seed_of(self.seed, metric, scope, i))
                value.append(of(mine, rng.permutation(len(mine))[:n]))
                floor.append(of(reference, rng.permutation(len(reference))[:n]))
            rows.append(row(scope, metric, range_of(value), range_of(floor), n))
        return [*rows, _over_species(rows)]


def _vendi(features: np.ndarray, pick: np.ndarray) -> float:
    return vendi(features[pick])


def _mean_apart(distances: np.ndarray, pick: np.ndarray) -> float:
    return mean_apart(distances[np.ix_(pick, pick)])


def nearest(images: Seen, training: Seen) -> np.ndarray:
    """Similarity of each image to the most similar training image of its species; species without any are left out."""
    found = [
        nearest_similarity(images.feature[images.label == c], training.feature[training.label == c])
        for c in np.unique(images.label)
        if (training.label == c).any()
    ]
    return np.concatenate(found) if found else np.empty(0)


def range_of(values: Sequence[float]) -> Interval:
    """Mean and the middle 95 % of draws."""
    return (float(np.mean(values)), *(float(v) for v in np.percentile(values, [2.5, 97.5])))


def mean_of(values: np.ndarray) -> Interval:
    """Mean over images with its 95 % interval: Wilson's for yes or no, else normal, which wants two images."""
    if values.dtype == bool:
        return (float(values.mean()), *wilson(int(values.sum()), len(values))) if len(values) else NOTHING
    if len(values) < 2:
        return NOTHING
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def row(scope: str, metric: str, value: Interval, floor: Interval, n: int) -> dict:
    return {"scope": scope, "metric": metric, **dict(zip(COLUMNS, (*value, *floor), strict=True)), "n": n}


def _over_species(rows: list[dict]) -> dict:
    """The mean over the species that could be assessed."""
    assessed = [one for one in rows if one["value"] is not None]
    means = {name: float(np.mean([one[name] for one in assessed])) if assessed else None for name in COLUMNS}
    return {"scope": "all", "metric": rows[0]["metric"], **means, "n": sum(one["n"] for one in rows)}
