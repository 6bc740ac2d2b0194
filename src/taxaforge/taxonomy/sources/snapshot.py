"""The offline source: a small table of names that ships with the project, or a larger one of your own."""

import csv
import difflib
from collections import defaultdict
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.names import Name, stem
from taxaforge.taxonomy.schema import RANKS

COLUMNS = (
    "taxonID", "scientificName", "scientificNameAuthorship", "taxonRank", "taxonomicStatus", "acceptedScientificName", *RANKS,
)  # fmt: skip


class BadSnapshot(TaxaforgeError):
    """The offline taxonomy contradicts itself or is no such table."""


class Snapshot:
    """Names of a table, asked like a name service: `snapshot(name) -> Answer`.

    Exact names first, then the same name with another ending; then the species of a subspecies, then
    the genus. Names that only look alike are offered for review and never taken.
    """

    def __init__(self, usages: list[Usage]):
        self.exact, self.stems = defaultdict(list), defaultdict(list)
        for usage in usages:
            self.exact[usage.canonical].append(usage)
            self.stems[stem(usage.canonical)].append(usage)
        for name, usage in _above(usages):
            self.exact[name].append(usage)

    def __call__(self, query: Name) -> Answer:
        words = query.canonical.split()
        if found := self.exact.get(query.canonical):
            return _answer(found, "EXACT")
        if len(words) > 1 and (found := self.stems.get(stem(query.canonical))):
            return _answer(found, "VARIANT")
        similar = tuple(difflib.get_close_matches(query.canonical, sorted(self.exact), n=3, cutoff=0.85))
        for shorter in (" ".join(words[:2]), words[0]):
            if shorter != query.canonical and (found := self.exact.get(shorter)):
                answer = _answer(found, "HIGHERRANK")
                return Answer(answer.best, answer.others, answer.match_type, similar=similar)
        return Answer(match_type="NONE", similar=similar)


def _answer(found: list[Usage], match_type: str) -> Answer:
    best, *others = sorted(found, key=lambda usage: usage.key)
    return Answer(best, tuple(others), match_type)


def _above(usages: list[Usage]):
    """Genera and everything above, as far as the lineages of the table name them: (name, usage) once each."""
    seen = set()
    for usage in usages:
        names = [(rank, usage.lineage[rank]) for rank in RANKS[:-1] if rank in usage.lineage]
        for place, (rank, name) in enumerate(names):
            lineage = tuple(names[: place + 1])
            if lineage not in seen:
                seen.add(lineage)
                yield name, Usage("/".join(n for _, n in lineage), name, "", rank, "ACCEPTED", dict(lineage))


def load(path: str | Path) -> Snapshot:
    """The table at `path`: one row a name, columns COLUMNS, UTF-8.

    Raises: BadSnapshot where the file or a column is missing, a taxonID is empty or stands twice, or
    an accepted name has no row of its own in the same kingdom.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
            rows = list(reader)
    except FileNotFoundError:
        raise BadSnapshot(f"{path} does not exist. Set `taxonomy.snapshot` to an offline taxonomy.") from None
    except UnicodeDecodeError:
        raise BadSnapshot(f"{path} is not UTF-8. Save it again as `CSV UTF-8`.") from None
    if missing:
        raise BadSnapshot(f"{path} lacks the columns {', '.join(missing)}.")
    keys, accepted = set(), {}
    for number, row in enumerate(rows, 2):
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
    return Snapshot([_usage(path, number, row, accepted) for number, row in enumerate(rows, 2)])


def _usage(path: Path, number: int, row: dict, accepted: dict) -> Usage:
    species = accepted.get((row["species"], row["kingdom"]))
    if row["acceptedScientificName"] not in (row["species"], row["scientificName"]) or species is None:
        raise BadSnapshot(
            f"{path}, line {number}: the accepted name of {row['scientificName']} is {row['acceptedScientificName']!r} in species "
            f"{row['species']!r}, but {row['kingdom'] or 'no kingdom'} has no such accepted species in the table. Add its row."
        )
    return Usage(
        key=row["taxonID"],
        canonical=row["scientificName"],
        author=row["scientificNameAuthorship"],
        rank=row["taxonRank"].lower(),
        status=row["taxonomicStatus"].upper(),
        lineage={rank: row[rank] for rank in RANKS if row[rank]},
        species_key=species,
    )
