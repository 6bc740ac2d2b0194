"""Occurrences and their media from a Darwin Core archive that GBIF prepared, in the shape of search results.

Format, as written by GBIF (gbif/occurrence @6dd3c0e, DwcArchiveUtils.java; gbif/tech-docs @6759a20,
download-formats): a zip with meta.xml, occurrence.txt (core, one interpreted occurrence a row) and multimedia.txt
(rows of http://rs.gbif.org/terms/1.0/Multimedia: gbifID, type, format, identifier, references, title,
description, created, creator, contributor, publisher, audience, source, license, rightsHolder), tab-separated,
UTF-8, lines ended by \\n, no quotes, one header line; lists joined by ";". meta.xml says which column is which term.
Taxonomic columns follow the checklist that the download was requested with; nothing in the archive names it.
"""

import sqlite3
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.keys import CHECKLISTS, TaxonKey

OCCURRENCE = "http://rs.tdwg.org/dwc/terms/Occurrence"
MULTIMEDIA = "http://rs.gbif.org/terms/1.0/Multimedia"
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
PLAIN = (
    "gbifID", "datasetKey", "occurrenceID", "basisOfRecord", "recordedBy", "eventDate", "countryCode", "license",
    "references", "publisher", "rightsHolder", "scientificName", "verbatimScientificName", "taxonRank", "lifeStage", "sex",
    "informationWithheld",
)  # fmt: skip
NUMBERS = ("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters")
TERMS = (*PLAIN, *NUMBERS, "issue", "recordedByID", *RANKS, *(f"{rank}Key" for rank in RANKS))
MEDIA = (  # their order is that of an occurrence's media: by address
    "identifier", "type", "format", "references", "title", "description", "created", "creator", "contributor",
    "publisher", "audience", "source", "license", "rightsHolder",
)  # fmt: skip


class BrokenArchive(TaxaforgeError):
    """The file is no Darwin Core archive of GBIF, or not a whole one."""


class ArchiveOfAnotherChecklist(TaxaforgeError):
    """The archive's taxa have keys of another checklist than the species that are asked for."""


@dataclass(frozen=True)
class _Table:
    """A data file of the archive.

    id_at: place of the occurrence's id. places: of the terms that are wanted and that it has, by their short names.
    defaults: what meta.xml says of all rows alike. header_lines: to skip. width: cells of a row.
    """

    name: str
    id_at: int
    places: Mapping[str, int]
    defaults: Mapping[str, str]
    header_lines: int
    width: int

    def pick(self, cells: list[str]) -> str:
        """The wanted cells of a row, still as text."""
        return "\t".join([cells[place] for place in self.places.values()])

    def named(self, picked: str) -> dict[str, str]:
        """What `pick` kept, by short names; empty cells left out, as the service does."""
        row = self.defaults | dict(zip(self.places, picked.split("\t"), strict=True))
        return {name: cell for name, cell in row.items() if cell}


def records(archive: Path, keys: Mapping[str, TaxonKey]) -> Iterator[tuple[str, dict]]:
    """(species, occurrence) of the species asked for, sorted by species and gbifID, whatever the archive's order.

    An occurrence belongs to a species if its `speciesKey` is the species' key. Nothing else is filtered: who asks
    for some countries or years only must look at the record. Empty cells are left out, as the service does;
    `classifications` holds the classification of the archive under the checklist of `keys`. The rows wait in a
    temporary file, so that memory does not grow with the archive.

    Args:
        keys: species -> key; all of one checklist.
    Raises: BrokenArchive; ArchiveOfAnotherChecklist.
    """
    checklists = {key.checklist for key in keys.values()}
    if len(checklists) > 1:
        raise ArchiveOfAnotherChecklist(f"One archive cannot have keys of {' and '.join(sorted(checklists))}.")
    if not keys:
        return
    with tempfile.TemporaryDirectory(prefix="taxaforge-archive-") as folder:
        shelf = sqlite3.connect(Path(folder) / "records.sqlite", isolation_level=None)
        try:
            shelf.execute("PRAGMA journal_mode = OFF")
            shelf.execute("PRAGMA synchronous = OFF")
            shelf.execute("PRAGMA cache_size = -65536")  # KiB
            shelf.execute("BEGIN")
            checklist = checklists.pop()
            core, media = _fill(shelf, Path(archive), keys, checklist)
            for species, row, items in _sorted(shelf):
                record = _record(core.named(row), checklist)
                yield species, record | {"media": [media.named(item) for item in items]}
        finally:
            shelf.close()


