"""Features of pictures as they lie on disk, and what they say about a species' pictures."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json

FEWEST = 3
"""Pictures of a species from which on a distance to their mean says something about one of them."""


class BadFeatures(TaxaforgeError):
    """Files of features that do not fit together."""


@dataclass(frozen=True)
class Features:
    """values: (N, D) float32, rows of length 1, memory-mapped. place: identifier -> row. model: what made them."""

    values: np.ndarray
    place: Mapping[str, int]
    model: str

    def rows(self, identifiers: Sequence[str]) -> np.ndarray:
        """(len(identifiers), D) float32, in their order."""
        return np.ascontiguousarray(self.values[[self.place[identifier] for identifier in identifiers]])

    def save(self, path: str | Path) -> None:
        """Writes `path` (.npy) and the .json beside it: {"model", "identifier"}."""
        path = Path(path)
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, self.values, allow_pickle=False)
        write_json(
            path.with_suffix(".json"), {"model": self.model, "identifier": sorted(self.place, key=self.place.get)}
        )

    @classmethod
    def load(cls, path: str | Path) -> "Features":
        """Raises: BadFeatures where the two files do not belong together or are no such files."""
        path = Path(path)
        try:
            beside = read_json(path.with_suffix(".json"))
            values = np.lib.format.open_memmap(path, mode="r")
            place = {identifier: row for row, identifier in enumerate(beside["identifier"])}
            fits = values.ndim == 2 and values.dtype == np.float32 and len(values) == len(place)
            model = beside["model"]
        except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise BadFeatures(
                f"{path} and the .json beside it cannot be read ({error}). Delete both and run again."
            ) from error
        if not fits:
            raise BadFeatures(
                f"{path} holds {values.dtype} {values.shape}, the .json beside it names {len(place)} images. They come "
                "from different runs: delete both and run again."
            )
        return cls(values, place, model)


def outliers(rows: Sequence[Mapping], features: Features) -> dict[str, float]:
    """identifier -> cosine distance to the mean feature of its species' pictures, 0 to 2, six digits.

    For review only: of a species with two faces, such as male and female, the rarer one stands out and
    is right. Nothing for pictures without features and for species with fewer than FEWEST. Sums of
    rounded numbers hang on their order: rows are to come in one that the data gives.
    """
    species: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row["identifier"] in features.place:
            species[row["scientificName"]].append(row["identifier"])
    distance = {}
    for own in species.values():
        if len(own) < FEWEST:
            continue
        values = features.rows(own).astype(np.float64)
        mean = values.sum(axis=0)
        length = float(np.sqrt((mean * mean).sum()))
        cosine = (values * mean).sum(axis=1) / length if length > 0 else np.zeros(len(own))
        distance |= {one: round(float(1 - c), 6) for one, c in zip(own, cosine.clip(-1, 1), strict=True)}
    return distance
