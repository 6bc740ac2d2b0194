"""The taxon table of a checklist, row by row: a Darwin Core archive (zip with meta.xml) or a table with a header."""

import csv
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from taxaforge.errors import TaxaforgeError

LONGEST_HEADER = 1_000_000
"""Letters after which a first line is none."""

MOST_COLUMNS = 10_000

NEEDED = ("taxonID", "scientificName")


class BadArchive(TaxaforgeError):
    """The checklist cannot be read as one."""


@dataclass(frozen=True)
class TaxonTable:
    """A table that can be read again and again.

    path: the file. members: its tables inside the zip, () for a plain file. terms: Darwin Core term
    without its namespace -> index of the cell. defaults: term -> value that meta.xml gives for all rows.
    encoding, delimiter, quote, skip: how the text is written, and how many header lines it has.
    """

    path: Path
    members: tuple[str, ...]
    terms: Mapping[str, int]
    encoding: str
    delimiter: str
    quote: str
    skip: int
    defaults: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> Iterator[list[str]]:
        """Every row as its cells, one at a time. Raises: BadArchive naming the line."""
        for member in self.members or ("",):
            where = f"{self.path} {member}".strip()
            with _text(self.path, member, self.encoding) as file:
                reader = _reader(file, self.delimiter, self.quote)
                try:
                    for at, row in enumerate(reader):
                        if at >= self.skip and row:
                            yield row
                except csv.Error as error:
                    why = f"{where} cannot be read near line {reader.line_num}: {error}."
                    raise BadArchive(f"{why} Shorten the cell, or close its quotation mark.") from None
                except UnicodeError:
                    why = f"{where} is not {self.encoding} after line {reader.line_num}. Save it again as UTF-8."
                    raise BadArchive(why) from None


def open_table(path: str | Path) -> TaxonTable:
    """The taxon table of the checklist at `path`.

    Raises: BadArchive where there is none, or it has no taxonID or scientificName.
    """
    path = Path(path)
    with _readable(path):
        if not path.is_file():
            why = "is a folder" if path.is_dir() else "does not exist"
            raise BadArchive(f"{path} {why}. Set `taxonomy.archive` to a Darwin Core archive (zip) or its taxon table.")
        if not zipfile.is_zipfile(path):
            return _by_header(path, "")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    meta = next((name for name in names if name.rsplit("/", 1)[-1] == "meta.xml"), None)
    if meta:
        return _by_meta(path, meta)
    tables = [name for name in names if name.lower().endswith((".csv", ".tsv", ".txt"))]
    tables = [name for name in tables if "taxon" in name.lower()] or tables
    if len(tables) != 1:
        raise BadArchive(f"{path} has no meta.xml and {len(tables)} tables. Give the taxon table alone.")
    return _by_header(path, tables[0])


def _by_header(path: Path, member: str) -> TaxonTable:
    """A table whose first line names its columns."""
    with _text(path, member, "utf-8-sig") as file:
        try:
            head = file.readline(LONGEST_HEADER)
        except UnicodeError:
            raise BadArchive(f"{path} {member}".strip() + " is not UTF-8. Save it again as UTF-8.") from None
    for delimiter in "\t,;":
        # tab-separated checklists do not quote, and quotation marks stand in their names
        quote = "" if delimiter == "\t" else '"'
        try:
            header = [_term(name) for name in next(_reader(io.StringIO(head, newline=""), delimiter, quote), [])]
        except csv.Error:  # a cell without an end: no header by this delimiter
            continue
        if set(NEEDED) <= set(header):
            terms = {name: at for at, name in enumerate(header) if name}
            return TaxonTable(path, (member,) if member else (), terms, "utf-8-sig", delimiter, quote, 1)
    raise BadArchive(
        f"{path} {member} has no columns {' and '.join(NEEDED)} in its first line: {head[:200].strip()!r}."
    )


