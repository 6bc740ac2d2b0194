"""The name service of GBIF, `/v2/species/match`, through pygbif.

First the whole question: name, author and classification, `verbose`, with the checklist stated. Where the
answer is not the name, the question itself may be why: a wrong hint turns an insect into a shrub, a wrong
author loses the rank. So it is put again without the classification, then without the author too, and all
candidates go to `judge`, who weighs author and hints on each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from taxaforge.taxonomy.answers import Answer, Evidence, Usage
from taxaforge.taxonomy.hints import spoken
from taxaforge.taxonomy.judge import relation
from taxaforge.taxonomy.keys import CHECKLISTS
from taxaforge.taxonomy.names import NULL_TOKENS, Name, fold, is_hybrid, normalise
from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.transport import open_service, speaking

Ask = Callable[[Name, Mapping[str, str]], Answer]

HINTS = (*RANKS[:-1], "taxonRank")
"""What a question may carry besides name and author. Never a key: the service would ignore the name beside it."""


@contextmanager
def session(checklist: str, network: Mapping) -> Iterator[Ask]:
    """`ask(name, hints) -> Answer` while the block is open.

    checklist: col_xr or gbif_backbone. network: section `network`, and "offline".
    A question without an answer raises a GbifError; what was answered before it is in the store.
    """
    transport = open_service(network)

    def ask(name: Name, hints: Mapping[str, str]) -> Answer:
        answers, evidence = [], []
        for question in questions(name, hints):
            with speaking(transport):
                from pygbif import species  # late, see transport

                body = species.name_backbone(**question, verbose=True, checklistKey=CHECKLISTS[checklist])
            answers.append(read_answer(body, checklist))
            evidence.append(transport.last)
            if relation(name, answers[-1].best) == "identical":
                break
        return _together(answers, evidence)

    try:
        yield ask
    finally:
        transport.close()


def _together(answers: Sequence[Answer], evidence: Sequence[Evidence]) -> Answer:
    """The answer to the full question, and beside it every other candidate of it and of the questions after it."""
    first, others = answers[0], {}
    for usage in (usage for answer in answers for usage in answer.usages):
        if first.best is None or usage.key != first.best.key:
            others.setdefault(usage.key, usage)
    bests = tuple(others[key] for key in dict.fromkeys(a.best.key for a in answers[1:] if a.best) if key in others)
    return Answer(
        first.best, tuple(others.values()), first.match_type, first.confidence, evidence=tuple(evidence), bests=bests
    )


def questions(name: Name, hints: Mapping[str, str]) -> list[dict[str, str]]:
    """Parameters of the question in full, then with less and less: at most three, all different.

    Raises: ValueError for a name without a name: the service would answer its classification.
    """
    if not name.canonical:
        raise ValueError(f"{name.verbatim!r} is nothing to ask for")
    bare = {"scientificName": _spelt(name)}
    signed = bare | ({"scientificNameAuthorship": name.author} if name.author and not name.qualifier else {})
    said = spoken(hints)
    given = {rank: normalise(said[rank]) for rank in HINTS if rank in said}
    placed = {_parameter(rank): value for rank, value in given.items() if fold(value) not in NULL_TOKENS}
    asked = []
    for question in (signed | placed, signed, bare):
        if question not in asked:
            asked.append(question)
    return asked


def _spelt(name: Name) -> str:
    """The canonical name, with its rank marker if it has one: a variety and a subspecies may share their epithets."""
    *above, last = name.canonical.split()
    return " ".join([*above, f"{name.marker}.", last]) if name.marker and len(above) == 2 else name.canonical


def _parameter(rank: str) -> str:
    return "class_" if rank == "class" else rank


def read_answer(body: dict, checklist: str) -> Answer:
    """A v2 body in our form. Empty members are left out by the server, so every access may find nothing."""
    diagnostics = body["diagnostics"]
    others = [usage for other in diagnostics.get("alternatives", ()) if (usage := read_usage(other, checklist))]
    return Answer(read_usage(body, checklist), tuple(others), diagnostics["matchType"], diagnostics.get("confidence"))


def read_usage(match: dict, checklist: str) -> Usage | None:
    """The matched name of an answer or of one of its alternatives; None for no match.

    The lineage belongs to the accepted taxon. Its SPECIES entry is the label; where the list stops
    above it, an accepted species stands for itself. A hybrid, and a synonym of one, has status HYBRID whatever
    the service says: its canonical name does not show the sign.
    """
    usage = match.get("usage")
    if not usage:
        return None
    named = {entry["rank"].lower(): (entry["name"], entry["key"]) for entry in match.get("classification", ())}
    standing = match.get("acceptedUsage") or usage
    if standing.get("rank") == "SPECIES":
        named.setdefault("species", (_canonical(standing), standing["key"]))
    hybrid = any(is_hybrid(name) for name in (usage["name"], standing["name"], named.get("species", ("",))[0]))
    return Usage(
        key=f"{checklist}:{usage['key']}",
        canonical=_canonical(usage),
        author=usage.get("authorship", ""),
        rank=usage.get("rank", "unranked").lower(),
        status="HYBRID" if hybrid else usage.get("status", "UNKNOWN"),
        lineage={rank: named[rank][0] for rank in RANKS if rank in named},
        species_key=f"{checklist}:{named['species'][1]}" if "species" in named else "",
    )


def _canonical(usage: dict) -> str:
    return usage.get("canonicalName") or usage["name"]
