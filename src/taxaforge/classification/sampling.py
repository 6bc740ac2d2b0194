"""Which image comes when, under each control and mixing policy: pure functions to (length,) indices.

Real images are 0..n_real-1, synthetic ones stand behind them. `data.order` is the plain case, in which both kinds
come in proportion. A species is what `label` says; of an image of two species, the first.
"""

from dataclasses import replace

import numpy as np

from taxaforge.classification.data import cycled, order, rng
from taxaforge.errors import TaxaforgeError
from taxaforge.packs import Pack


def balanced(label: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Every species equally often: in any run of as many draws as there are species, from its start on, each once.

    label: (n_real,) int64. Of a species each image comes once before one comes again.
    """
    return _within(label, cycled(np.unique(label), length, seed, "species"), seed, "balanced")


def duplicated(label: np.ndarray, budget: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Real images in the place of synthetic ones: a pass shows each once, and `budget` more draws of each species.

    label: (n_real,) int64. budget: (C,) int64, by species. The k-th image that is no repeat is that of all arms of the
    seed; the repeats of a species go through all its images before one comes again. Species without real images have
    none to repeat.
    """
    present = np.unique(label)
    wanted = np.repeat(present, budget[present])
    sequence = order(len(label), len(wanted), length, seed)
    repeats = sequence >= len(label)
    sequence[repeats] = _within(label, wanted[sequence[repeats] - len(label)], seed, "duplicate")
    return sequence


def replaced(
    real: np.ndarray, synthetic: np.ndarray, probability: float, length: int, seed: int
) -> tuple[np.ndarray, int]:
    """Each real draw is exchanged, with a probability, for a synthetic image of its species.

    Args:
        real: (n_real,) int64 labels. synthetic: (n_synthetic,) int64 labels.
        probability: in 0..1; what is exchanged at a lower one is exchanged at a higher one, too.
    Returns: the draws, and how many kept the real image for lack of synthetic ones of its species.
    Raises: TaxaforgeError for a probability outside its range.
    """
    if not 0 <= probability <= 1:
        raise TaxaforgeError(
            f"classification.mixing.probability is {probability:g}. It is the probability that a real image is replaced: "
            "give a number from 0 to 1."
        )
    sequence = order(len(real), 0, length, seed)
    chosen = np.flatnonzero(rng(seed, "replace").random(length) < probability)
    there = np.isin(real[sequence[chosen]], synthetic)
    swapped = chosen[there]
    sequence[swapped] = len(real) + _within(synthetic, real[sequence[swapped]], seed, "replacement")
    return sequence, int((~there).sum())


def pretrained(n_real: int, n_synthetic: int, first: int, length: int, seed: int) -> np.ndarray:
    """`first` draws of synthetic images alone, then real ones alone, these in the order of all arms of the seed."""
    synthetic = only_synthetic(n_real, n_synthetic, first, seed)
    return np.concatenate([synthetic, order(n_real, 0, length - first, seed)]) if length > first else synthetic[:length]


def only_synthetic(n_real: int, n_synthetic: int, length: int, seed: int) -> np.ndarray:
    """Synthetic images alone, in the order in which the other arms of the seed meet them."""
    return n_real + cycled(np.arange(n_synthetic), length, seed, "synthetic")


def shuffled(pack: Pack, seed: int) -> Pack:
    """The same images under each other's labels: as many of each species as before, and as many mixtures."""
    whose = rng(seed, "label-shuffled").permutation(len(pack))
    return replace(pack, **{name: getattr(pack, name)[whose] for name in ("label", "other", "share")})


def lacking(real: np.ndarray, synthetic: np.ndarray, classes: list[str]) -> list[str]:
    """Species with real images, and no synthetic one."""
    return [classes[c] for c in np.setdiff1d(real, synthetic)]


def _within(label: np.ndarray, wanted: np.ndarray, *parts: object) -> np.ndarray:
    """An image of each wanted species: (len(wanted),) indices into `label`, each species in permutations of its own."""
    out = np.empty(len(wanted), np.int64)
    for c in np.unique(wanted):
        places = np.flatnonzero(wanted == c)
        out[places] = cycled(np.flatnonzero(label == c), len(places), *parts, c)
    return out