def _by_meta(path: Path, meta: str) -> TaxonTable:
    """A table described by meta.xml, which follows the Darwin Core text guide (https://dwc.tdwg.org/text/)."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        try:
            root = ElementTree.fromstring(archive.read(meta))
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # the others: an encoding that nobody knows
            raise BadArchive(f"{path}: meta.xml is no XML ({error}). Download the archive again.") from None
    parts = [part for part in root if _local(part.tag) in {"core", "extension"}]
    taxon = [part for part in parts if _local(part.get("rowType", "")) == "Taxon"]
    if not taxon:
        found = ", ".join(_local(part.get("rowType", "?")) for part in parts) or "nothing"
        raise BadArchive(f"{path} is no checklist: meta.xml describes {found}, but no Taxon table.")
    part, terms, defaults = taxon[0], {}, {}
    folder = meta.rpartition("/")[0]
    members = [element.text.strip() for element in part.iter() if _local(element.tag) == "location" and element.text]
    for element in part:
        if _local(element.tag) in {"id", "coreid"}:
            terms.setdefault("taxonID", _number(path, element, "index", MOST_COLUMNS))
        elif _local(element.tag) == "field":
            term = _local(element.get("term", ""))
            if element.get("index") is not None:
                terms[term] = _number(path, element, "index", MOST_COLUMNS)
            elif element.get("default"):
                defaults[term] = element.get("default")
    if not members or not set(NEEDED) <= set(terms):
        raise BadArchive(f"{path}: the Taxon table has no {' or no '.join(NEEDED)} in meta.xml.")
    delimiter, quote = _plain(part.get("fieldsTerminatedBy", ",")), _plain(part.get("fieldsEnclosedBy", '"'))
    if len(delimiter) != 1 or len(quote) > 1 or delimiter == quote or {delimiter, quote} & {"\n", "\r"}:
        raise BadArchive(
            f"{path}: meta.xml separates cells by {delimiter!r} and encloses them by {quote!r}; each must be one character, and not the "
            "same one. Write the table again with tabs and without quotes, and say so in meta.xml."
        )
    return TaxonTable(
        path,
        tuple(f"{folder}/{member}".lstrip("/") for member in members),
        terms,
        _encoding(path, part.get("encoding") or "utf-8"),
        delimiter,
        quote,
        _number(path, part, "ignoreHeaderLines", sys.maxsize),
        defaults,
    )


def _encoding(path: Path, name: str) -> str:
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)
    except (LookupError, ValueError):
        raise BadArchive(
            f"{path}: meta.xml names the encoding {name!r}, which there is none of. Write the right one, such as UTF-8."
        ) from None
    return name


def _number(path: Path, element: ElementTree.Element, attribute: str, most: int) -> int:
    """A count or an index in meta.xml; 0 where it says nothing."""
    text = (element.get(attribute) or "0").strip()
    if not (text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise BadArchive(
            f"{path}: meta.xml has {attribute}={text[:50]!r}, which is no number from 0 to {most}. Correct it there."
        )
    return int(text)


@contextmanager
def _text(path: Path, member: str, encoding: str) -> Iterator[io.TextIOBase]:
    """The text of the file, or of a member of the zip that it is. Raises: BadArchive, while it is read, too."""
    with _readable(path):
        if not member:
            with path.open(encoding=encoding, newline="") as file:
                yield file
            return
        with zipfile.ZipFile(path) as archive:
            try:
                raw = archive.open(member)
            except KeyError:
                raise BadArchive(f"{path} has no {member}, which its meta.xml names.") from None
            with raw, io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
                yield file


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Whatever keeps a file from being read, as a BadArchive."""
    try:
        yield
    except OSError as error:
        raise BadArchive(
            f"{path} cannot be read ({error.strerror or error}). Give yourself the right to read it, or set `taxonomy.archive` to another."
        ) from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
        # RuntimeError: zipfile's word for a password, and for a way of packing that it does not know
        raise BadArchive(f"{path} is damaged or locked ({error}). Download it again, unpacked if need be.") from None


def _reader(file: io.TextIOBase, delimiter: str, quote: str) -> Iterator[Sequence[str]]:
    if quote:
        return csv.reader(file, delimiter=delimiter, quotechar=quote)
    return csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)


def _term(name: str) -> str:
    return _local(name.strip().rpartition(":")[2])


def _local(name: str) -> str:
    """`http://rs.tdwg.org/dwc/terms/taxonID` and `{namespace}core` without what stands before."""
    return name.rpartition("}")[2].rpartition("/")[2].rpartition("#")[2]


def _plain(text: str) -> str:
    """`\\t` in meta.xml is a backslash and a letter."""
    return text.replace("\\t", "\t").replace("\\n", "\n")
