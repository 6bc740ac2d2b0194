"""Predictions of all arms and seeds as arrays on one common list of test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.packs import Pack


@dataclass(frozen=True)
class Predictions:
    """N test images, in the order of their identifiers.

    label: (N,) class index. group: (N,). probability: {(arm, name of a classifier): (N, C)}.

    A seed is what is drawn anew as a whole, and what a standard error counts. In one run every repeat "0", "1" ... of
    an arm is one. Where several runs are joined, their classifiers are called "<run>-<repeat>" and a seed is a run: its
    repeats share training images and generator, so they are averaged and count once.
    """

    label: np.ndarray
    group: np.ndarray
    probability: dict[tuple[str, str], np.ndarray]

    def classifiers(self, arm: str) -> list[str]:
        """Names of an arm's classifiers, in the order given."""
        return [name for own, name in self.probability if own == arm]

    def seeds(self, arm: str) -> list[str]:
        """Seeds of an arm, in the order given."""
        return list(dict.fromkeys(seed_of_classifier(name) for name in self.classifiers(arm)))

    def repeats(self, arm: str, seed: str) -> list[np.ndarray]:
        """(N, C) of every classifier of a seed. What is computed of each is then averaged, not the probabilities."""
        return [self.probability[arm, name] for name in self.classifiers(arm) if seed_of_classifier(name) == seed]

    @property
    def arms(self) -> list[str]:
        """Arms, in the order given."""
        return list(dict.fromkeys(arm for arm, _ in self.probability))

    def correct(self, arm: str, seeds: Sequence[str]) -> np.ndarray:
        """(S, N) share of a seed's classifiers that name the species right; 0 or 1 where there is one."""
        return np.stack(
            [np.mean([p.argmax(1) == self.label for p in self.repeats(arm, seed)], axis=0) for seed in seeds]
        )


def seed_of_classifier(name: str) -> str:
    """The seed that a classifier belongs to.

    >>> seed_of_classifier("3"), seed_of_classifier("1-3")
    ('3', '1')
    """
    return name.partition("-")[0]


def rows_of(pack: Pack, probability: np.ndarray) -> list[dict]:
    """Rows of PREDICTIONS: what a classifier says of every image of a pack. probability: (N, C), of the pack's classes."""
    return [
        {
            "identifier": identifier,
            "true": pack.classes[true],
            "predicted": pack.classes[p.argmax()],
            "probability": float(p.max()),
            "probabilities": p.tolist(),
            "group": group,
        }
        for identifier, true, p, group in zip(pack.identifier, pack.label, probability, pack.group, strict=True)
    ]


def read(files: Sequence[tuple[str, int | str, str | Path]], species: Sequence[str]) -> Predictions:
    """Predictions of [arm, classifier, path] triples. Raises TaxaforgeError unless all scored the same images."""
    index = {name: i for i, name in enumerate(species)}
    first, label, group = None, None, None
    probability: dict[tuple[str, str], np.ndarray] = {}
    for arm, seed, path in files:
        rows = sorted(tables.read(PREDICTIONS, path), key=lambda row: row["identifier"])
        facts = [(row["identifier"], row["true"], row["group"]) for row in rows]
        if first is None:
            first = facts
            label = np.array([index[true] for _, true, _ in facts])
            group = np.array([name for _, _, name in facts])
        if facts != first:
            raise TaxaforgeError(
                f"{path} scores other images than {files[0][2]}: arms can only be compared on the same test split. "
                "Delete results/classifiers and run again."
            )
        probability[arm, str(seed)] = np.array([row["probabilities"] for row in rows])
    return Predictions(label, group, probability)
