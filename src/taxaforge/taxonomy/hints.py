"""The classification that a row of the list brings along: tidied, and compared with an answer."""

from collections.abc import Mapping

from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.names import fold
from taxaforge.taxonomy.schema import RANKS

KINGDOMS = {
    "animalia": "animal animals metazoa",
    "plantae": "plant plants viridiplantae archaeplastida embryophyta",
    "fungi": "fungus mycota eumycota",
    "bacteria": "bacterium eubacteria monera bacillati pseudomonadati fusobacteriati thermotogati",
    "archaea": "archaebacteria archaeon methanobacteriati nanobdellati promethearchaeati thermoproteati",
    "protozoa": "protist protists protista",
    "chromista": "chromist chromists stramenopila stramenopiles",
    "viruses": "virus viridae",
}
"""One kingdom, many words: what lists and checklists write for it (the Catalogue of Life divides the bacteria since 2025)."""

_ONE_WORD = {word: kingdom for kingdom, words in KINGDOMS.items() for word in (kingdom, *words.split())}
_SAYS_NOTHING = {"eukaryota", "eukarya", "eukaryotes", "biota", "life"}


def tidy(hints: Mapping[str, str]) -> dict[str, str]:
    """Hints as a source should hear them: the name without its author, kingdoms by one word, whatever says nothing left out.

    >>> tidy({"kingdom": "METAZOA", "order": "Lepidoptera, Linnaeus", "genus": "Eukaryota"})
    {'kingdom': 'Animalia', 'order': 'Lepidoptera'}
    """
    out = {}
    for rank in RANKS[:-1]:
        words = hints.get(rank, "").split()
        name = words[0].rstrip(",;.") if words else ""
        if not name or fold(name) in _SAYS_NOTHING:
            continue
        if rank == "kingdom":
            name = _ONE_WORD.get(fold(name), name)
        out[rank] = name[:1].upper() + name[1:].lower()
    return out


def agreeing(hints: Mapping[str, str], usage: Usage) -> int:
    """On how many ranks an answer says the same as the tidied hints."""
    return sum(rank in usage.lineage and _same(rank, hints[rank], usage) for rank in hints)


OPINION = frozenset({"class", "order", "family"})
"""Ranks on which good classifications disagree about one and the same species; two of them differ in the family of one binomial in fourteen."""


def conflict(hints: Mapping[str, str], usage: Usage) -> str:
    """The first rank on which the tidied hints and the answer disagree, as a phrase; "" if none. Unknown ranks agree."""
    return next(
        (f"{rank} {hints[rank]} in the list, {usage.lineage[rank]} in the answer" for rank in _against(hints, usage)),
        "",
    )


def irreconcilable(hints: Mapping[str, str], usage: Usage) -> bool:
    """Whether they disagree on a rank that is no matter of opinion: kingdom, phylum, genus."""
    return not set(_against(hints, usage)) <= OPINION


def _against(hints: Mapping[str, str], usage: Usage) -> list[str]:
    return [
        rank for rank in RANKS[:-1] if rank in hints and rank in usage.lineage and not _same(rank, hints[rank], usage)
    ]


def _same(rank: str, said: str, usage: Usage) -> bool:
    said, found = fold(said), fold(usage.lineage[rank])
    if rank == "kingdom":
        return _ONE_WORD.get(said, said) == _ONE_WORD.get(found, found)
    return said == found or (
        rank == "genus" and fold(usage.canonical).split()[:1] == [said]
    )  # the genus before it moved
