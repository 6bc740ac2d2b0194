"""Source `archive`: a whole checklist on disk, read past the list of names instead of into memory.

The first reading keeps the rows that bear a wanted name (or another ending of it, its species, its
genus), the second the accepted taxa and parents that these point to, and looks for names that
resemble those not found. Memory grows with the list; genera and what is above them wait in a
temporary database on disk. Only a checklist that nests species under species is read more often.
"""

import heapq
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.names import Name, edits, fold, parse, plain, stem
from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.sources.dwca import BadArchive, TaxonTable, open_table
from taxaforge.taxonomy.sources.lookup import (
    FAR,
    LIKE,
    Lookup,
    could_be_alike,
    groups_of,
    letters_of,
    taxon_above,
)

CHECKLIST = "archive"
DEEPEST = 60
"""Steps from a species to the root after which a chain of parents counts as a circle."""

BELOW_SPECIES = frozenset(
    {"subspecies", "variety", "subvariety", "form", "forma", "subform", "infraspecific_name", "infrasubspecific_name"}
)


@dataclass(frozen=True, slots=True)
class Taxon:
    """A row that was kept. accepted, parent: ids, "" where none. columns: the ranks that the row itself names."""

    id: str
    canonical: str
    author: str
    rank: str
    status: str
    accepted: str
    parent: str
    columns: tuple[tuple[str, str], ...]


def load(path: str | Path, names: Iterable[Name]) -> Lookup:
    """The part of a checklist that answers for `names`.

    Raises: BadArchive where the file is no checklist, or one identifier stands for two of the kept rows.
    """
    wanted = Wanted(names)
    with Reading(open_table(path)) as reading:
        kept = {}
        higher = set()
        for taxon in reading.first(wanted, higher):
            if kept.setdefault(taxon.id, taxon) != taxon:
                raise BadArchive(
                    f"{path}: taxonID {taxon.id!r} stands for {kept[taxon.id].canonical} and {taxon.canonical}."
                )
        found = {taxon.canonical for taxon in kept.values()} | {stem(taxon.canonical) for taxon in kept.values()}
        lost = {name for name in wanted.names if name not in found and stem(name) not in found}
        taxa, similar = dict(kept), Similar(lost)
        missing = reading.missing(kept.values(), taxa)
        asked: set[str] = set()  # what was looked for and is not there stays dangling
        while missing or similar.waiting:
            met = {taxon.id: taxon for taxon in reading.again(missing, similar)}
            taxa |= met
            asked |= missing
            missing = reading.missing(met.values(), taxa) - asked
        usages = [reading.usage(taxon, taxa) for taxon in kept.values()]
    known = {(usage.rank, usage.canonical) for usage in usages}
    usages += [taxon_above(lineage) for lineage in sorted(higher) if lineage[-1] not in known]
    return Lookup(usages, similar.found())


class Wanted:
    """What to look for. names: canonical names asked. firsts: their first words, folded: one set lookup
    tells most rows of a checklist apart."""

    def __init__(self, names: Iterable[Name]):
        self.names = {name.canonical for name in names if not name.problem}
        words = [name.split() for name in self.names]
        self.firsts = {fold(first) for first, *_ in words}
        self.exact = self.names | {" ".join(parts[:2]) for parts in words} | {parts[0] for parts in words}
        self.stems = {stem(name) for name in self.names if " " in name}
        self.alone = {parts[0] for parts in words}

    def __contains__(self, canonical: str) -> bool:
        return canonical in self.exact or (" " in canonical and stem(canonical) in self.stems)


class Similar:
    """The names that look like those not found, the LIKE nearest each, gathered while rows go by."""

    def __init__(self, names: Iterable[str]):
        self.groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.near: dict[str, set[tuple[int, str]]] = {name: set() for name in names}
        for name in self.near:
            for key in groups_of(name):
                self.groups[key].append((name, letters_of(name)))
        self.waiting = bool(self.near)

    def may_concern(self, text: str) -> bool:
        """By the first two words of a row, before it is taken apart."""
        first, _, rest = text.lstrip("† ").partition(" ")
        second = rest.partition(" ")[0]
        if second[:1].islower():
            return (
                f"{fold(first)} " in self.groups
                or f" {fold(rest.split(' ', 2)[-1])}" in self.groups
                or f" {fold(second)}" in self.groups
            )
        return fold(first)[:2] in self.groups

    def see(self, canonical: str) -> None:
        letters = letters_of(canonical)
        for key in groups_of(canonical):
            for name, theirs in self.groups.get(key, ()):
                if could_be_alike(len(name), theirs, len(canonical), letters):
                    off = edits(fold(name), fold(canonical))
                    if off <= FAR:
                        near = self.near[name]
                        near.add((off, canonical))
                        if len(near) > LIKE:
                            near.remove(max(near))

    def found(self) -> dict[str, tuple[str, ...]]:
        return {name: tuple(other for _, other in heapq.nsmallest(LIKE, near)) for name, near in self.near.items()}


