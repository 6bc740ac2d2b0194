"""What is looked at while a stage trains: held-out loss, and pictures from the same noise each time."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.data import Batches
from taxaforge.diffusion.objective import Objective
from taxaforge.diffusion.sampler import sample
from taxaforge.diffusion.training import Source
from taxaforge.files import atomic
from taxaforge.seeds import seed_of

ROWS, COLUMNS = 12, 4
"""Species and pictures of each in a sample grid."""
STEPS, SCALE = 10, 3.0
"""Denoising steps and guidance of a sample grid: a glance in passing, coarser than what methods draw."""
AT_ONCE = 64
"""Images in one pass of the denoiser; nobody's batch size, so that a look costs no more memory than training."""


@dataclass(frozen=True)
class Validation:
    """The denoising loss on the same held-out images, noise and timesteps, whenever it is asked.

    source: their latents. batches: of a stage, with the held-out labels; its draws become fixed ones.
    """

    source: Source
    batches: Batches

    @classmethod
    def of(cls, source: Source, batches: Batches, labels: Tensor, images: int, finest: int) -> "Validation":
        """labels: (N,) of the held-out images, of which `images` are used, conditioned up to level `finest`."""
        share = [float(level == finest) for level in range(len(batches.share))]
        plain = {"flip": False, "null_probability": 0.0, "level_dropout": 0.0, "noise_offset": 0.0}
        size = min(images, len(labels))
        return cls(source, replace(batches, stage="validation", size=size, labels=labels, share=share, **plain))

    @torch.no_grad()
    def __call__(self, objective: Objective, device: torch.device) -> float:
        batch = self.batches(0)
        losses = [
            objective(self.source(batch.chosen[mine], batch.mirrored[mine]).to(device), batch, mine)
            for mine in torch.arange(self.batches.size).split(AT_ONCE)
        ]
        return torch.cat(losses).mean().item()


@torch.no_grad()
def grid(backbone: Backbone, classes: int, finest: int, seed: int) -> np.ndarray:
    """uint8 (H, W, 3): a row a species, evenly spaced where there are more than ROWS; COLUMNS pictures of each.

    Drawn with classifier-free guidance on the lineage up to level `finest`; small pictures are enlarged to
    64 px or so by repeating pixels.
    """
    shown = [classes * row // min(classes, ROWS) for row in range(min(classes, ROWS))]
    label = torch.tensor(shown).repeat_interleave(COLUMNS)
    noise = [
        torch.randn(backbone.latent_shape, generator=torch.Generator().manual_seed(seed_of(seed, "watch", c, k)))
        for c in shown
        for k in range(COLUMNS)
    ]
    pictures = [
        _drawn(backbone, torch.stack([noise[i] for i in places]), label[places], finest)
        for places in torch.arange(len(label)).split(AT_ONCE)
    ]
    rows = np.concatenate(pictures).reshape(len(shown), COLUMNS, *pictures[0].shape[1:])
    larger = max(1, 64 // rows.shape[2])
    rows = rows.repeat(larger, 2).repeat(larger, 3)
    side = rows.shape[2]
    return rows.transpose(0, 2, 1, 3, 4).reshape(len(shown) * side, COLUMNS * side, 3)


def _drawn(backbone: Backbone, z: Tensor, label: Tensor, finest: int) -> np.ndarray:
    wanted = backbone.tokens(label.to(backbone.device), torch.full_like(label, finest).to(backbone.device))
    nothing = backbone.tokens(*(torch.full_like(label, value).to(backbone.device) for value in (-1, finest)))
    both = torch.cat([wanted, nothing])

    def predict(z: Tensor, t: Tensor, u: float, rows: Tensor) -> Tensor:
        fine, null = backbone.predict(torch.cat([z, z]), t.to(z.device).expand(2 * len(z)), both).chunk(2)
        return null + SCALE * (fine - null)

    return backbone.to_image(sample(predict, z.to(backbone.device), backbone.native_scheduler(STEPS)))


def save_grid(pixels: np.ndarray, path: Path) -> None:
    """Writes (H, W, 3) uint8 as PNG."""
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="png")
