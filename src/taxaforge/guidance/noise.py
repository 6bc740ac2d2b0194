"""Where an image starts: noise that belongs to the image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from taxaforge.seeds import seed_of


def image_seed(seed: int, species: str, index: int) -> int:
    """The seed of one image in [0, 2**63). The method is left out: compared methods share their noise."""
    return seed_of(seed, "image", species, index)


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Unit Gaussian noise (len(seeds), *shape), float32, on the CPU.

    One generator an image: its noise is the same bit for bit in whatever batch it is drawn. On the
    CPU, because a GPU's generator gives other numbers; move the result.
    """
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
