"""Which images, noise and conditions a training step sees: a pure function of (seed, stage, step)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from taxaforge.diffusion.backbone import Backbone
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of


@dataclass(frozen=True)
class Batch:
    """chosen: (B,) image numbers. mirrored: (B,) bool. label: (B,) class, -1 where the condition is null.
    upto: (B,) finest level. t: (B,) timestep. eps: (B, c, h, w) unit noise."""

    chosen: Tensor
    mirrored: Tensor
    label: Tensor
    upto: Tensor
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


def batch_at(
    *,
    seed: int,
    stage: str,
    step: int,
    size: int,
    labels: Tensor,
    flip: bool,
    null_probability: float,
    level_share: list[float],
    timesteps: int,
    places: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
) -> Batch:
    """Everything random about a training step but dropout.

    Args:
        size: B. labels: (N,) class of every training image. level_share: (L,) probability of each level
            as the finest one of an image's condition; null lineages always go to the last possible level.
        timesteps: T of the schedule. They are stratified: one in each B-th of the draws, so that the loss
            varies less between steps than with independent ones. places: `schedule.evenly` or
            `schedule.towards_the_middle`. shape: (c, h, w) of a latent.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, stage, "step", step))
    chosen = chosen_at(seed, stage, step, size, len(labels))
    mirrored = (torch.rand(size, generator=generator) < 0.5) & flip
    null = torch.rand(size, generator=generator) < null_probability
    upto = torch.multinomial(torch.tensor(level_share), size, replacement=True, generator=generator)
    last = max(level for level, share in enumerate(level_share) if share > 0)
    strata = torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)
    t = (places(strata / size) * timesteps).long().clamp(max=timesteps - 1)
    eps = torch.randn(size, *shape, generator=generator)
    label = torch.where(null, -1, labels[chosen])
    return Batch(chosen, mirrored, label, upto.masked_fill(null, last), t, eps)


class Latents:
    """Training images as latents; a codec that compresses runs once an image and side, not once a step."""

    def __init__(self, backbone: Backbone, data: Pack):
        self.backbone, self.pixels = backbone, data.pixels
        self.keep = math.prod(backbone.latent_shape) < math.prod(data.pixels.shape[1:])
        self.kept: dict[tuple[int, bool], Tensor] = {}

    def __call__(self, chosen: Tensor, mirrored: Tensor) -> Tensor:
        """(B, c, h, w) of images (B,), mirrored left to right where (B,) says so."""
        wanted = list(zip(chosen.tolist(), mirrored.tolist(), strict=True))
        if not self.keep:
            pixels = torch.stack([self._picture(*one) for one in wanted])
            return self.backbone.to_latent(pixels.numpy())
        for one in wanted:  # one by one: a latent must not depend on its neighbours' rounding
            if one not in self.kept:
                self.kept[one] = self.backbone.to_latent(self._picture(*one)[None].numpy()).cpu()
        return torch.cat([self.kept[one] for one in wanted]).to(self.backbone.device)

    def _picture(self, number: int, mirrored: bool) -> Tensor:
        picture = torch.tensor(self.pixels[number])
        return picture.flip(1) if mirrored else picture
