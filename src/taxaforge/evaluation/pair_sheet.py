"""The pictures that look most like copies, each beside the training image it may be a copy of: for a person to judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from taxaforge.files import atomic

TILE, APART, GAP, FONT, COLUMNS, LINES = 112, 3, 12, 12, 5, 3
REPLICA, QUIET = (200, 30, 30), (90, 90, 90)


@dataclass(frozen=True)
class Pair:
    """image, beside: (size, size, 3) uint8. caption: up to LINES lines. marked: framed in red."""

    image: np.ndarray
    beside: np.ndarray
    caption: Sequence[str]
    marked: bool


def pair_sheet(pairs: Sequence[Pair], title: str, path: str | Path) -> None:
    """Writes a PNG: COLUMNS pairs a line, the image on the left, what it resembles on the right, the caption below."""
    font = ImageFont.load_default(size=FONT)
    width, height = 2 * TILE + APART + 2 * GAP, TILE + LINES * (FONT + 3) + GAP
    head = 3 * GAP + FONT
    lines = max(1, -(-len(pairs) // COLUMNS))
    sheet = Image.new("RGB", (COLUMNS * width + GAP, head + lines * height), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), title, fill="black", font=font)
    for number, pair in enumerate(pairs):
        left, top = GAP + number % COLUMNS * width, head + number // COLUMNS * height
        for place, pixels in enumerate((pair.image, pair.beside)):
            sheet.paste(_tile(pixels), (left + place * (TILE + APART), top))
        if pair.marked:
            pen.rectangle((left - 3, top - 3, left + 2 * TILE + APART + 2, top + TILE + 2), outline=REPLICA, width=3)
        for line, text in enumerate(pair.caption[:LINES]):
            place = (left, top + TILE + 4 + line * (FONT + 3))
            pen.text(place, _shortened(text, font, 2 * TILE), fill=QUIET if line else "black", font=font)
    with atomic(path) as temporary:
        sheet.save(temporary, format="png", optimize=True)


def _tile(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.asarray(pixels))
    return image.resize((TILE, TILE), Image.Resampling.NEAREST if image.width < TILE / 2 else Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The text, its end replaced by dots where it is wider than `width` px."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
