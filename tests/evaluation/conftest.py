import numpy as np
import pytest

from taxaforge import tables
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.files import write_json

SPECIES = ["Aglais io", "Aglais urticae", "Pieris rapae", "Quercus robur"]


@pytest.fixture
def classes(tmp_path):
    families = ["Nymphalidae", "Nymphalidae", "Pieridae", None]
    records = [
        {
            "species": name,
            "taxonID": f"x:{i}",
            "kingdom": "Plantae" if i == 3 else "Animalia",
            "phylum": None,
            "class": None,
        }
        | {"order": None, "family": families[i], "genus": name.split()[0], "vernacularName": None}
        for i, name in enumerate(SPECIES)
    ]
    write_json(tmp_path / "classes.json", records)
    return tmp_path / "classes.json"


@pytest.fixture
def write_predictions(tmp_path):
    """Predictions of one arm and seed: correct (N,) bool over images dealt to the species in turn, two a group."""

    def write(arm, seed, correct, prefix="image"):
        rows = []
        for i, right in enumerate(correct):
            true = i % len(SPECIES)
            guess = true if right else (true + 1) % len(SPECIES)
            probabilities = [0.1] * len(SPECIES)
            probabilities[guess] = 0.7
            rows.append(
                {
                    "identifier": f"{prefix}{i:04d}",
                    "true": SPECIES[true],
                    "predicted": SPECIES[guess],
                    "probability": 0.7,
                }
                | {"probabilities": probabilities, "group": f"g{true}-{i // (2 * len(SPECIES))}"}
            )
        path = tmp_path / arm / f"seed{seed}" / "predictions.parquet"
        tables.write(PREDICTIONS, rows[:: -1 if int(seed) % 2 else 1], path)  # no reader may rely on the order of rows
        return [arm, str(seed), path]

    return write


@pytest.fixture
def arms(write_predictions):
    """[arm, seed, path] of arms with the given accuracies: `arms({"real": 0.6, "real+a": 0.7})`."""

    def make(accuracy, seeds=5, images=160, rng=None):
        rng = rng or np.random.default_rng(0)
        return [
            write_predictions(arm, seed, rng.uniform(size=images) < share)
            for arm, share in accuracy.items()
            for seed in range(seeds)
        ]

    return make
