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

    label: (N,) class index. group: (N,). probability: {(arm, seed): (N, C)}.
    """

    label: np.ndarray
    group: np.ndarray
    probability: dict[tuple[str, str], np.ndarray]

    def seeds(self, arm: str) -> list[str]:
        """Seeds of an arm, in the order given."""
        return [seed for name, seed in self.probability if name == arm]

    @property
    def arms(self) -> list[str]:
        """Arms, in the order given."""
        return list(dict.fromkeys(arm for arm, _ in self.probability))

    def predicted(self, arm: str, seed: str) -> np.ndarray:
        """(N,) index of the likeliest class."""
        return self.probability[arm, seed].argmax(1)

    def correct(self, arm: str, seeds: Sequence[str]) -> np.ndarray:
        """(S, N) 1 where the species is named right."""
        return np.stack([self.predicted(arm, seed) == self.label for seed in seeds]).astype(np.float64)


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
    """Predictions of [arm, seed, path] triples. Raises TaxaforgeError unless all scored the same images."""
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
