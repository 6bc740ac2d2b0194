"""Opening picture files that came from elsewhere."""

from pathlib import Path

import numpy as np
from PIL import Image

from taxaforge.collection.pictures import DECODER_ERRORS

BROKEN = (*DECODER_ERRORS, Image.DecompressionBombError)
"""All that Pillow raises over the bytes of a damaged, cut, hostile or oversized file."""

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Value of EXIF tag Orientation -> what sets the picture upright; 1 and every other value: nothing."""


def decoded(path: str | Path) -> tuple[Image.Image, str]:
    """The picture of a file and the format that its bytes show, such as JPEG or PNG.

    Fully decoded, upright (by EXIF orientation, where that can be read), RGB; transparent pixels become white, samples
    of 16 bits keep their upper eight.

    Raises: one of BROKEN.
    """
    with Image.open(path) as image:
        kind = {"MPO": "JPEG"}.get(image.format, image.format)  # a JPEG with further pictures behind it
        image.load()  # to the last byte; in a PNG the EXIF block may lie behind the pixels
        turn = turn_of(image)
        upright = image.copy() if turn is None else image.transpose(turn)
    if upright.mode.startswith("I"):
        # Pillow would cut every sample above 255 to white.
        upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB"), kind
    return upright.convert("RGB"), kind


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How a loaded picture is set upright; None where it is, or where its EXIF block cannot be read.

    Only the orientation is looked at. Pillow's own `exif_transpose` writes the whole block anew, and a
    single odd entry in it, of whatever tag, would cost the picture.
    """
    try:
        return TURNS.get(image.getexif().get(ORIENTATION))
    except DECODER_ERRORS:
        return None


def open_rgb(path: str | Path) -> Image.Image:
    """The picture alone, as `decoded` gives it. Raises: one of BROKEN."""
    return decoded(path)[0]


def square(image: Image.Image, size: int) -> Image.Image:
    """The centre square at `size` px, antialiased both when shrinking and when growing."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box=box)
