"""How training images are varied: `standard` in one batched step, `strong` with RandAugment and CutMix or MixUp before it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from taxaforge.classification.data import Pool
from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

SPREAD, MOST = 0.5, 9
"""Standard deviation of an operation's magnitude, and the greatest: at 10, `posterize` would leave a picture no bits."""


def standard(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored or not, scaled by 0.8-1.2, shifted by up to 1/8 of its side, 20 % darker to brighter.

    x: (B, 3, h, w) in 0..1; borders are mirrored. generator: on the CPU, so a GPU sees the same changes.
    """
    n = len(x)
    flip, scale, dx, dy, light = torch.rand(5, n, generator=generator).unbind()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = (0.8 + 0.4 * scale) * torch.where(flip < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = 0.8 + 0.4 * scale
    theta[:, 0, 2], theta[:, 1, 2] = (dx - 0.5) / 2, (dy - 0.5) / 2  # 2 is the whole side in these units
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return (x * (0.8 + 0.4 * light.to(x.device)).view(-1, 1, 1, 1)).clamp(0, 1)


@contextmanager
def borrowed_randomness() -> Iterator[None]:
    """timm draws from the random states that a whole process shares: they may be seeded in here, and are put back."""
    states = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def seed_shared(*parts: object) -> None:
    """Seeds the process's random states; to be used inside `borrowed_randomness`. parts: as in `seed_of`."""
    seed = seed_of(*parts)
    random.seed(seed)
    np.random.seed(seed >> 31)  # numpy takes 32 bits


class RandomOperations(Dataset):
    """Batches of pixels, each image after a few random operations (RandAugment, arXiv:1909.13719), as timm does them.

    Item k is step k's batch: uint8 (B, size, size, 3). What happens to an image depends on seed, step and its place
    in the batch, never on the process that does it.

    Args:
        sequence: (steps, B) indices into the pool.
        strength: `operations` an image, each done with probability 1/2, at `magnitude` 0..9.
    """

    def __init__(self, pool: Pool, sequence: np.ndarray, strength: Mapping, seed: int):
        self.pool, self.sequence, self.seed = pool, sequence, seed
        self.transform = rand_augment_transform(
            f"rand-m{strength['magnitude']}-n{strength['operations']}-mstd{SPREAD}-mmax{MOST}-inc1"
        )

    def __len__(self) -> int:
        return len(self.sequence)

    def __getitem__(self, step: int) -> np.ndarray:
        pixels = self.pool.pixels(self.sequence[step])
        with borrowed_randomness():
            for place, image in enumerate(pixels):
                seed_shared(self.seed, "operations", step, place)
                pixels[place] = np.asarray(self.transform(Image.fromarray(image)))
        return pixels


class Blend:
    """CutMix (arXiv:1905.04899) or MixUp (arXiv:1710.09412) of a batch with itself, as timm does it.

    Args:
        strength: `cutmix_alpha` and `mixup_alpha`, of the Beta distribution of a blend's share (0: never this kind; with
            both, each is as likely), and `blend_probability` of a batch.
    """

    def __init__(self, strength: Mapping):
        self.alphas = {name: strength[name] for name in ("mixup_alpha", "cutmix_alpha")}
        self.probability = strength["blend_probability"] if any(self.alphas.values()) else 0.0

    def __call__(self, x: Tensor, target: Tensor, *seed: object) -> tuple[Tensor, Tensor]:
        """Blend image i with image B-1-i, and their targets alike.

        x: (B, 3, h, w), overwritten; of an odd batch the last image stays what it is. target: (B, C) weights of
        classes. seed: as in `seed_of`.
        """
        even = len(x) // 2 * 2
        if not even:
            return x, target
        # Asked about the places in the batch instead of about classes, timm answers with the share of each image in
        # each blend, whatever their targets are.
        mixup = Mixup(**self.alphas, prob=self.probability, label_smoothing=0.0, num_classes=even)
        with borrowed_randomness():
            seed_shared(*seed)
            x[:even], share = mixup(x[:even], torch.arange(even, device=x.device))
        return x, torch.cat([share @ target[:even], target[even:]])


class Variation:
    """How the images of one training are varied: the same for equal seeds, in whichever process.

    Args:
        name: none, standard or strong. strength: section `classification.strong`, for strong alone.
    Raises: TaxaforgeError for strong without its strength.
    """

    def __init__(self, name: str, strength: Mapping | None, seed: int):
        if name == "strong" and not strength:
            raise TaxaforgeError(
                "The strong augmentation needs section classification.strong, which was not handed over."
            )
        self.name, self.seed, self.strength = name, seed, strength if name == "strong" else None
        self.blend = Blend(strength) if name == "strong" else None

    @property
    def blends(self) -> bool:
        """Whether images, and so their targets, are blended."""
        return self.blend is not None and self.blend.probability > 0

    def pixels(self, pool: Pool, sequence: np.ndarray, workers: int = 0) -> Iterator[np.ndarray]:
        """Each step's pixels, uint8 (B, size, size, 3), read when they are wanted.

        sequence: (steps, B) indices. workers: processes that do the operations of RandAugment ahead of the training;
        their number changes no pixel.
        """
        if not self.strength or not self.strength["operations"]:
            return (pool.pixels(indices) for indices in sequence)
        data = RandomOperations(pool, sequence, self.strength, self.seed)
        if not workers:
            return (data[step] for step in range(len(data)))
        # A generator of its own: without one the loader draws from torch's global state.
        loader = DataLoader(data, batch_size=None, num_workers=workers, generator=torch.Generator())
        return (pixels.numpy() for pixels in loader)

    def __call__(self, x: Tensor, target: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """What is done to a batch as a whole. x: (B, 3, h, w) in 0..1. target: where images are blended, (B, C)."""
        if self.name != "none":
            x = standard(x, torch.Generator().manual_seed(seed_of(self.seed, "augmentation", step)))
        return self.blend(x, target, self.seed, "blend", step) if self.blends else (x, target)