def _fill(
    shelf: sqlite3.Connection, archive: Path, keys: Mapping[str, TaxonKey], checklist: str
) -> tuple[_Table, _Table]:
    """Puts the rows that are asked for on the shelf; returns what their cells mean."""
    shelf.execute("CREATE TABLE owner (id TEXT PRIMARY KEY, species TEXT) WITHOUT ROWID")
    shelf.execute("CREATE TABLE occurrence (species TEXT, id TEXT, cells TEXT)")
    shelf.execute("CREATE TABLE media (species TEXT, id TEXT, cells TEXT)")
    species_of = {key.key: species for species, key in keys.items()}
    try:
        with zipfile.ZipFile(archive) as zipped:
            core, media = _described(zipped)
            digits, letters, key_at = 0, 0, core.places["speciesKey"]
            for cells in _rows(zipped, core, archive):
                key = cells[key_at]
                digits, letters = digits + key.isdigit(), letters + bool(key and not key.isdigit())
                if key in species_of:
                    number, species = cells[core.id_at], species_of[key]
                    shelf.execute("INSERT INTO owner VALUES (?, ?)", (number, species))
                    shelf.execute("INSERT INTO occurrence VALUES (?, ?, ?)", (species, number, core.pick(cells)))
            _same_checklist(archive, checklist, species_of, digits, letters)
            for cells in _rows(zipped, media, archive):
                shelf.execute(
                    "INSERT INTO media SELECT species, id, ? FROM owner WHERE id = ?",
                    (media.pick(cells), cells[media.id_at]),
                )
    except sqlite3.IntegrityError:
        raise BrokenArchive(f"{archive}: a gbifID appears twice in the occurrences. {_REMEDY}") from None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, UnicodeDecodeError, RuntimeError) as error:
        # RuntimeError: zipfile's word for an encrypted member
        raise BrokenArchive(f"{archive} cannot be read ({type(error).__name__}: {error}). {_REMEDY}") from None
    return core, media


def _sorted(shelf: sqlite3.Connection) -> Iterator[tuple[str, str, list[str]]]:
    """(species, cells of an occurrence, cells of each of its media)"""
    # gbifIDs are numbers: by length, then by digits, is their order as numbers and an order for any other id.
    order = "ORDER BY species, length(id), id"
    media = shelf.execute(f"SELECT id, cells FROM media {order}, cells")
    waiting = media.fetchone()
    for species, number, cells in shelf.execute(f"SELECT species, id, cells FROM occurrence {order}"):
        items = []
        while waiting and waiting[0] == number:
            items.append(waiting[1])
            waiting = media.fetchone()
        yield species, cells, items


def _same_checklist(archive: Path, checklist: str, asked: Mapping[str, str], digits: int, letters: int) -> None:
    """Keys of the Backbone are numbers, those of COL nearly never: enough to notice the wrong archive."""
    if checklist == "gbif_backbone" and letters:
        other = "col_xr"
    elif checklist == "col_xr" and digits and not letters and not all(key.isdigit() for key in asked):
        other = "gbif_backbone"
    else:
        return
    raise ArchiveOfAnotherChecklist(
        f"{archive} has the taxa of {other}, the run those of {checklist}. Request the download with checklistKey "
        f"{CHECKLISTS[checklist]} at its root and in its taxon filter, or set `taxonomy.checklist: {other}`."
    )


