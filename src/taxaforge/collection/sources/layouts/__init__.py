"""How datasets on disk are laid out: one module a layout, each a generator of pictures.

A layout knows files and columns and nothing of the run: whether a picture's label belongs to a species that
is asked for is decided by `collection.sources.folder`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taxaforge.errors import TaxaforgeError


class UnreadableTable(TaxaforgeError):
    """The folder or one of its tables cannot serve as a source."""


@dataclass(frozen=True)
class Picture:
    """One picture as its dataset lists it.

    image: path below the dataset's root, "" where the dataset gives none. labels: what it shows, in the dataset's
    words, the best wording first; all mean the same. fields: of a Candidate, as far as the dataset knows them.
    row: where it is listed, to name it where it has no path.
    """

    image: str
    labels: tuple[str, ...]
    fields: Mapping[str, object] = field(default_factory=dict)
    row: str = ""


def root_with(base: Path, needed: tuple[str, ...], below: str, layout: str) -> Path:
    """`base`, or the folder `below` it into which the dataset unpacks: the first that has the `needed` names.

    Raises: UnreadableTable naming what is missing.
    """
    for root in (base, base / below):
        if all((root / name).exists() for name in needed):
            return root
    missing = [name for name in needed if not (base / name).exists()]
    raise UnreadableTable(
        f"{base} is no {layout} dataset: it has no {' and no '.join(missing)}, nor has {base / below}. "
        "Set `collection.folder.path` to the folder into which the dataset was unpacked."
    )


def lines(file: Path, parts: int) -> Iterator[list[str]]:
    """The lines of a text table without header, cut at the first `parts - 1` spaces. Raises: UnreadableTable."""
    try:
        with file.open(encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                if not line.strip():
                    continue
                cells = line.strip().split(None, parts - 1)
                if len(cells) != parts:
                    raise UnreadableTable(f"{file}: line {number} is {line.strip()!r}, expected {parts} columns.")
                yield cells
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableTable(f"{file} cannot be read ({error}).") from None
