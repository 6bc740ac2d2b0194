"""Losses since the last look: in all, by level and by how noisy the image was."""

from itertools import pairwise

import torch
from accelerate import Accelerator
from torch import Tensor

from taxaforge.diffusion import devices
from taxaforge.diffusion.data import Batch

PARTS = 4
"""Pieces of equal length that the noise schedule is looked at in."""


class Tally:
    """Sums that stay on the device until they are asked for, so that a GPU is not waited for at every step.

    Args:
        levels: L names. timesteps: T of the schedule.
    Attributes:
        sums: (L + 1 + PARTS, 2) float64, summed loss and count of each level, of null, of each part of the schedule.
    """

    def __init__(self, levels: list[str], timesteps: int, accelerator: Accelerator):
        edges = [timesteps * part // PARTS for part in range(PARTS + 1)]
        self.names = [*levels, "null", *(f"{a}-{b - 1}" for a, b in pairwise(edges))]
        self.levels, self.timesteps, self.accelerator = len(levels), timesteps, accelerator
        self.sums = torch.zeros(len(self.names), 2, dtype=torch.float64, device=accelerator.device)

    def add(self, batch: Batch, mine: Tensor, losses: Tensor) -> None:
        """losses: (b,) of the places `mine` (b,) of the batch."""
        level = torch.where(batch.label[mine] < 0, self.levels, batch.upto[mine])
        part = self.levels + 1 + batch.t[mine] * PARTS // self.timesteps
        losses = losses.detach().double()
        both = torch.stack([losses, torch.ones_like(losses)], 1)
        for row in (level, part):
            self.sums.index_add_(0, row.to(losses.device), both)

    def close(self) -> dict:
        """Mean loss, `loss_by_level`, `loss_by_time` over all processes, of what was seen; starts anew."""
        total = devices.summed(self.accelerator, self.sums.clone()).cpu()
        self.sums.zero_()
        split = self.levels + 1
        seen = {name: (loss / count).item() for name, (loss, count) in zip(self.names, total, strict=True) if count}
        loss, count = total[:split].sum(0)
        return {
            "loss": (loss / count).item(),
            "loss_by_level": {name: seen[name] for name in self.names[:split] if name in seen},
            "loss_by_time": {name: seen[name] for name in self.names[split:] if name in seen},
        }
