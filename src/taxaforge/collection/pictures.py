"""Whether bytes are a picture: told from the bytes alone, whatever name or sender says."""

import io
import struct
import threading
import warnings
import zlib

from PIL import Image, UnidentifiedImageError

LARGEST_BYTES = 30 * 2**20
LARGEST_PIXELS = 80_000_000

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpg"),
    (b"WEBP", 8, "webp"),
    (b"II*\x00", 0, "tif"),
    (b"MM\x00*", 0, "tif"),
    (b"GIF8", 0, "gif"),
    (b"BM", 0, "bmp"),
)
LONGEST_MAGIC = max(at + len(magic) for magic, at, _ in MAGIC)

DECODER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
"""What Pillow's decoders raise on damaged or hostile files: no promise is made, so whatever was seen and its kin."""

ROOMY_PIXELS = 16_000_000
_one_large_picture = threading.Lock()
"""Larger pictures are decoded one at a time: 80 million pixels take 240 MB."""

# Our own limit is lower than the one that Pillow warns of. Set here and not around each call, for filters
# belong to the process and calls to threads.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def extension_of(content: bytes) -> str | None:
    """The image format that the first bytes show; None: no picture.

    >>> extension_of(b"GIF89a"), extension_of(b"<html>")
    ('gif', None)
    """
    return next((ext for magic, at, ext in MAGIC if content[at : at + len(magic)] == magic), None)


def flaw(content: bytes) -> str:
    """What is wrong with these bytes as a picture: empty_file, not_an_image, too_many_pixels, broken_image; "" if nothing.

    The size is read from the header before anything is decoded, so that a bomb stays packed.
    """
    if not content:
        return "empty_file"
    if extension_of(content) is None:
        return "not_an_image"
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > LARGEST_PIXELS:
                return "too_many_pixels"
            if pixels > ROOMY_PIXELS:
                with _one_large_picture:
                    image.load()
            else:
                image.load()
    except UnidentifiedImageError:
        return "not_an_image"
    except Image.DecompressionBombError:
        return "too_many_pixels"
    except DECODER_ERRORS:
        return "broken_image"
    return ""
