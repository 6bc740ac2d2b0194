"""What became of each name of the list, and the tables that tell it."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.judge import Verdict, relation
from taxaforge.taxonomy.names import Name, fold, normalise
from taxaforge.taxonomy.overrides import candidate_set
from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.sources import listed
from taxaforge.taxonomy.taxa_list import Entry


class OneNameTwoSpecies(TaxaforgeError):
    """Two accepted species of the list share their name, or one stands in two places: no label can tell them apart."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one row of the list.

    entry, name: what was asked. answer: of the label's authority, None where nobody was asked.
    verdict: what holds. computed: the status without a person. label: may be a class. flag: an
    override that does not fit any more. lineage: of the label, {} without one. filled: its ranks from
    the other checklist. agreement, other: what the other checklist means, None where it was not asked
    or settles on no species.
    """

    entry: Entry
    name: Name
    answer: Answer | None
    verdict: Verdict
    computed: str
    label: bool
    flag: str
    lineage: Mapping[str, str]
    filled: str
    agreement: str | None
    other: Usage | None

    @property
    def taxon(self) -> str:
        """taxonID of the label."""
        return self.verdict.usage.species_key

    @property
    def species(self) -> str:
        return self.lineage["species"]


def taxa_row(outcome: Outcome, source: str) -> dict:
    """A row of table TAXA."""
    entry, answer, usage, other = outcome.entry, outcome.answer, outcome.verdict.usage, outcome.other
    of = listed.lineage_source(usage) if source == listed.CHECKLIST and usage else source
    return {
        "row": entry.row,
        "verbatimName": entry.name,
        "status": outcome.verdict.status,
        "computedStatus": outcome.computed,
        "label": outcome.label,
        "taxonID": outcome.taxon if outcome.label else None,
        "scientificName": outcome.lineage.get("species"),
        "taxonRank": "species" if outcome.label else None,
        **{rank: outcome.lineage.get(rank) for rank in RANKS},
        "reason": outcome.verdict.reason,
        "source": source,
        "lineageSource": of if outcome.label else None,
        "filledFrom": outcome.filled or None,
        "agreement": outcome.agreement,
        "otherTaxonID": other.species_key if other else None,
        "otherScientificName": other.lineage["species"] if other else None,
        "matchedKey": usage.key if usage else None,
        "matchedName": usage.canonical if usage else None,
        "matchedRank": usage.rank if usage else None,
        "matchedStatus": usage.status if usage else None,
        "matchType": answer.match_type if answer else None,
        "confidence": answer.confidence if answer else None,
        "identificationQualifier": outcome.name.qualifier or None,
        "vernacularName": entry.vernacular,
        "hints": entry.said,
    }


def review_row(outcome: Outcome) -> dict:
    """A row of table REVIEW."""
    answer = outcome.answer or Answer()
    offered = (*sorted({_shown(usage) for usage in answer.usages}), *answer.similar)
    return {
        "row": outcome.entry.row,
        "verbatimName": outcome.entry.name,
        "status": outcome.verdict.status,
        "reason": f"{outcome.flag} {outcome.verdict.reason}".strip(),
        "candidates": " | ".join(offered),
        "hints": outcome.entry.said,
        "candidateSet": candidate_set(answer),
    }


def _shown(usage: Usage) -> str:
    """A candidate; the last key in brackets is what an override takes as taxonID, where there is a species."""
    return f"{usage} of [{usage.species_key}]" if usage.species_key not in ("", usage.key) else str(usage)


def distinct_species(outcomes: Sequence[Outcome]) -> list[dict]:
    """The classes of the run: each accepted species once, sorted by kingdom to species.

    Independent of the order of the list: of several vernacular names the one given with the accepted
    name wins, then the first in the alphabet; of several lineages the most complete, then the first.
    Raises: OneNameTwoSpecies.
    """
    found: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.label:
            found[outcome.taxon].append(outcome)
    classes = []
    for taxon, same in found.items():
        named = sorted((o.verdict.status != "exact_accepted", o.entry.vernacular) for o in same if o.entry.vernacular)
        lineages = sorted(
            {tuple(o.lineage.get(rank, "") for rank in RANKS) for o in same}, key=lambda t: (t.count(""), t)
        )
        if taxon.startswith(
            f"{listed.CHECKLIST}:"
        ):  # a checklist has its reasons, a list contradicts itself by mistake
            for lineage in lineages[1:]:
                _check_one_place(lineages[0], lineage, same)
        lineage = {rank: name or None for rank, name in zip(RANKS, lineages[0], strict=True)}
        classes.append({**lineage, "taxonID": taxon, "vernacularName": named[0][1] if named else None})
    for name, times in Counter(record["species"] for record in classes).items():
        if times > 1:
            rows = [o.entry for o in outcomes if o.label and o.species == name]
            written = ", ".join(f"{entry.name!r} (row {entry.row})" for entry in rows[:6])
            raise OneNameTwoSpecies(
                f"{written} are {times} different taxa, all called {name}. Keep one of them: classes are told apart by name."
            )
    return sorted(classes, key=lambda record: tuple(record[rank] or "" for rank in RANKS))


def _check_one_place(a: Sequence[str], b: Sequence[str], rows: Sequence[Outcome]) -> None:
    for rank, ours, theirs in zip(RANKS, a, b, strict=True):
        if ours and theirs and ours != theirs:
            numbers = ", ".join(str(o.entry.row) for o in rows[:6])
            raise OneNameTwoSpecies(
                f"{rows[0].species} stands in {rank} {ours} and in {rank} {theirs} (rows {numbers}). "
                "Give it one place in the list."
            )


def collisions(outcomes: Sequence[Outcome]) -> Iterator[dict]:
    """Rows of table COLLISIONS: the names of the list that became one species, species by species."""
    together: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.label:
            together[outcome.taxon].append(outcome)
    for taxon, same in sorted(together.items(), key=lambda item: (item[1][0].species, item[0])):
        if len(same) < 2:
            continue
        times = Counter(fold(normalise(o.entry.name)) for o in same)
        for outcome in sorted(same, key=lambda o: o.entry.row):
            repeated = times[fold(normalise(outcome.entry.name))] > 1
            yield {
                "taxonID": taxon,
                "scientificName": outcome.species,
                "row": outcome.entry.row,
                "verbatimName": outcome.entry.name,
                "kind": "same_name" if repeated else _kind(outcome),
            }


def _kind(outcome: Outcome) -> str:
    usage, name = outcome.verdict.usage, outcome.name
    if name.rank == "infraspecific" or usage.canonical.count(" ") > 1 or name.qualifier:
        return "infraspecific"
    if relation(name, usage) != "identical":
        return "variant"
    return "accepted" if fold(usage.canonical) == fold(outcome.species) else "synonym"


def provenance(answers: Mapping[str, Mapping[tuple, Answer]]) -> list[dict]:
    """Rows of table PROVENANCE: one for each request behind an answer, whether it went out or was in the store."""
    rows = {}
    for checklist, found in answers.items():
        for (canonical, author, *_), answer in found.items():
            for evidence in answer.evidence:
                row = {
                    "query": f"{canonical} {author}".strip(),
                    "checklist": checklist,
                    "request": evidence.request,
                    "release": evidence.release,
                    "retrievedAt": evidence.retrievedAt,
                    "tries": evidence.tries,
                    "sha256": evidence.sha256,
                }
                rows[row["query"], checklist, evidence.request] = row
    return [rows[key] for key in sorted(rows)]


def ledger(outcomes: Sequence[Outcome], species: int) -> dict:
    """Counts that reconcile: `in` is the sum over the statuses."""
    return {
        "in": len(outcomes),
        "statuses": dict(sorted(Counter(outcome.verdict.status for outcome in outcomes).items())),
        "species": species,
    }
