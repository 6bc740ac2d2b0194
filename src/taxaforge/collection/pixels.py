"""Opening picture files that came from elsewhere."""

import struct
import zlib
from pathlib import Path

from PIL import Image, ImageOps

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""All that Pillow raises over the bytes of a damaged, cut or oversized file."""


def open_rgb(path: str | Path) -> Image.Image:
    """Fully decoded, upright (EXIF orientation applied), RGB; transparent pixels become white.

    Raises: one of BROKEN.
    """
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)  # decodes to the last byte
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB")
    return upright.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square at `size` px, antialiased both when shrinking and when growing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)
