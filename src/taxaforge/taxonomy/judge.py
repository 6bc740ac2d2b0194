"""From what was asked and what was answered to one status. Names, ranks and statuses decide; confidence never does.

A source answers *something* for nearly every query: the genus, a name that looks alike in another
genus, a homonym in another kingdom. Only an answer that is the same name (or a spelling of it in
the same genus), that is accepted or a synonym, and that agrees with what the row itself says about
its place gets a status that the usual policy accepts; a family, order or class that differs for the very
same binomial is an opinion, and said in the reason.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from taxaforge.taxonomy import authors
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.hints import agreeing, conflict, irreconcilable, tidy, vouched
from taxaforge.taxonomy.names import Name, edits, fold, stem
from taxaforge.taxonomy.schema import RANKS

AGGREGATES = frozenset({"species_aggregate", "speciesaggregate", "aggregate", "aggr"})
VARIANTS = frozenset({"ending_variant", "spelling_variant", "parent_variant"})
PARENTS = frozenset({"parent_species", "parent_variant"})
SYNONYM_OF_SEVERAL = frozenset({"AMBIGUOUS_SYNONYM", "PRO_PARTE_SYNONYM", "PROPARTE_SYNONYM"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """status: one of schema.STATUSES. usage: the answer it is about, None where no single one is.
    differing: a rank on which list and checklist hold different opinions about it, "" if none."""

    status: str
    reason: str
    usage: Usage | None = None
    differing: str = ""

    def labelled(self, accept: Collection[str]) -> bool:
        """Whether a policy (statuses it accepts) makes this a class: for that a species must be known, too."""
        return self.status in accept and bool(self.usage and self.usage.species_key and "species" in self.usage.lineage)


def relation(query: Name, usage: Usage | None) -> str:
    """How an answered name stands to the asked one.

    Returns: identical, ending_variant (gender, -i/-ii, ae/e), spelling_variant (at most two letters of
    one epithet, same genus), parent_species, parent_variant (a spelling of the parent species),
    parent_genus, higher_taxon, other_genus, other_name, none.
    """
    if usage is None:
        return "none"
    if query.canonical == usage.canonical:
        return "identical"
    asked, found = fold(query.canonical).split(), fold(usage.canonical).split()
    if not found:
        return "none"
    if len(found) < len(asked):
        if found == asked[: len(found)]:
            return "parent_species" if len(found) == 2 else "parent_genus"
        if len(found) == 1 and usage.rank not in {"genus", "subgenus"}:
            return "higher_taxon"
        if found[0] != asked[0]:
            return "other_genus"
        return "parent_variant" if len(found) == 2 and _spelling(asked[:2], found) else "other_name"
    if found[0] != asked[0]:
        return "higher_taxon" if len(found) == 1 and usage.rank not in {"genus", "subgenus"} else "other_genus"
    if len(found) != len(asked):
        return "other_name"
    return _spelling(asked, found) or "other_name"


def _spelling(asked: Sequence[str], found: Sequence[str]) -> str:
    """ending_variant or spelling_variant for folded words of one genus, "" for another name."""
    if stem(" ".join(asked)) == stem(" ".join(found)):
        return "ending_variant"
    off = sum(edits(a, b) for a, b in zip(asked, found, strict=True))
    short = min(map(len, asked[1:])) < 5
    return "spelling_variant" if off <= (1 if short else 2) else ""


def judge(query: Name, hints: Mapping[str, str], answer: Answer) -> Verdict:
    """One verdict for a parsed name, the classification given with it, and the answer of a source.

    The answer may hold candidates of several questions (with and without author and hints): author
    and hints are weighed here, on every candidate, so that a wrong hint shows as a conflict and
    cannot steer the source.
    """
    if query.problem:
        return Verdict(query.problem, query.why)
    hints = tidy(hints)
    return _named(query, hints, answer) or _otherwise(query, hints, answer)


def _named(query: Name, hints: Mapping[str, str], answer: Answer) -> Verdict | None:
    """Where some answer is the name, a spelling of it, or the species of a subspecies; None where there is none."""
    kind, usages, others = _bearers(query, answer)
    if not usages:
        return None
    usages = [usage for usage in usages if usage.status != "MISAPPLIED"] or usages
    usages = [usage for usage in usages if usage.rank not in AGGREGATES] or usages
    fitting = _most(usages, lambda usage: -1 if conflict(hints, usage) else agreeing(hints, usage))
    against = conflict(hints, fitting[0])
    if against and (remedy := _no_opinion(hints, usages, kind)):
        why = f"Known, but not there: {against}. {remedy}"
        return Verdict("hint_conflict", why, usages[0] if len(usages) == 1 else None)
    author = "" if kind in PARENTS else query.author  # there it is the author of the subspecies
    fitting = _most(fitting, lambda usage: authors.agreement(author, usage.author))
    if authors.differ(author, fitting[0].author):
        why = f"Known, but by another author: {fitting[0].author}, not {author}. Correct the author or the name."
        return Verdict("ambiguous_homonym", why)
    if not all(_same_meaning(a, b) for a in fitting for b in fitting):
        taxa = len({usage.species_key or usage.key for usage in fitting})
        why = f"{taxa} taxa bear this name. Add the kingdom, the family or the author to the list."
        return Verdict("ambiguous_homonym", why)
    usage = min(fitting, key=lambda usage: (usage != answer.best, usage.status != "ACCEPTED", usage.key))
    for other in others:
        if not conflict(hints, other) and _off(query, other) <= _off(query, usage) and not _same_meaning(usage, other):
            why = f"{other.canonical} is spelt as nearly as {usage.canonical}. Correct the spelling."
            return Verdict("ambiguous_homonym", why)
    verdict = _settled(query, usage, kind)
    if against:
        return replace(verdict, reason=f"{verdict.reason} Classified differently: {against}.", differing=against)
    return verdict


def _bearers(query: Name, answer: Answer) -> tuple[str, list[Usage], list[Usage]]:
    """The nearest relation in which usages stand to the name, these usages, and others that stand in it but were refused.

    The name itself and the species of a subspecies may be any candidate: that is how homonyms show. A
    spelling has to be what the source settled on (whoever else bears it then counts, too): beside its answer
    it lists what looks alike, and a species of the same genus may look very much alike.
    """
    usages = list({usage.key: usage for usage in reversed(answer.usages)}.values())
    taken = {usage.canonical for usage in answer.settled}
    relations = [relation(query, usage) for usage in usages]
    for kind in ("identical", "ending_variant", "spelling_variant", "parent_species", "parent_variant"):
        found = [usage for usage, own in zip(usages, relations, strict=True) if own == kind]
        bearers = [usage for usage in found if kind not in VARIANTS or usage.canonical in taken]
        if bearers:
            return kind, bearers, [usage for usage in found if usage not in bearers]
    return "", [], []


def _off(query: Name, usage: Usage) -> int:
    """Letters between the asked and the answered name."""
    return edits(fold(query.canonical), fold(usage.canonical))


def _no_opinion(hints: Mapping[str, str], usages: Sequence[Usage], kind: str) -> str:
    """What to do about a contradiction; "" where list and checklist only classify one species differently.

    Codes of nomenclature keep a binomial unique, so the very name in the same kingdom is the same species,
    whatever family it is put in; unless the checklist itself has it twice. That it is the same kingdom must
    be said by a rank above.
    """
    one = kind == "identical" and " " in usages[0].canonical
    if not one or any(irreconcilable(hints, usage) for usage in usages):
        return "Correct or delete the classification in the list."
    if not all(_same_meaning(a, b) for a in usages for b in usages):
        return "Correct or delete the classification in the list."
    if not all(vouched(hints, usage) for usage in usages):
        return "If it is the same species, add its kingdom to the list, or delete the column that differs."
    return ""


def _most(usages: Sequence[Usage], points) -> list[Usage]:
    """Those with the most points."""
    given = [points(usage) for usage in usages]
    return [usage for usage, own in zip(usages, given, strict=True) if own == max(given)]


def _same_meaning(a: Usage, b: Usage) -> bool:
    """Whether two candidates stand for one taxon, so that either may be taken.

    Their places must not contradict each other, and they have one accepted species; or, where a
    checklist holds a name twice, the same name, unless both are accepted and by different authors:
    these are homonyms.
    """
    if any(a.lineage[rank] != b.lineage[rank] for rank in RANKS[:5] if rank in a.lineage and rank in b.lineage):
        return False
    if a.species_key and a.species_key == b.species_key:
        return True
    rivals = a.status == b.status == "ACCEPTED" and a.key != b.key and not authors.certainly_same(a.author, b.author)
    return fold(_lowest(a)) == fold(_lowest(b)) and not rivals


def _lowest(usage: Usage) -> str:
    return usage.lineage.get("species") or usage.canonical


def _settled(query: Name, usage: Usage, kind: str) -> Verdict:
    """The verdict on the one taxon that the name stands for."""
    species = usage.lineage.get("species")
    above = [usage.lineage[rank] for rank in RANKS[:-1] if rank in usage.lineage]
    if not (species and usage.species_key):
        return _above_species(query, usage)
    if usage.status == "MISAPPLIED":
        return Verdict("misapplied", f"Used for {species} by mistake. Write the species that is meant.", usage)
    if usage.status in SYNONYM_OF_SEVERAL:
        why = "A synonym of several species. Write the accepted name that is meant."
        return Verdict("ambiguous_homonym", why, usage)
    repeated = len(set(above)) < len(above) or fold(species).split()[0] in map(fold, above[:-1])
    if usage.rank in AGGREGATES or repeated:
        why = "The checklist has an aggregate or a broken lineage here. Decide by hand."
        return Verdict("provisional", why, usage)
    if usage.status == "HYBRID":
        return Verdict("provisional", "A hybrid in the checklist, or a synonym of one. Decide by hand.", usage)
    if usage.status != "ACCEPTED" and "SYNONYM" not in usage.status:
        why = f"The checklist itself doubts this name ({usage.status.lower()}). Decide by hand."
        return Verdict("provisional", why, usage)
    moved = "" if fold(species) == fold(usage.canonical) else f"Accepted as {species}."
    if kind in PARENTS or query.qualifier:
        spelt = f"Spelt {usage.canonical} there. " if kind == "parent_variant" else ""
        why = f"{query.verbatim.strip()} is not in the checklist; its species is. {spelt}{moved}".strip()
        return Verdict("rolled_up_to_species", why, usage)
    if kind != "identical":
        why = f"Spelt {usage.canonical} in the checklist. {moved}".strip()
        return Verdict("orthographic_variant", why, usage)
    if usage.status == "ACCEPTED":
        return Verdict("exact_accepted", moved or "The accepted name.", usage)
    genus = fold(species).split()[0] != fold(usage.canonical).split()[0]
    why = (moved or f"A synonym inside {species}.") + " Another genus: look at relatives in your list." * genus
    return Verdict("exact_synonym", why, usage)


def _above_species(query: Name, usage: Usage) -> Verdict:
    """Where the taxon found has no species."""
    if " " in usage.canonical:
        why = f"The checklist names no accepted species for {usage.canonical} ({usage.status.lower()}). Decide by hand."
        return Verdict("provisional", why, usage)
    status = "rolled_up_to_genus" if usage.rank in {"genus", "subgenus"} else "higher_only"
    if query.qualifier:
        why = f"{query.qualifier!r} leaves the species open; only the {usage.rank} {usage.canonical} is certain."
    else:
        why = f"{usage.canonical} is a {usage.rank}, not a species. Write the species."
        if re.fullmatch(r"[^\W\d_]{3,}", query.author):
            why += f" Is {query.author!r} the epithet? Write it in lower case."
    return Verdict(status, why, usage)


def _otherwise(query: Name, hints: Mapping[str, str], answer: Answer) -> Verdict:
    """Where no answer is the name asked for."""
    best, kind = answer.best, relation(query, answer.best)
    if kind in {"none", "other_name", "higher_taxon"}:  # a hint alone may have been answered: is the genus known?
        genera = [usage for usage in answer.usages if relation(query, usage) == "parent_genus"]
        if genera:
            kind = "parent_genus"
            best = _most(genera, lambda usage: -1 if conflict(hints, usage) else agreeing(hints, usage))[0]
    if kind in {"parent_genus", "higher_taxon"} and (against := conflict(hints, best)):
        return Verdict("hint_conflict", f"Only {best.canonical} is known, and not there: {against}.", best)
    if kind == "parent_genus":
        why = f"The genus is known, {query.canonical} is not. Check the spelling."
        return Verdict("rolled_up_to_genus", why + _like(query, answer), best)
    if kind == "higher_taxon":
        why = f"Only {best.canonical} ({best.rank}) is known. Check the spelling."
        return Verdict("higher_only", why + _like(query, answer), best)
    if kind == "other_genus":
        why = f"The nearest name is {best.canonical}, in another genus. Check the spelling."
        return Verdict("fuzzy_other_genus", why, best)
    why = _like(query, answer) or " Check the spelling, or ask another checklist."
    return Verdict("no_match", "Not in the checklist." + why)


def _like(query: Name, answer: Answer) -> str:
    """The names that look alike and were not taken, as the end of a reason."""
    near = {(_off(query, usage), usage.canonical) for usage in answer.usages if relation(query, usage) in VARIANTS}
    names = answer.similar or [name for _, name in sorted(near)[:3]]
    return f" Similar: {', '.join(names)}." if names else ""
