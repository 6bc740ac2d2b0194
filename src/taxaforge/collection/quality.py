"""What a picture must be to enter: every check reads measured columns, the first that fails is the reason.

A check only measures; `first_reason` decides. One decoding a picture gives all columns.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from taxaforge.collection.pixels import BROKEN, decoded
from taxaforge.errors import TaxaforgeError

Check = Callable[[Mapping, Mapping], bool]
"""(measured row, section collection.quality) -> True where the check rejects."""

CHECKS: dict[str, Check] = {
    "undecodable": lambda row, cfg: row["img_width"] is None,
    "too_small": lambda row, cfg: min(row["img_width"], row["img_height"]) < cfg["min_side"],
    "too_long": lambda row, cfg: (
        max(row["img_width"], row["img_height"]) > cfg["max_aspect"] * min(row["img_width"], row["img_height"])
    ),
    "blank": lambda row, cfg: row["qc_contrast"] < cfg["min_contrast"],
}
"""In the order in which they are asked. After them, over all pictures that passed, follow `duplicate`,
`duplicate_of_two_species`, `over_observer_cap` and `over_cap`; see `curate`."""

HASH_SIDE = 16
LOOK = 128
"""px, longer side of the reduced picture that sharpness and colour are measured on."""
COLOURLESS = 4.0
"""Standard deviation of the two colour axes, 0..127.5, below which a picture counts as having no colour."""

MEASURES = (
    "img_format", "img_width", "img_height", "img_pixel_sha256", "img_phash", "mirror_phash", "qc_contrast",
    "qc_sharpness", "qc_mono",
)  # fmt: skip


class MissingImage(TaxaforgeError):
    """A file that was fetched is no longer there: no fault of the picture, so no reason against it."""


def measure(path: str | Path) -> dict:
    """The quality columns of one file, MEASURES; all None where it cannot be decoded to the end.

    img_width, img_height: px, upright. img_pixel_sha256: of the upright RGB pixels, row by row.
    img_phash, mirror_phash: 256-bit difference hash (ImageHash `dhash`) of the picture and of its
    mirror image, 64 hex digits. qc_contrast: standard deviation of grey values, 0..127.5.
    qc_sharpness: variance of the Laplacian of grey values, see `sharpness`. qc_mono: see `colourless`.

    Raises: MissingImage.
    """
    try:
        image, kind = decoded(path)
    except FileNotFoundError:
        raise MissingImage(
            f"{path} is in candidates.parquet, but there is no such file. Delete the collection's folder `images` and "
            "run again: it will be fetched anew."
        ) from None
    except BROKEN:
        return dict.fromkeys(MEASURES)
    grey = image.convert("L")
    # What dhash would do to the whole picture, done once for the picture and its mirror image.
    cells = grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.LANCZOS)
    mirror = cells.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return {
        "img_format": kind,
        "img_width": image.width,
        "img_height": image.height,
        "img_pixel_sha256": hashlib.sha256(image.tobytes()).hexdigest(),
        "img_phash": np.packbits(imagehash.dhash(cells, HASH_SIDE).hash).tobytes().hex(),
        "mirror_phash": np.packbits(imagehash.dhash(mirror, HASH_SIDE).hash).tobytes().hex(),
        "qc_contrast": contrast(grey),
        "qc_sharpness": sharpness(grey),
        "qc_mono": colourless(image),
    }


def contrast(grey: Image.Image) -> float:
    """Standard deviation of grey values, 0..127.5; from the histogram, so exact and without a float copy."""
    values, counts = np.arange(256), np.array(grey.histogram())
    return math.sqrt(_variance(int(counts.sum()), int(counts @ values), int(counts @ values**2)))


def sharpness(grey: Image.Image) -> float:
    """Variance of the Laplacian (four neighbours) at LOOK px on the longer side; low means blurred.

    Pictures are brought to one size first, larger or smaller, because the Laplacian is per pixel: of
    a picture made larger it is low, and rightly so. Nothing is rejected by it.
    Source: Pech-Pacheco et al. 2000 (ICPR), "LAPV".
    """
    scale = LOOK / max(grey.size)
    size = tuple(max(3, round(side * scale)) for side in grey.size)
    v = np.asarray(grey.resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    return _variance_of(v[:-2, 1:-1] + v[2:, 1:-1] + v[1:-1, :-2] + v[1:-1, 2:] - 4 * v[1:-1, 1:-1])


def colourless(image: Image.Image) -> bool:
    """Is this a grey picture, an engraving or a scan? True where colour does not vary over the picture.

    Spread of R - G and of (R + G) / 2 - B, the colour axes of Hasler and Suesstrunk 2003; a uniform
    tint, such as that of old paper, is no colour.
    """
    scale = min(1.0, LOOK / max(image.size))
    size = tuple(max(1, round(side * scale)) for side in image.size)
    r, g, b = np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.int16).reshape(-1, 3).T
    axes = (2 * (r - g), r + g - 2 * b)  # doubled, to stay in whole numbers
    return all(_variance_of(axis) < (2 * COLOURLESS) ** 2 for axis in axes)


def _variance_of(values: np.ndarray) -> float:
    """Of int16 values."""
    squares = np.square(values, dtype=np.int32)
    return _variance(values.size, int(values.sum(dtype=np.int64)), int(squares.sum(dtype=np.int64)))


def _variance(n: int, total: int, squares: int) -> float:
    """Of n whole numbers with this sum and sum of squares: one rounding, so equal on every machine."""
    return (n * squares - total * total) / (n * n)


def first_reason(row: Mapping, cfg: Mapping, checks: Iterable[tuple[str, Check]] = CHECKS.items()) -> str:
    """The name of the first check that rejects the row, "" where none does."""
    return next((name for name, rejects in checks if rejects(row, cfg)), "")
