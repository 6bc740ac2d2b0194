"""The user's species list: a CSV with `scientificName` and what else is known about each name."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.names import NULL_TOKENS, fold, normalise
from taxaforge.taxonomy.schema import RANKS

HINTS = RANKS[:-1]


class BadTaxaList(TaxaforgeError):
    """The species list cannot be read as one."""


@dataclass(frozen=True)
class Entry:
    """One line of the list. row: 1 is the first name. hints: given ranks above the species, rank -> name."""

    row: int
    name: str
    author: str
    vernacular: str | None
    hints: Mapping[str, str]


def read(path: str | Path) -> list[Entry]:
    """The names of a list in its order; wholly empty lines are left out.

    Raises: BadTaxaList for a missing or empty file, another encoding than UTF-8, no column
    `scientificName`, a line with more cells than the header, a name that stands there twice.
    """
    path = Path(path)
    rows = _rows(path)
    entries, first_at = [], {}
    for row in rows:
        if None in row:
            raise BadTaxaList(
                f"{path}: line {len(entries) + 2} has more cells than the header: {row[None]}. "
                "Put names that contain a comma (such as authors) in double quotes."
            )
        cells = {key.strip(): normalise(value) for key, value in row.items() if key}
        if not any(cells.values()):
            continue
        entry = Entry(
            row=len(entries) + 1,
            name=row[next(key for key in row if key and key.strip() == "scientificName")] or "",
            author=_given(cells, "scientificNameAuthorship"),
            vernacular=_given(cells, "vernacularName") or None,
            hints={rank: value for rank in HINTS if (value := _given(cells, rank))},
        )
        entries.append(entry)
        same = fold(normalise(entry.name))
        if same not in NULL_TOKENS and first_at.setdefault(same, entry.row) != entry.row:
            raise BadTaxaList(
                f"{path}: {entry.name!r} stands there twice, as names {first_at[same]} and {entry.row}. Delete one of them."
            )
    if not entries:
        raise BadTaxaList(f"{path} holds no names. Write one species a line under the header `scientificName`.")
    return entries


def _given(cells: Mapping[str, str], column: str) -> str:
    value = cells.get(column, "")
    return "" if fold(value) in NULL_TOKENS else value


def _rows(path: Path) -> list[dict]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadTaxaList(f"{path} does not exist. Set `taxa.path` to your species list.") from None
    except IsADirectoryError:
        raise BadTaxaList(f"{path} is a folder. Set `taxa.path` to a CSV file.") from None
    except UnicodeDecodeError as error:
        raise BadTaxaList(
            f"{path} is not UTF-8 (byte {error.start}). Save it again as `CSV UTF-8`; every spreadsheet offers it."
        ) from None
    if not text.strip():
        raise BadTaxaList(f"{path} is empty. Write one species a line under the header `scientificName`.")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = [name.strip() for name in reader.fieldnames or []]
    if "scientificName" not in names:
        separator = (
            " Separate the columns by commas." if any(c in (reader.fieldnames or [""])[0] for c in ";\t") else ""
        )
        raise BadTaxaList(
            f"{path} has no column `scientificName`, only {', '.join(map(repr, names))}. Name the column of names so.{separator}"
        )
    try:
        return list(reader)
    except csv.Error as error:
        raise BadTaxaList(f"{path} cannot be read as CSV near line {reader.line_num}: {error}.") from None
