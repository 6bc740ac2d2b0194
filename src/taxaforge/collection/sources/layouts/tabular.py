"""CSV files that people write: a header, named columns, UTF-8, commas."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from taxaforge.collection.sources.layouts import UnreadableTable


def rows(file: Path, needed: Sequence[str], setting: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(number of the row, the header being row 1; its cells by column). Cells are stripped, absent ones "".

    needed: columns without which nothing can be done. setting: which setting named the file.
    Raises: UnreadableTable naming file, cause and what it has.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text)
            missing = [name for name in needed if name not in (reader.fieldnames or [])]
            if missing:
                raise UnreadableTable(
                    f"{file}: no column {' and no column '.join(map(repr, missing))}. {setting} needs "
                    f"{' and '.join(needed)}, separated by commas; it has {', '.join(reader.fieldnames or ['nothing'])}."
                )
            for number, row in enumerate(reader, 2):
                yield number, {name: (row[name] or "").strip() for name in reader.fieldnames}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableTable(
            f"{setting} {str(file)!r} cannot be read ({error}). It must be a CSV file in UTF-8."
        ) from None
