"""Decisions of a person over the review list: read, bound to the candidates they were made over, applied or refused."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy import sheets
from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.judge import Verdict
from taxaforge.taxonomy.names import normalise
from taxaforge.taxonomy.taxa_list import Entry

COLUMNS = (
    "verbatimScientificName", "hints", "decision", "taxonID", "decidedBy", "decidedOn", "reason", "candidateSet",
)  # fmt: skip
FILLED = ("verbatimScientificName", "decision", "decidedBy", "decidedOn", "reason", "candidateSet")
DECISIONS = ("accept", "exclude")


class BadOverrides(TaxaforgeError):
    """The table of decisions is incomplete, or decides over something that is not there."""


@dataclass(frozen=True, slots=True)
class Override:
    """One line of the table; columns as in COLUMNS."""

    line: int
    name: str
    hints: str
    decision: str
    taxon: str
    by: str
    on: str
    reason: str
    candidates: str


@dataclass(frozen=True, slots=True)
class Decision:
    """verdict: what holds. computed: the status before a person spoke. label: may be used as a class.
    flag: why an override was not applied, "" if there is none or it was."""

    verdict: Verdict
    computed: str
    label: bool
    flag: str = ""


def candidate_set(answer: Answer | None) -> str:
    """Fingerprint of what a person could choose from: 16 hex digits over the sorted keys and statuses.

    A checklist that adds, drops or re-judges a candidate changes it; the order of the answer does not.
    """
    seen = sorted({f"{usage.key} {usage.status}" for usage in (answer.usages if answer else ())})
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def read(path: str | Path) -> list[Override]:
    """The decisions in their order.

    Raises: BadOverrides for a missing column or cell, another decision than accept and exclude, a day
    that is none, an acceptance without taxonID, two decisions over one name.
    """
    path, found = Path(path), {}
    for line, cells in sheets.rows(path, COLUMNS[0], COLUMNS[1:], BadOverrides, "taxonomy.overrides"):
        if absent := [name for name in COLUMNS if name not in cells]:
            raise BadOverrides(f"{path} has no column {', '.join(absent)}. Its columns are {', '.join(COLUMNS)}.")
        cells = {name: cells[name].strip() for name in COLUMNS}  # a key may hold an underscore: only the name is tidied
        cells[COLUMNS[0]] = normalise(cells[COLUMNS[0]])
        where = f"{path}, line {line} ({cells['verbatimScientificName']!r})"
        if empty := [name for name in FILLED if not cells[name]]:
            raise BadOverrides(f"{where}: {', '.join(empty)} is empty. Who decided, when and why must be said.")
        if cells["decision"] not in DECISIONS:
            raise BadOverrides(f"{where}: decision is {cells['decision']!r}. Write accept or exclude.")
        if cells["decision"] == "accept" and not cells["taxonID"]:
            raise BadOverrides(f"{where}: accept needs the taxonID of the species that is meant.")
        try:
            date.fromisoformat(cells["decidedOn"])
        except ValueError:
            why = f"{where}: decidedOn is {cells['decidedOn']!r}. Write the day as 2026-11-20."
            raise BadOverrides(why) from None
        override = Override(line, *(cells[name] for name in COLUMNS))
        other = found.setdefault((override.name, _plain(override.hints)), override)
        if other is not override:
            raise BadOverrides(f"{where}: line {other.line} decides over the same name. Keep one of them.")
    return list(found.values())


class Overrides:
    """Decisions, asked row by row."""

    def __init__(self, path: str | Path | None):
        self.path = path
        self.by_name = {(o.name, _plain(o.hints)): o for o in read(path)} if path else {}
        self.used: set[int] = set()

    def decide(self, entry: Entry, computed: Verdict, answer: Answer | None, accept: Collection[str]) -> Decision:
        """The decision over a row: the computed verdict under the policy, unless a person decided over these candidates."""
        override = self.by_name.get((normalise(entry.name), _plain(entry.said))) if self.by_name else None
        if override is None:
            return Decision(computed, computed.status, computed.labelled(accept))
        self.used.add(override.line)
        if override.candidates.lower() != (now := candidate_set(answer)):
            flag = (
                f"The decision of {override.by} on {override.on} was made over other candidates ({override.candidates}, "
                f"now {now}) and is not applied. Decide again."
            )
            return Decision(computed, computed.status, computed.labelled(accept), flag)
        why = f"Decided by {override.by} on {override.on}: {override.reason}"
        if override.decision == "exclude":
            return Decision(Verdict("override", why, computed.usage), computed.status, label=False)
        return Decision(Verdict("override", why, self._chosen(override, computed, answer)), computed.status, label=True)

    def _chosen(self, override: Override, computed: Verdict, answer: Answer | None):
        offered = [
            usage for usage in (answer.usages if answer else ()) if usage.species_key and "species" in usage.lineage
        ]
        chosen = [usage for usage in offered if usage.species_key == override.taxon]
        if not chosen:
            species = (
                ", ".join(sorted({f"{usage.species_key} ({usage.lineage['species']})" for usage in offered})) or "none"
            )
            raise BadOverrides(
                f"{self.path}, line {override.line} ({override.name!r}): {override.taxon} is not among the candidates' species: "
                f"{species}. Choose one of them, or correct the name in the list."
            )
        return computed.usage if computed.usage in chosen else min(chosen, key=lambda usage: usage.key)

    def check_used(self, entries: Sequence[Entry]) -> None:
        """Raises BadOverrides for a decision over a name that the list does not hold."""
        for override in self.by_name.values():
            if override.line not in self.used:
                said = {entry.said or "none" for entry in entries if normalise(entry.name) == override.name}
                known = f" The list gives it with hints: {' or '.join(sorted(said))}." if said else ""
                raise BadOverrides(
                    f"{self.path}, line {override.line}: no row of the list is {override.name!r} with hints "
                    f"{override.hints or 'none'}.{known} Copy both from review.csv, or delete the line."
                )


def _plain(hints: str) -> str:
    """Hints without differences of blanks and of how accents are encoded."""
    return ";".join(part.strip() for part in normalise(hints).split(";") if part.strip())
