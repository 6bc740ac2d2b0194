"""The user's species list: a table with `scientificName` and what else is known about each name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy import sheets
from taxaforge.taxonomy.names import NULL_TOKENS, Name, completed, fold, normalise, parse
from taxaforge.taxonomy.schema import RANKS

HINTS = RANKS[:-1]
LONGEST = 2_000
"""Bytes in UTF-8 of all that a question is made of; the longest names with their authors have some hundred. More fits
into no address, and is a cell of something else."""
COLUMNS = ("scientificNameAuthorship", "vernacularName", *HINTS)


class BadTaxaList(TaxaforgeError):
    """The species list cannot be read as one."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the list. row: 1 is the first name. hints: given ranks above the species, rank -> name."""

    row: int
    name: str
    author: str
    vernacular: str | None
    hints: Mapping[str, str]

    @property
    def said(self) -> str:
        """The hints as tables show them."""
        return "; ".join(f"{rank}={value}" for rank, value in self.hints.items())

    def parsed(self) -> Name:
        """The name in its parts; a lone epithet is joined with the row's genus, and an author of its own column counts
        where the name carries none. A name is none where its row is too long to ask for."""
        if why := self._too_long():
            return Name(self.name, problem="excluded_name_type", why=why)
        name = completed(parse(self.name), self.hints.get("genus", ""))
        if name.author or not self.author or name.problem:
            return name
        return replace(name, author=self.author)

    def _too_long(self) -> str:
        """Why nobody can be asked for this row; "" where it is short enough."""
        cells = {"scientificName": self.name, "scientificNameAuthorship": self.author, **self.hints}
        if sum(map(len, cells.values())) <= LONGEST // 4:  # letters of four bytes at most
            return ""
        sizes = {column: len(cell.encode("utf-8", "replace")) for column, cell in cells.items()}
        column = max(sizes, key=sizes.get)
        if sum(sizes.values()) <= LONGEST:
            return ""
        return f"Column {column} has {sizes[column]} bytes of text, more than a name can have: shorten the cell."


def read(path: str | Path) -> list[Entry]:
    """The names of a list in its order; wholly empty lines are left out, names that stand there twice are not.

    Raises: BadTaxaList for a missing or empty file, unreadable bytes, no column `scientificName`, a line
    with more cells than the header.
    """
    entries: list[Entry] = []
    same: dict[tuple, Mapping] = {}  # rows with the same classification share one mapping
    for _line, cells in sheets.rows(path, "scientificName", COLUMNS, BadTaxaList, "taxa.path"):
        hints = {rank: value for rank in HINTS if (value := _given(cells, rank))}
        entries.append(
            Entry(
                row=len(entries) + 1,
                name=cells["scientificName"],
                author=_given(cells, "scientificNameAuthorship"),
                vernacular=_given(cells, "vernacularName") or None,
                hints=same.setdefault(tuple(hints.items()), hints),
            )
        )
    if not entries:
        raise BadTaxaList(f"{path} holds no names. Write one species a line under the header `scientificName`.")
    return entries


def _given(cells: Mapping[str, str], column: str) -> str:
    value = cells.get(column) and normalise(cells[column])
    return "" if not value or fold(value) in NULL_TOKENS else value
