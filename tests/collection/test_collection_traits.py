"""Traits of simulated species have the covariance that Pagel's lambda promises, and belong to their species."""

import numpy as np
import pytest

from taxaforge.collection.traits import covariance, path, species_traits
from taxaforge.errors import TaxaforgeError

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def lineage(*names):
    return dict(zip(RANKS, names, strict=True))


def insect(order, family, genus, epithet):
    return lineage("Animalia", "Arthropoda", "Insecta", order, family, genus, f"{genus} {epithet}")


CLASSES = [
    insect("Lepidoptera", "Nymphalidae", "Aglais", "io"),
    insect("Lepidoptera", "Nymphalidae", "Aglais", "urticae"),
    insect("Lepidoptera", "Nymphalidae", "Vanessa", "cardui"),
    insect("Lepidoptera", "Pieridae", "Pieris", "rapae"),
    insect("Odonata", "Calopterygidae", "Calopteryx", "virgo"),
]
SHARED = np.array(  # ranks from order to species that two species share, of four; written down by hand
    [[4, 3, 2, 1, 0], [3, 4, 2, 1, 0], [2, 2, 4, 1, 0], [1, 1, 1, 4, 0], [0, 0, 0, 0, 4]]
)


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0])
def test_traits_have_the_covariance_that_lambda_promises(signal):
    traits = np.stack([species_traits(record, signal, 7, 40_000) for record in CLASSES])
    expected = np.where(np.eye(5, dtype=bool), 1.0, signal * SHARED / 4)
    assert np.abs(covariance(CLASSES, signal) - expected).max() < 1e-12
    assert np.abs(np.cov(traits) - expected).max() < 5 * np.sqrt(2 / 40_000)


def test_the_covariance_also_holds_over_collection_seeds():
    traits = np.array([[species_traits(record, 0.8, seed, 3) for record in CLASSES] for seed in range(1500)])
    empirical = np.einsum("sit,sjt->ij", traits, traits) / traits[:, 0].size
    assert np.abs(empirical - covariance(CLASSES, 0.8)).max() < 5 * np.sqrt(2 / 4500)


@pytest.mark.parametrize("missing", ["order", "family", "genus"])
def test_a_missing_rank_leaves_the_species_at_depth_one_and_only_shortens_what_is_shared(missing):
    a, b = CLASSES[0] | {missing: None}, CLASSES[1] | {missing: None}
    assert sum(length for _, length in path(a)) == pytest.approx(1)
    shared = covariance([a, b], 1.0)[0, 1]
    assert shared == pytest.approx(0.5 if missing == "genus" else 0.75)


def test_homonymous_genera_of_two_families_share_nothing_below_the_order():
    beetle = insect("Coleoptera", "Carabidae", "Oenanthe", "alba")
    bird = lineage("Animalia", "Chordata", "Aves", "Passeriformes", "Muscicapidae", "Oenanthe", "Oenanthe alba")
    assert covariance([beetle, bird], 1.0)[0, 1] == 0


def test_another_seed_is_another_collection():
    assert not np.allclose(species_traits(CLASSES[0], 1.0, 0, 8), species_traits(CLASSES[0], 1.0, 1, 8))


@pytest.mark.parametrize("signal", [-0.1, 1.5, float("nan")])
def test_lambda_outside_its_range_is_refused(signal):
    with pytest.raises(TaxaforgeError, match="between 0 and 1"):
        species_traits(CLASSES[0], signal, 0, 4)
