"""What a model makes of some images, and how real images are dealt into two halves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Seen:
    """What one model makes of some images.

    feature: (N, d); d is 0 for a model that only says how far pictures are apart. label, group: (N,).
    scores: name -> (N,), one value an image, bool where it is yes or no. apart: class -> (n, n) distances
    among a few of its images, their number the model's own choice.
    """

    feature: np.ndarray
    label: np.ndarray
    group: np.ndarray
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    apart: Mapping[int, np.ndarray] = field(default_factory=dict)

    def where(self, mask: np.ndarray) -> "Seen":
        """The images of a mask (N,). Distances stay whole: they belong to classes, not to rows."""
        scores = {name: values[mask] for name, values in self.scores.items()}
        return Seen(self.feature[mask], self.label[mask], self.group[mask], scores, self.apart)

    def of_species(self) -> dict[int, np.ndarray]:
        """class -> features (n, d) of its images."""
        return {int(c): self.feature[self.label == c] for c in np.unique(self.label)}


def joined(*parts: Seen) -> Seen:
    """All images one after the other. Of a class's distances the part with the most images has the say."""
    columns = (np.concatenate([getattr(part, name) for part in parts]) for name in ("feature", "label", "group"))
    scores = {name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores}
    apart: dict[int, np.ndarray] = {}
    for part in parts:
        apart |= {c: d for c, d in part.apart.items() if len(d) > len(apart.get(c, ()))}
    return Seen(*columns, scores, apart)


def halves(real: Seen, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint real sets: whole groups, dealt alternately within a species."""
    rng, side = np.random.default_rng(seed), {}
    for c in np.unique(real.label):
        mine = sorted(set(real.group[real.label == c]) - side.keys())
        first = int(rng.integers(2))
        for i, group in enumerate(rng.permutation(np.array(mine, dtype=object))):
            side[group] = (first + i) % 2
    sides = np.array([side[group] for group in real.group])
    return rng.permutation(np.flatnonzero(sides == 0)), rng.permutation(np.flatnonzero(sides == 1))
