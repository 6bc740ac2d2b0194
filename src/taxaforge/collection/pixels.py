"""Opening picture files that came from elsewhere."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""All that Pillow raises over the bytes of a damaged, cut or oversized file."""


def decoded(path: str | Path) -> tuple[Image.Image, str]:
    """The picture of a file and the format that its bytes show, such as JPEG or PNG.

    Fully decoded, upright (EXIF orientation applied), RGB; transparent pixels become white, samples
    of 16 bits keep their upper eight.

    Raises: one of BROKEN.
    """
    with Image.open(path) as image:
        kind = {"MPO": "JPEG"}.get(image.format, image.format)  # a JPEG with further pictures behind it
        upright = ImageOps.exif_transpose(image)  # decodes to the last byte
    if upright.mode.startswith("I"):
        # Pillow would cut every sample above 255 to white.
        upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB"), kind
    return upright.convert("RGB"), kind


def open_rgb(path: str | Path) -> Image.Image:
    """The picture alone, as `decoded` gives it. Raises: one of BROKEN."""
    return decoded(path)[0]


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square at `size` px, antialiased both when shrinking and when growing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)
