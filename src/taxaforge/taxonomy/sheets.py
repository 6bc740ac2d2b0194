"""Tables that people send: whatever encoding and separator their spreadsheet chose, as rows of trimmed cells."""

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from taxaforge.errors import TaxaforgeError

SEPARATORS = ",;\t"
LONGEST_HEADER = 1_000
"""Letters of a wrong header that are shown."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def rows(
    path: str | Path, needed: str, known: tuple[str, ...], broken: type[TaxaforgeError], setting: str
) -> Iterator[tuple[int, dict]]:
    """(line, column -> cell as written) for every row with a filled cell; cells that a short line lacks are "".

    Args:
        path: a table with a header, separated by comma, semicolon or tab, whichever puts `needed` into the header.
        needed: a column without which the file is not the one meant. known: columns whose spelling may
            differ in case, blanks and underscores from what is asked here.
        broken: raised, with file, line and remedy, for whatever cannot be read. setting: where the path comes from.
    """
    path = Path(path)
    text = _text(path, broken, setting)
    first = re.match(r'"?sep=(.)"?(\r?\n|\r|$)', text)  # a line that spreadsheets write and hide
    body = text[first.end() :] if first else text
    if not body.strip():
        raise broken(f"{path} is empty. Its first line must name the columns, one of them `{needed}`.")
    separator = _separator(path, body, needed, broken)
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=separator)
    spelt = {_squeeze(name): name for name in (needed, *known)}
    try:
        header = [spelt.get(_squeeze(name), name.strip()) for name in next(filter(_is_filled, reader))]
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise broken(f"{path} has the column {twice[0]!r} twice. Delete or rename one of them.")
        for row in reader:
            if any(cell.strip() for cell in row[len(header) :]):
                raise broken(
                    f"{path}: line {reader.line_num + bool(first)} has more cells than the header: {row[len(header) :]}. "
                    "Put names that contain a separator (such as the comma before a year) in double quotes."
                )
            if _is_filled(row):
                cells = row + [""] * (len(header) - len(row))
                yield reader.line_num + bool(first), dict(zip(header, cells, strict=False))
    except csv.Error as error:
        why = f"{path} cannot be read as a table near line {reader.line_num + bool(first)}: {error}."
        raise broken(f"{why} Shorten the cell, or close its quotation mark.") from None


def _separator(path: Path, text: str, needed: str, broken: type[TaxaforgeError]) -> str:
    """The first separator by which the header has the needed column."""
    for separator in SEPARATORS:
        if _squeeze(needed) in map(_squeeze, _header(text, separator)):
            return separator
    names = ", ".join(repr(name.strip()) for name in _header(text, ",")) or "a first line of endless text"
    shown = names if len(names) <= LONGEST_HEADER else names[:LONGEST_HEADER] + " ..."
    raise broken(
        f"{path} has no column `{needed}`, only {shown}. Name the column so; separate by comma, semicolon or tab."
    )


def _header(text: str, separator: str) -> list[str]:
    """The first row with a filled cell; none where the separator leaves a cell that is too large for one."""
    try:
        return next(filter(_is_filled, csv.reader(io.StringIO(text, newline=""), delimiter=separator)), [])
    except csv.Error:
        return []


def _is_filled(row: list[str]) -> bool:
    return any(map(str.strip, row))


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _text(path: Path, broken: type[TaxaforgeError], setting: str) -> str:
    """The file as text: by its byte order mark; else UTF-8, and Windows-1252 for the lines that are not UTF-8."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise broken(f"{path} does not exist. Set `{setting}` to your table.") from None
    except IsADirectoryError:
        raise broken(f"{path} is a folder. Set `{setting}` to a CSV file.") from None
    except OSError as error:
        raise broken(
            f"{path} cannot be read ({error.strerror}). Give yourself the right to read it, or set `{setting}` to another table."
        ) from None
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            try:
                return raw[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                why = f"{path} starts like {encoding.upper()} but is not (byte {error.start}). Save it again as `CSV UTF-8`."
                raise broken(why) from None
    if b"\0" in raw[:1000]:
        raise broken(f"{path} is no text table, or UTF-16 without its mark. Save it as `CSV UTF-8`.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _line_by_line(path, raw, broken)


def _line_by_line(path: Path, raw: bytes, broken: type[TaxaforgeError]) -> str:
    """Tables pasted together from several sources change their encoding between lines."""
    lines, other = raw.split(b"\n"), []
    for at, line in enumerate(lines):
        try:
            lines[at] = line.decode("utf-8")
        except UnicodeDecodeError:
            other.append(at + 1)
            try:
                lines[at] = line.decode("cp1252")
            except UnicodeDecodeError:
                why = f"{path}: line {at + 1} is neither UTF-8 nor Windows-1252. Save the file again as `CSV UTF-8`."
                raise broken(why) from None
    shown = ", ".join(map(str, other[:10])) + (f" and {len(other) - 10} more" if len(other) > 10 else "")
    print(
        f"{path}: {len(other)} of {len(lines)} lines are not UTF-8 and are read as Windows-1252 (line {shown}). "
        "Look at their accents, or save the file as `CSV UTF-8`.",
        file=sys.stderr,
    )
    return "\n".join(lines)
