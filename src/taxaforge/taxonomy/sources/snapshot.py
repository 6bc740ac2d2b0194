"""The offline source: a small table of names that ships with the project, or a larger one of your own."""

import csv
from collections.abc import Iterator
from pathlib import Path
from sys import intern

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.sources.lookup import Lookup, above

COLUMNS = (
    "taxonID", "scientificName", "scientificNameAuthorship", "taxonRank", "taxonomicStatus", "acceptedScientificName", *RANKS,
)  # fmt: skip


class BadSnapshot(TaxaforgeError):
    """The offline taxonomy contradicts itself or is no such table."""


def load(path: str | Path) -> Lookup:
    """The table at `path`: one row a name, columns COLUMNS, UTF-8.

    Raises: BadSnapshot where the file or a column is missing, a taxonID is empty or stands twice, or
    an accepted name has no row of its own in the same kingdom.
    """
    path = Path(path)
    keys, accepted = set(), {}
    for number, row in _rows(path):
        if not row["taxonID"] or row["taxonID"] in keys:
            raise BadSnapshot(f"{path}, line {number}: taxonID {row['taxonID']!r} is empty or stands there twice.")
        keys.add(row["taxonID"])
        if row["taxonomicStatus"].upper() == "ACCEPTED" and row["taxonRank"].lower() == "species":
            name = row["scientificName"], row["kingdom"]
            if name in accepted or row["species"] != row["scientificName"]:
                raise BadSnapshot(
                    f"{path}, line {number}: {name[0]} is accepted twice in {name[1]}, or `species` is another name."
                )
            accepted[name] = row["taxonID"]
    usages = [_usage(path, number, row, accepted) for number, row in _rows(path)]
    return Lookup([*usages, *above(usages)])


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    """(line, row) one after the other; the table is read twice rather than kept."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
                raise BadSnapshot(f"{path} lacks the columns {', '.join(missing)}.")
            for row in reader:
                if not row["scientificName"].strip():
                    raise BadSnapshot(f"{path}, line {reader.line_num}: no scientificName.")
                yield reader.line_num, row
    except FileNotFoundError:
        raise BadSnapshot(f"{path} does not exist. Set `taxonomy.snapshot` to an offline taxonomy.") from None
    except IsADirectoryError:
        raise BadSnapshot(f"{path} is a folder. Set `taxonomy.snapshot` to a CSV file.") from None
    except OSError as error:
        raise BadSnapshot(
            f"{path} cannot be read ({error.strerror}). Give yourself the right to read it, or set `taxonomy.snapshot` to another."
        ) from None
    except UnicodeDecodeError:
        raise BadSnapshot(f"{path} is not UTF-8. Save it again as `CSV UTF-8`.") from None
    except csv.Error as error:
        why = f"{path} cannot be read as CSV near line {reader.line_num}: {error}."
        raise BadSnapshot(f"{why} Shorten the cell, or close its quotation mark.") from None


def _usage(path: Path, number: int, row: dict, accepted: dict) -> Usage:
    species = accepted.get((row["species"], row["kingdom"]))
    if row["acceptedScientificName"] not in (row["species"], row["scientificName"]) or species is None:
        raise BadSnapshot(
            f"{path}, line {number}: the accepted name of {row['scientificName']} is {row['acceptedScientificName']!r} in species "
            f"{row['species']!r}, but {row['kingdom'] or 'no kingdom'} has no such accepted species in the table. Add its row."
        )
    return Usage(
        key=row["taxonID"],
        canonical=intern(row["scientificName"]),
        author=intern(row["scientificNameAuthorship"]),
        rank=intern(row["taxonRank"].lower()),
        status=intern(row["taxonomicStatus"].upper()),
        lineage={rank: intern(row[rank]) for rank in RANKS if row[rank]},
        species_key=species,
    )
