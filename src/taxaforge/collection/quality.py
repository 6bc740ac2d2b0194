"""What a picture must be to enter: every check reads measured columns, the first that fails is the reason."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from taxaforge.collection.duplicates import difference_hash
from taxaforge.collection.pixels import BROKEN, open_rgb

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
"""In the order in which they are asked."""


def measure(path: Path) -> dict:
    """The quality columns of one file; all None where it cannot be decoded to the end.

    img_width, img_height: px, upright. qc_contrast: standard deviation of grey values, 0..127.5.
    img_phash, mirror_hash: difference hash of the picture and of its mirror image, (32,) uint8.
    """
    try:
        image = open_rgb(path)
    except BROKEN:
        return dict.fromkeys(("img_width", "img_height", "qc_contrast", "img_phash", "mirror_hash"))
    grey = image.convert("L")
    return {
        "img_width": image.width,
        "img_height": image.height,
        "qc_contrast": float(np.asarray(grey, dtype=np.float32).std()),
        "img_phash": difference_hash(grey),
        "mirror_hash": difference_hash(grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    }


def first_reason(row: Mapping, cfg: Mapping, checks: Iterable[tuple[str, Check]] = CHECKS.items()) -> str:
    """The name of the first check that rejects the row, "" where none does."""
    return next((name for name, rejects in checks if rejects(row, cfg)), "")
