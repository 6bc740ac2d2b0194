"""A contact sheet: what a method drew, species by species, for a person to look at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from taxaforge.files import atomic

TILE, GAP, FONT = 72, 4, 14
DROPPED = (200, 30, 30)
"""Frame of an image that the filter dropped; it is shown, because what was dropped is news too."""


@dataclass(frozen=True)
class Row:
    """One species: its name, the images to show, and for each whether it was kept."""

    name: str
    images: list[Path]
    kept: list[bool]


def contact_sheet(rows: Sequence[Row], title: str, path: str | Path, columns: int = 8, most: int = 50) -> None:
    """A PNG with a line a species: its name, then its first `columns` images; dropped ones framed in red.

    With more than `most` species it shows that many of them, evenly spread over `rows`, and says so.
    """
    if len(rows) > most:
        title = f"{title} ({most} of {len(rows)} species)"
        rows = [rows[len(rows) * number // most] for number in range(most)]
    font = ImageFont.load_default(size=FONT)
    names = max((round(font.getlength(row.name)) for row in rows), default=0) + 3 * GAP
    columns = max(1, min(columns, max((len(row.images) for row in rows), default=0)))
    head, pitch = FONT + 3 * GAP, TILE + GAP
    width = max(names + columns * pitch, round(font.getlength(title)) + 2 * GAP)
    sheet = Image.new("RGB", (width, head + len(rows) * pitch), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), title, fill="black", font=font)
    for number, row in enumerate(rows):
        top = head + number * pitch
        pen.text((GAP, top + TILE // 2), row.name, fill="black", font=font, anchor="lm")
        for column, (file, kept) in enumerate(zip(row.images[:columns], row.kept[:columns], strict=True)):
            left = names + column * pitch
            with Image.open(file) as image:
                enlarged = image.width < TILE
                tile = image.convert("RGB").resize((TILE, TILE), Image.NEAREST if enlarged else Image.LANCZOS)
            sheet.paste(tile, (left, top))
            if not kept:
                pen.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=DROPPED, width=4)
    with atomic(path) as temporary:
        sheet.save(temporary, format="png", optimize=True)
