"""Copies made on purpose, as a generator or a careless collection makes them: what an audit must find."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from taxaforge.seeds import seed_of

SHARE, QUALITY = 0.8, 40
"""Side of a cropped copy as a share of the picture's; JPEG quality of a compressed one."""

Alteration = Callable[[Image.Image, np.random.Generator], Image.Image]


def flipped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A square of SHARE of the side, anywhere, at the size of the whole."""
    side = SHARE * image.width
    left, top = rng.uniform(0, image.width - side, 2)
    return image.resize(image.size, Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))


def compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Image.open(file).convert("RGB")


def together(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Mirrored, cropped and then compressed."""
    return compressed(cropped(flipped(image, rng), rng), rng)


ALTERATIONS: dict[str, Alteration] = {
    "flipped": flipped, "cropped": cropped, "compressed": compressed, "together": together,
}  # fmt: skip


def altered(pixels: np.ndarray, identifiers: list[str], seed: int, alteration: Alteration = together) -> np.ndarray:
    """Copies of (N, size, size, 3) uint8 pictures, each drawn by its own identifier."""
    copies = [
        np.asarray(alteration(Image.fromarray(image), np.random.default_rng(seed_of(seed, "copy", name))))
        for image, name in zip(np.asarray(pixels), identifiers, strict=True)
    ]
    return np.stack(copies) if copies else np.asarray(pixels)
