"""From what was asked and what was answered to one status. Names, ranks and statuses decide; confidence never does.

A source answers *something* for nearly every query: the genus, a name that looks alike in another
genus, a homonym in another kingdom. Only an answer that is the same name (or a spelling of it in
the same genus), that is accepted or a synonym, and that agrees with what the row itself says about
kingdom to genus becomes a label.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.names import Name, authors_differ, edits, fold, stem
from taxaforge.taxonomy.schema import LABEL, RANKS

SAME_KINGDOM = {
    "animal": "animalia", "animals": "animalia", "metazoa": "animalia",
    "plant": "plantae", "plants": "plantae", "viridiplantae": "plantae", "archaeplastida": "plantae",
    "fungus": "fungi", "bacterium": "bacteria", "eubacteria": "bacteria", "monera": "bacteria",
    "virus": "viruses", "viridae": "viruses", "archaebacteria": "archaea", "protist": "protozoa", "protista": "protozoa",
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """status: one of schema.STATUSES. usage: the answer it is about; with a label, the one it comes from."""

    status: str
    reason: str
    usage: Usage | None = None
    candidates: tuple[str, ...] = ()

    @property
    def label(self) -> bool:
        return self.status in LABEL


def relation(query: Name, usage: Usage | None) -> str:
    """How an answered name stands to the asked one.

    Returns: identical, ending_variant (gender, -i/-ii, ae/e), spelling_variant (at most two letters of
    one epithet, same genus), parent_species, parent_genus, higher_taxon, other_genus, other_name, none.
    """
    if usage is None:
        return "none"
    asked, found = fold(query.canonical).split(), fold(usage.canonical).split()
    if query.canonical == usage.canonical:
        return "identical"
    if len(found) < len(asked):
        if found == asked[: len(found)]:
            return "parent_species" if len(found) == 2 else "parent_genus"
        if len(found) == 1 and usage.rank not in {"genus", "subgenus"}:
            return "higher_taxon"
        return "other_genus" if found[0] != asked[0] else "other_name"
    if found[0] != asked[0]:
        return "other_genus"
    if len(found) != len(asked):
        return "other_name"
    if stem(query.canonical) == stem(usage.canonical):
        return "ending_variant"
    off = [edits(a, b) for a, b in zip(asked, found, strict=True)]
    short = min(len(word) for word in asked[1:]) < 5
    return "spelling_variant" if sum(off) <= (1 if short else 2) else "other_name"


def conflict(hints: Mapping[str, str], usage: Usage) -> str:
    """The first rank on which the row and the answer disagree, as a phrase; "" if none. Unknown ranks agree."""
    for rank in RANKS[:-1]:
        if rank not in hints or rank not in usage.lineage:
            continue
        said = fold(hints[rank]).split()[0].rstrip(",")  # some lists write authors here
        found = {fold(usage.lineage[rank])} | ({fold(usage.canonical.split()[0])} if rank == "genus" else set())
        if SAME_KINGDOM.get(said, said) not in found:
            return f"{rank} {hints[rank]} in the list, {usage.lineage[rank]} in the answer"
    return ""


def judge(query: Name, hints: Mapping[str, str], answer: Answer) -> Verdict:
    """One verdict for a parsed name, the classification given with it, and the answer of a source.

    The answer may come from a question without author and without hints: both are weighed here, on
    every candidate, so that a wrong hint shows as a conflict and cannot steer the source.
    """
    candidates = tuple(sorted({str(usage) for usage in answer.usages})) + answer.similar
    status, reason, usage = query.problem, query.why, None
    if not status:
        status, reason, usage = _named(query, hints, answer) or _otherwise(query, hints, answer)
    return Verdict(status, reason, usage, candidates)


Found = tuple[str, str, Usage | None]


def _named(query: Name, hints: Mapping[str, str], answer: Answer) -> Found | None:
    """Where some answer is the name, a spelling of it, or the species of a subspecies; None where there is none."""
    for kind in ("identical", "ending_variant", "spelling_variant", "parent_species"):
        usages = [usage for usage in answer.usages if relation(query, usage) == kind]
        if usages:
            break
    else:
        return None
    usages = [usage for usage in usages if usage.status != "MISAPPLIED"] or usages
    fitting = [usage for usage in usages if not conflict(hints, usage)]
    if not fitting:
        why = f"Known, but not there: {conflict(hints, usages[0])}. Correct or delete the classification in the list."
        return "hint_conflict", why, usages[0] if len(usages) == 1 else None
    author = "" if kind == "parent_species" else query.author  # there it is the author of the subspecies
    same_author = [usage for usage in fitting if not authors_differ(author, usage.author)]
    if not same_author:
        why = f"Known, but by another author: {fitting[0].author}, not {author}. Correct the author or the name."
        return "ambiguous_homonym", why, None
    if len(meanings := {_meaning(usage) for usage in same_author}) > 1:
        why = f"{len(meanings)} taxa bear this name. Add the kingdom, the family or the author to the list."
        return "ambiguous_homonym", why, None
    usage = min(same_author, key=lambda usage: (usage.status != "ACCEPTED", usage.key))
    return _settled(query, usage, kind)


def _meaning(usage: Usage) -> tuple:
    """What the usage stands for: two candidates of one meaning are no ambiguity."""
    lowest = usage.lineage.get("species") or usage.canonical
    return fold(lowest), usage.lineage.get("kingdom"), usage.lineage.get("family")


def _settled(query: Name, usage: Usage, kind: str) -> Found:
    """The status of the one taxon that the name stands for."""
    species = usage.lineage.get("species")
    above = [usage.lineage[rank] for rank in RANKS[:-1] if rank in usage.lineage]
    if not (species and usage.species_key):
        return *_above_species(query, usage), usage
    if usage.status == "MISAPPLIED":
        return "misapplied", f"Used for {species} by mistake. Write the species that is meant.", usage
    if usage.status in {"AMBIGUOUS_SYNONYM", "PRO_PARTE_SYNONYM"}:
        return "ambiguous_homonym", "A synonym of several species. Write the accepted name that is meant.", usage
    if (
        usage.rank == "species_aggregate"
        or len(set(above)) < len(above)
        or fold(species).split()[0] in map(fold, above[:-1])
    ):
        return "provisional", "The checklist has an aggregate or a broken lineage here. Decide by hand.", usage
    if usage.status != "ACCEPTED" and "SYNONYM" not in usage.status:
        return "provisional", f"The checklist itself doubts this name ({usage.status.lower()}). Decide by hand.", usage
    moved = "" if fold(species) == fold(usage.canonical) else f"Accepted as {species}."
    if kind == "parent_species" or query.qualifier:
        return (
            "rolled_up_to_species",
            f"{query.verbatim.strip()} is not in the checklist; its species is. {moved}".strip(),
            usage,
        )
    if kind != "identical":
        return "orthographic_variant", f"Spelt {usage.canonical} in the checklist. {moved}".strip(), usage
    if usage.status == "ACCEPTED":
        return "exact_accepted", moved or "The accepted name.", usage
    genus = (
        " Another genus: look at relatives in your list." if species.split()[0] != usage.canonical.split()[0] else ""
    )
    return "exact_synonym", (moved or f"A synonym inside {species}.") + genus, usage


def _above_species(query: Name, usage: Usage) -> tuple[str, str]:
    if query.qualifier:
        why = f"{query.qualifier!r} leaves the species open; only the genus {usage.canonical} is certain."
    else:
        why = f"{usage.canonical} is a {usage.rank}, not a species. Write the species."
    return ("rolled_up_to_genus" if usage.rank in {"genus", "subgenus"} else "higher_only"), why


def _otherwise(query: Name, hints: Mapping[str, str], answer: Answer) -> Found:
    """Where no answer is the name asked for."""
    best, kind = answer.best, relation(query, answer.best)
    if kind in {"parent_genus", "higher_taxon"} and (against := conflict(hints, best)):
        return "hint_conflict", f"Only {best.canonical} is known, and not there: {against}.", best
    if kind == "parent_genus":
        return "rolled_up_to_genus", f"The genus is known, {query.canonical} is not. Check the spelling.", best
    if kind == "higher_taxon":
        return "higher_only", f"Only {best.canonical} ({best.rank}) is known. Check the spelling.", best
    if kind == "other_genus":
        return "fuzzy_other_genus", f"The nearest name is {best.canonical}, in another genus. Check the spelling.", best
    if answer.similar:
        return "no_match", f"Not in the checklist. Similar: {', '.join(answer.similar)}.", None
    return "no_match", "Not in the checklist. Check the spelling, or ask another checklist.", None
