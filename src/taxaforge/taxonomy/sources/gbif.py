"""The name service of GBIF, `/v2/species/match`, through pygbif.

One question a name: the canonical name alone, `verbose`, with the checklist stated. Author and hints
stay at home: sent along, a wrong hint turns an insect into a shrub and a wrong author loses the rank,
while all candidates come back anyway and `judge` weighs them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.names import Name
from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.transport import CHECKLISTS, Transport, api_base, installed, user_agent


@contextmanager
def session(checklist: str, timeout_s: float, tries: int, contact: str) -> Iterator[Callable[[Name], Answer]]:
    """`ask(name) -> Answer` while the block is open; a question without an answer raises a GbifError."""
    with installed(Transport(api_base(), user_agent(contact), timeout_s, tries)):
        from pygbif import species  # late, see transport.installed

        def ask(name: Name) -> Answer:
            body = species.name_backbone(
                scientificName=name.canonical, verbose=True, checklistKey=CHECKLISTS[checklist]
            )
            return read_answer(body, checklist)

        yield ask


def read_answer(body: dict, checklist: str) -> Answer:
    """A v2 body in our form. Empty members are left out by the server, so every access may find nothing."""
    diagnostics = body["diagnostics"]
    others = [usage for other in diagnostics.get("alternatives", ()) if (usage := read_usage(other, checklist))]
    return Answer(read_usage(body, checklist), tuple(others), diagnostics["matchType"], diagnostics.get("confidence"))


def read_usage(match: dict, checklist: str) -> Usage | None:
    """The matched name of an answer or of one of its alternatives; None for no match.

    The lineage belongs to the accepted taxon. Its SPECIES entry is the label; where the list stops
    above it, an accepted species stands for itself.
    """
    usage = match.get("usage")
    if not usage:
        return None
    named = {entry["rank"].lower(): (entry["name"], entry["key"]) for entry in match.get("classification", ())}
    standing = match.get("acceptedUsage") or usage
    if standing.get("rank") == "SPECIES":
        named.setdefault("species", (_canonical(standing), standing["key"]))
    return Usage(
        key=f"{checklist}:{usage['key']}",
        canonical=_canonical(usage),
        author=usage.get("authorship", ""),
        rank=usage.get("rank", "unranked").lower(),
        status=usage.get("status", "UNKNOWN"),
        lineage={rank: named[rank][0] for rank in RANKS if rank in named},
        species_key=f"{checklist}:{named['species'][1]}" if "species" in named else "",
    )


def _canonical(usage: dict) -> str:
    return usage.get("canonicalName") or usage["name"]