class Reading:
    """One checklist being read. The higher taxa lie in a temporary database that ends with the block."""

    def __init__(self, table: TaxonTable):
        self.table = table
        self.ranked = [rank for rank in RANKS[:-1] if rank in table.terms]
        self.chained = "parentNameUsageID" in table.terms
        self.tree = sqlite3.connect("")  # a file of its own that SQLite removes
        self.tree.execute("CREATE TABLE above (id TEXT PRIMARY KEY, parent TEXT, rank TEXT, name TEXT) WITHOUT ROWID")
        self.species: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        self.times = 0

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *error) -> None:
        self.tree.close()

    def first(self, wanted: Wanted, higher: set[tuple[tuple[str, str], ...]]) -> Iterator[Taxon]:
        """The rows that bear a wanted name; lineages of wanted genera that rows only mention go into `higher`."""
        name_at, rank_at = self.table.terms["scientificName"], self.table.terms.get("taxonRank")
        ranked = [(rank, self.table.terms[rank]) for rank in self.ranked]
        for row in self._rows():
            first = row[name_at].lstrip("† ").partition(" ")[0]
            first = first.lower() if first.isascii() else fold(first)
            if self.chained and (not rank_at or row[rank_at].lower() not in {"species", *BELOW_SPECIES}):
                self._remember(row)
            if first in wanted.firsts and self._canonical(row) in wanted and (taxon := self._taxon(row)):
                yield taxon
            for place, (_, at) in enumerate(ranked):
                if row[at] in wanted.alone:
                    higher.add(tuple((rank, row[i]) for rank, i in ranked[: place + 1] if row[i]))

    def again(self, missing: set[str], similar: Similar) -> Iterator[Taxon]:
        """The rows with the ids that are missing; the other names pass by `similar`, once."""
        id_at, name_at = self.table.terms["taxonID"], self.table.terms["scientificName"]
        look, similar.waiting = similar.waiting, False
        for row in self._rows():
            if row[id_at] in missing and (taxon := self._taxon(row)):
                yield taxon
            if look and similar.may_concern(row[name_at]) and (canonical := self._canonical(row)):
                similar.see(canonical)

    def missing(self, taxa: Iterable[Taxon], known: Mapping[str, Taxon]) -> set[str]:
        """Ids that these taxa point to and nobody has seen yet."""
        taxa = list(taxa)
        parents = {taxon.parent for taxon in taxa if not taxon.accepted and taxon.parent not in known}
        ids = {taxon.accepted for taxon in taxa if taxon.accepted not in known} | {
            id for id in parents if self._above(id) is None
        }
        return ids - {""}

    def usage(self, taxon: Taxon, taxa: Mapping[str, Taxon]) -> Usage:
        """A kept row in the form of an answer, its lineage that of the accepted taxon."""
        accepted, steps = taxon, 0
        while accepted and accepted.accepted and steps < DEEPEST:
            accepted, steps = taxa.get(accepted.accepted), steps + 1
        lineage, species_id = self._lineage(accepted, taxa) if accepted and steps < DEEPEST else ({}, "")
        for rank, name in (*(accepted.columns if accepted else ()), *taxon.columns):
            lineage.setdefault(rank, name)
        return Usage(
            key=f"{CHECKLIST}:{taxon.id}",
            canonical=taxon.canonical,
            author=taxon.author,
            rank=taxon.rank,
            status="HYBRID" if accepted and accepted.status == "HYBRID" else taxon.status,
            lineage={rank: intern(lineage[rank]) for rank in RANKS if rank in lineage},
            species_key=f"{CHECKLIST}:{species_id}" if species_id else "",
        )

    def _lineage(self, taxon: Taxon, taxa: Mapping[str, Taxon]) -> tuple[dict[str, str], str]:
        """Rank -> name from the taxon up to the root, and the id of its species ("" where it has none)."""
        lineage: dict[str, str] = {}
        at, species_id = taxon.id, ""
        for _ in range(DEEPEST):
            here = taxa.get(at)
            parent, rank, name = (here.parent, here.rank, here.canonical) if here else self._above(at) or ("", "", "")
            if rank in RANKS and rank not in lineage:
                lineage[rank] = name
                species_id = at if rank == "species" else species_id
            if not parent:
                break
            at = parent
        if "species" not in lineage and taxon.canonical.count(" ") > 1:  # a checklist without parents: by name
            species_id = self._species_of(taxon, taxa)
            lineage |= {"species": taxa[species_id].canonical} if species_id else {}
        if "species" in lineage:
            lineage.setdefault("genus", lineage["species"].split()[0])
        return lineage, species_id

    def _species_of(self, taxon: Taxon, taxa: Mapping[str, Taxon]) -> str:
        """The id of the accepted species whose name a subspecies carries, in the same kingdom; "" where none is known."""
        if not self.species:
            for other in taxa.values():
                if other.rank == "species" and not other.accepted:
                    self.species[other.canonical, dict(other.columns).get("kingdom")].append(other.id)
        name, kingdom = " ".join(taxon.canonical.split()[:2]), dict(taxon.columns).get("kingdom")
        return min(self.species.get((name, kingdom), ()), default="")

    def _rows(self) -> Iterator[list[str]]:
        """All rows, with as many cells as terms need; says how far it is."""
        width, count = max(self.table.terms.values()) + 1, 0
        self.times += 1
        for row in self.table.rows():
            count += 1
            yield row if len(row) >= width else row + [""] * (width - len(row))
        self.tree.commit()
        print(f"{self.table.path.name}: {count} names read, reading {self.times}", file=sys.stderr)

    def _remember(self, row: list[str]) -> None:
        if name := self._canonical(row):
            parent, rank = self._cell(row, "parentNameUsageID"), self._cell(row, "taxonRank").lower()
            self.tree.execute(
                "INSERT OR IGNORE INTO above VALUES (?, ?, ?, ?)", (self._cell(row, "taxonID"), parent, rank, name)
            )

    def _above(self, id: str) -> tuple[str, str, str] | None:
        """(parent, rank, name) of a higher taxon."""
        return self.tree.execute("SELECT parent, rank, name FROM above WHERE id = ?", (id,)).fetchone()

    def _cell(self, row: list[str], term: str) -> str:
        at = self.table.terms.get(term)
        return self.table.defaults.get(term, "") if at is None else row[at].strip()

    def _taxon(self, row: list[str]) -> Taxon | None:
        """The row in parts; None where it bears no name."""
        id, accepted = self._cell(row, "taxonID"), self._cell(row, "acceptedNameUsageID")
        author, written = self._cell(row, "scientificNameAuthorship"), self._cell(row, "scientificName")
        canonical = self._canonical(row)
        if not (id and canonical):
            return None
        accepted = "" if accepted == id else accepted
        rank = re.sub(r"\W+", "_", self._cell(row, "taxonRank").lower())
        return Taxon(
            id,
            canonical,
            intern(author or parse(written).author),
            intern(rank or ("", "species", "subspecies")[min(canonical.count(" "), 2)]),
            "HYBRID" if "×" in written else status_of(self._cell(row, "taxonomicStatus"), accepted),
            accepted,
            self._cell(row, "parentNameUsageID"),
            tuple((rank, intern(name)) for rank in self.ranked if (name := self._cell(row, rank))),
        )

    def _canonical(self, row: list[str]) -> str:
        """The name without author, from its parts where the checklist has them apart; "" where it is none."""
        genus, epithet = self._cell(row, "genericName"), self._cell(row, "specificEpithet")
        if genus and epithet:
            return " ".join(filter(None, (genus, epithet, self._cell(row, "infraspecificEpithet"))))
        if canonical := self._cell(row, "canonicalName"):
            return canonical
        author = self._cell(row, "scientificNameAuthorship")
        written = self._cell(row, "scientificName").lstrip("† ").removesuffix(author).strip()
        if plain(written):
            return written
        name = parse(written.replace("×", " "))
        return "" if name.qualifier else name.canonical


def status_of(written: str, accepted: str) -> str:
    """A taxonomic status by the words of GBIF, whatever the checklist writes.

    >>> status_of("valid", ""), status_of("unaccepted", "42"), status_of("proParteSynonym", "42")
    ('ACCEPTED', 'SYNONYM', 'PROPARTE_SYNONYM')
    """
    words = re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", written.strip())).upper()
    if "MISAPPLIED" in words:
        return "MISAPPLIED"
    if words.replace("_", "") in {"PROPARTESYNONYM", "AMBIGUOUSSYNONYM"}:
        return "PROPARTE_SYNONYM" if words[0] == "P" else "AMBIGUOUS_SYNONYM"
    if "SYNONYM" in words or accepted:
        return words if "SYNONYM" in words else "SYNONYM"
    return "ACCEPTED" if words in {"", "VALID", "ACCEPTED", "ACCEPTED_NAME"} else words
