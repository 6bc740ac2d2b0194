"""Which images, noise and conditions a training step sees: a pure function of (seed, stage, step)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from taxaforge.seeds import seed_of


@dataclass(frozen=True)
class Batch:
    """chosen: (B,) image numbers. mirrored: (B,) bool. label: (B,) class, -1 where the condition is null.
    upto: (B,) finest level. dropped: (B, L) bool, levels whose name is taken away. t: (B,) timestep.
    eps: (B, c, h, w) noise. All on the CPU."""

    chosen: Tensor
    mirrored: Tensor
    label: Tensor
    upto: Tensor
    dropped: Tensor
    t: Tensor
    eps: Tensor


def order(seed: int, stage: str, epoch: int, count: int) -> Tensor:
    """The order (count,) in which an epoch visits the images."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, stage, "order", epoch)))


def chosen_at(seed: int, stage: str, step: int, size: int, count: int) -> Tensor:
    """The image numbers (size,) of a step: epochs follow each other without a gap or a short batch."""
    places = range(step * size, (step + 1) * size)
    orders = {epoch: order(seed, stage, epoch, count) for epoch in {place // count for place in places}}
    return torch.stack([orders[place // count][place % count] for place in places])


def places_of(rank: int, world: int, size: int) -> Tensor:
    """The places of a batch that one of `world` processes computes, by its rank among all, not on its machine."""
    return torch.arange(size)[rank::world]


@dataclass(frozen=True)
class Batches:
    """The batches of a stage, by step: everything random about a training step but dropout.

    seed, stage: whose draws these are. size: B. labels: (N,) class of every training image. share: (L,)
    probability of each level as the finest one of an image's condition; null lineages always go to the last
    possible level. level_dropout: probability of each level of an image, each on its own, to lose its name.
    noise_offset: how much of one number a channel is added to its noise (Guttenberg 2023, "diffusion with
    offset noise"). timesteps: T of the schedule. They are stratified: one in each B-th of the draws, so that
    the loss varies less between steps than with independent ones. places: `schedule.evenly` or
    `schedule.towards_the_middle`. shape: (c, h, w) of a latent.
    """

    seed: int
    stage: str
    size: int
    labels: Tensor
    share: Sequence[float]
    timesteps: int
    places: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    flip: bool
    null_probability: float
    level_dropout: float = 0.0
    noise_offset: float = 0.0

    def __call__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.stage, "step", step))
        size, levels = self.size, len(self.share)
        chosen = chosen_at(self.seed, self.stage, step, size, len(self.labels))
        mirrored = (torch.rand(size, generator=generator) < 0.5) & self.flip
        null = torch.rand(size, generator=generator) < self.null_probability
        upto = torch.multinomial(torch.tensor(self.share), size, replacement=True, generator=generator)
        last = max(level for level, share in enumerate(self.share) if share > 0)
        strata = torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)
        t = (self.places(strata / size) * self.timesteps).long().clamp(max=self.timesteps - 1)
        eps = torch.randn(size, *self.shape, generator=generator)
        dropped = torch.rand(size, levels, generator=generator) < self.level_dropout
        common = torch.randn(size, self.shape[0], 1, 1, generator=generator)
        eps = eps + self.noise_offset * common if self.noise_offset else eps
        label = torch.where(null, -1, self.labels[chosen])
        return Batch(chosen, mirrored, label, upto.masked_fill(null, last), dropped, t, eps)
