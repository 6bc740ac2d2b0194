"""Source `folder`: your own photographs, listed in a CSV."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from taxaforge.collection.sources import Candidate
from taxaforge.errors import TaxaforgeError

NEEDED = ("image", "scientificName")
OPTIONAL = ("recordedBy", "eventDate", "license", "rightsHolder", "caption")


class UnreadableTable(TaxaforgeError):
    """The folder or its table cannot serve as a source."""


def candidates(classes: Sequence[Mapping], cfg: Mapping, accepted: Mapping[str, str]) -> Iterator[Candidate]:
    """One candidate a row whose name belongs to the run; the file itself is read by whoever stores it.

    Args:
        classes: lineage records, as in classes.json.
        cfg: section collection.folder: `path`, `table`.
        accepted: verbatim name -> accepted species, of the names of the taxa list. The accepted
            name itself is understood too. Rows with other names are counted and left alone.
    Raises: UnreadableTable.
    """
    base, table = Path(cfg["path"]), Path(cfg["table"])
    if not base.is_dir():
        raise UnreadableTable(
            f"collection.folder.path {str(base)!r} is no directory. Name the one that holds the images."
        )
    species = {record["species"] for record in classes}
    names = {name: name for name in species} | {name: to for name, to in accepted.items() if to in species}
    others: Counter[str] = Counter()
    for number, row in enumerate(_rows(table), 2):
        image, verbatim = (row["image"] or "").strip(), " ".join((row["scientificName"] or "").split())
        if verbatim not in names:
            others[verbatim] += 1
            continue
        file, error = _inside(base, image)
        yield Candidate(
            identifier=image or f"{table.name}:{number}",
            scientificName=names[verbatim],
            content=file,
            errorCode=error,
            verbatimScientificName=verbatim,
            **{column: (row.get(column) or "").strip() or None for column in OPTIONAL[:-1]},
            caption=(row.get("caption") or "").strip(),
        )
    if others:
        first = ", ".join(repr(name) for name in sorted(others)[:3])
        print(
            f"{table.name}: {others.total()} rows of {len(others)} names outside the taxa list left alone ({first}...)"
        )


def _rows(table: Path) -> Iterator[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in NEEDED if name not in (reader.fieldnames or [])]
            if missing:
                raise UnreadableTable(
                    f"{table}: no column {' and no column '.join(map(repr, missing))}. collection.folder.table needs "
                    f"{' and '.join(NEEDED)}, separated by commas; it has {', '.join(reader.fieldnames or ['nothing'])}."
                )
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableTable(
            f"collection.folder.table {str(table)!r} cannot be read ({error}). It must be a CSV file in UTF-8."
        ) from None


def _inside(base: Path, image: str) -> tuple[Path | None, str]:
    """The file and "", or None and the reason. A path that leads out of the folder is refused."""
    if not image:
        return None, "no_path"
    try:
        file = (base / image).resolve()
        if not file.is_relative_to(base.resolve()):
            return None, "outside_folder"
        return (file, "") if file.is_file() else (None, "not_found")
    except (OSError, ValueError):  # a name that no file system takes
        return None, "not_found"
