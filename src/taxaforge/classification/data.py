"""The images of an arm: one pool, what each of them is taken for, and their order."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from taxaforge.errors import TaxaforgeError
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of


class Pool:
    """Several packs read as one; only the images asked for leave the disk. Index 0 is the first image of the first pack.

    n_real: images of the first pack, which are the real ones.
    """

    def __init__(self, packs: Sequence[Pack]):
        classes = packs[0].classes
        if any(pack.classes != classes for pack in packs):
            raise TaxaforgeError(
                "Real, validation and synthetic packs list different classes. They come from different species lists: "
                "remake the packs."
            )
        self.packs, self.classes, self.n_real = list(packs), classes, len(packs[0])
        self.ends = np.cumsum([len(pack) for pack in packs])
        self.label, self.other, self.share = (
            np.concatenate([getattr(pack, name) for pack in packs]) for name in ("label", "other", "share")
        )

    def __len__(self) -> int:
        return len(self.label)

    def pixels(self, indices: np.ndarray) -> np.ndarray:
        """(B, size, size, 3) uint8 for indices (B,)."""
        size = self.packs[0].pixels.shape[1:]
        out = np.empty((len(indices), *size), np.uint8)
        which = np.searchsorted(self.ends, indices, side="right")
        for number, pack in enumerate(self.packs):
            here = which == number
            if pack.pixels.shape[1:] != size and here.any():
                raise TaxaforgeError(
                    f"Packs differ in image size: {size} and {pack.pixels.shape[1:]}. Remake them at one collection.size."
                )
            out[here] = pack.pixels[indices[here] - (self.ends[number] - len(pack))]
        return out

    def target(self, indices: np.ndarray) -> Tensor:
        """What cross-entropy takes for images (B,): classes (B,) int64, or weights (B, C) if any image of the pool is of two."""
        label = torch.from_numpy(self.label[indices])
        if not (self.other >= 0).any():
            return label
        return mixture(
            label, *(torch.from_numpy(column[indices]) for column in (self.other, self.share)), len(self.classes)
        )


def mixture(label: Tensor, other: Tensor, share: Tensor, classes: int) -> Tensor:
    """Soft targets: share e_label + (1 - share) e_other.

    Cross-entropy with them is the same mixture of the two hard losses, label smoothing included.

    Args:
        label: (B,) int64. other: (B,) int64, -1 for none. share: (B,) in 0..1, 1 where there is no other.
    Returns: (B, classes) float32; rows sum to 1.
    Source: mixup (arXiv:1710.09412); so labelled are generated images in Diff-Mix (arXiv:2403.19600).

    >>> mixture(torch.tensor([0, 2]), torch.tensor([1, -1]), torch.tensor([0.75, 1.0]), 3).tolist()
    [[0.75, 0.25, 0.0], [0.0, 0.0, 1.0]]
    """
    out = torch.zeros(len(label), classes, dtype=torch.float64)
    out.scatter_(1, label[:, None], share.double()[:, None])
    # Without another class its weight is 0, so that it may point anywhere.
    out.scatter_add_(1, other.clamp(min=0)[:, None], 1 - share.double()[:, None])
    return out.float()


def cycled(members: np.ndarray, length: int, *parts: object) -> np.ndarray:
    """(length,) of the members, in a new permutation a pass. parts: what the permutations depend on, as in `seed_of`."""
    if not length:
        return np.empty(0, np.int64)
    passes = -(-length // len(members))
    return np.concatenate([rng(*parts, i).permutation(members) for i in range(passes)])[:length]


def order(n_real: int, n_synthetic: int, length: int, seed: int, share: int | None = None) -> np.ndarray:
    """Which image comes when: (length,) indices, real ones 0..n_real-1, synthetic ones behind them.

    Real and synthetic images each come in a new permutation a pass, and are mixed in proportion, so
    a pass over the pool shows every image once. The k-th real image is the same in all arms of a seed.

    Args:
        share: synthetic images in a pass, where they are not to be all; the next pass goes on with those
            that the one before left out.
    """
    taken = n_synthetic if share is None else min(share, n_synthetic)
    total = n_real + taken
    passes = -(-length // total)
    places = np.concatenate([rng(seed, "places", i).permutation(np.arange(total) >= n_real) for i in range(passes)])
    out = np.empty(passes * total, np.int64)
    out[~places] = cycled(np.arange(n_real), passes * n_real, seed, "real")
    out[places] = n_real + cycled(np.arange(n_synthetic), passes * taken, seed, "synthetic")
    return out[:length]


def rng(*parts: object) -> np.random.Generator:
    """The random numbers of one thing, named as in `seed_of`."""
    return np.random.default_rng(seed_of(*parts))
