"""Where an image starts: noise that belongs to the image."""

from collections.abc import Sequence

import torch
from torch import Tensor


def initial_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Unit Gaussian noise (len(seeds), *shape), float32, on the CPU.

    One generator an image: its noise is the same bit for bit in whatever batch it is drawn. On the
    CPU, because a GPU's generator gives other numbers; move the result.
    """
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