def _record(row: Mapping[str, str], checklist: str) -> dict:
    """A row of occurrence.txt as the occurrence search would return it."""
    lineage = [
        {"key": row[f"{rank}Key"], "name": row.get(rank, ""), "rank": rank.upper()}
        for rank in RANKS
        if row.get(f"{rank}Key")
    ]
    numbers = {name: number for name in NUMBERS if (number := _number(row.get(name))) is not None}
    people = [{"value": one} for one in _listed(row.get("recordedByID"))]
    return (
        {name: row[name] for name in PLAIN if row.get(name)}
        | numbers
        | {"issues": _listed(row.get("issue")), "recordedByIDs": people}
        | {"classifications": {CHECKLISTS[checklist]: {"classification": lineage}}}
    )


def _listed(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(";") if part.strip()]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _described(zipped: zipfile.ZipFile) -> tuple[_Table, _Table]:
    """Occurrences and their interpreted media, as meta.xml describes them."""
    where = zipped.filename
    try:
        root = ElementTree.fromstring(zipped.read("meta.xml"))
    except KeyError:
        raise BrokenArchive(f"{where} has no meta.xml: it is no Darwin Core archive. {_REMEDY}") from None
    except ElementTree.ParseError as error:
        raise BrokenArchive(f"{where}: meta.xml cannot be read ({error}). {_REMEDY}") from None
    tables = {}
    for kind in ("core", "extension"):
        for element in root.iterfind(f"{{*}}{kind}"):
            try:
                table = _table(element, where, TERMS if kind == "core" else MEDIA)
            except ValueError as error:  # a place that is no number
                raise BrokenArchive(f"{where}: meta.xml cannot be read ({error}). {_REMEDY}") from None
            # The publisher's own words, if they were asked for, lie in verbatim.txt and verbatim/.
            if not table.name.startswith("verbatim"):
                tables.setdefault((kind, element.get("rowType")), table)
    core, media = tables.get(("core", OCCURRENCE)), tables.get(("extension", MULTIMEDIA))
    if core is None or media is None or "speciesKey" not in core.places:
        raise BrokenArchive(f"{where} has no occurrences with speciesKey, or no multimedia. {_REMEDY}")
    missing = {table.name for table in (core, media)} - set(zipped.namelist())
    if missing:
        raise BrokenArchive(f"{where} lacks {' and '.join(sorted(missing))}, which its meta.xml names. {_REMEDY}")
    return core, media


def _table(element: ElementTree.Element, where: str, wanted: Collection[str]) -> _Table:
    names = [location.text or "" for location in element.iterfind("{*}files/{*}location")]
    marker = element.find("{*}id")
    marker = element.find("{*}coreid") if marker is None else marker
    separator, quote = element.get("fieldsTerminatedBy", ","), element.get("fieldsEnclosedBy", '"')
    if len(names) != 1 or marker is None or separator not in ("\\t", "\t") or quote:
        raise BrokenArchive(f"{where}: {names} is not one table of plain tab-separated text with an id. {_REMEDY}")
    columns: dict[str, int] = {}
    defaults: dict[str, str] = {}
    for entry in element.iterfind("{*}field"):
        name = (entry.get("term") or "").rpartition("/")[2].rpartition("#")[2]
        if entry.get("index") is not None:
            columns.setdefault(name, int(entry.get("index")))
        elif entry.get("default") is not None:
            defaults.setdefault(name, entry.get("default"))
    id_at, header_lines = int(marker.get("index", 0)), int(element.get("ignoreHeaderLines", 0))
    width = 1 + max([id_at, *columns.values()])
    places = {name: columns[name] for name in wanted if name in columns}
    defaults = {name: defaults[name] for name in wanted if name in defaults}
    return _Table(names[0], id_at, places, defaults, header_lines, width)


def _rows(zipped: zipfile.ZipFile, table: _Table, archive: Path) -> Iterator[list[str]]:
    with zipped.open(table.name) as raw:
        for number, line in enumerate(raw, 1):  # bytes end their lines at \n only; text would at ten other characters
            if number <= table.header_lines:
                continue
            cells = line.decode("utf-8").rstrip("\n").split("\t")
            if len(cells) < table.width:
                raise BrokenArchive(
                    f"{archive}: line {number} of {table.name} has {len(cells)} columns, not {table.width}. {_REMEDY}"
                )
            yield cells


_REMEDY = "Download it from GBIF again, in the format Darwin Core Archive."
