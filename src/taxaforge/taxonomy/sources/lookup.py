"""Names held in memory, asked like a name service; what the offline sources have in common."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.names import Name, edits, fold, stem
from taxaforge.taxonomy.schema import RANKS

LIKE = 3
"""Similar names shown at most."""

FAR = 2
"""Letters by which a word may differ and still look alike."""


class Lookup:
    """`lookup(name, hints) -> Answer` from a list of usages; the hints are weighed by the judge, on every candidate.

    Exact names first, then the same name with another ending; then the species of a subspecies, then
    the genus. Names that only look alike are offered for review and never taken.
    """

    def __init__(self, usages: Iterable[Usage], similar: Mapping[str, tuple[str, ...]] | None = None):
        """similar: names that look like one that is not there; None: they are looked for among the usages."""
        self.exact, self.stems, self.similar = defaultdict(list), defaultdict(list), similar
        for usage in usages:
            self.exact[usage.canonical].append(usage)
            if " " in usage.canonical:
                self.stems[stem(usage.canonical)].append(usage)

    @cached_property
    def alike(self) -> "Alike":
        """Built when the first name is not found; most lists never need it."""
        return Alike(self.exact)

    def __call__(self, query: Name, hints: Mapping[str, str] | None = None) -> Answer:
        words = query.canonical.split()
        if found := self.exact.get(query.canonical):
            return answered(found, "EXACT")
        if len(words) > 1 and (found := self.stems.get(stem(query.canonical))):
            return answered(found, "VARIANT")
        similar = self.alike(query.canonical) if self.similar is None else self.similar.get(query.canonical, ())
        for shorter in (" ".join(words[:2]), words[0]):
            if shorter != query.canonical and (found := self.exact.get(shorter)):
                return answered(found, "HIGHERRANK", similar)
        return Answer(match_type="NONE", similar=similar)


def answered(found: Iterable[Usage], match_type: str, similar: tuple[str, ...] = ()) -> Answer:
    """The smallest key as the best, so that the order of a table decides nothing; the others are as good."""
    best, *others = sorted(found, key=lambda usage: usage.key)
    return Answer(best, rest := tuple(others), match_type, similar=similar, bests=rest)


def above(usages: Iterable[Usage]) -> Iterator[Usage]:
    """Genera and everything above, as far as the lineages name them, once each."""
    seen = set()
    for usage in usages:
        names = [(rank, usage.lineage[rank]) for rank in RANKS[:-1] if rank in usage.lineage]
        for place in range(len(names)):
            lineage = tuple(names[: place + 1])
            if lineage not in seen:
                seen.add(lineage)
                yield taxon_above(lineage)


def taxon_above(lineage: tuple[tuple[str, str], ...]) -> Usage:
    """The last of (rank, name) pairs, a taxon that is known only from lineages; its place is its key."""
    rank, name = lineage[-1]
    return Usage("/".join(n for _, n in lineage), name, "", rank, "ACCEPTED", dict(lineage))


class Alike:
    """Finds names that share a word with the asked one and differ in the rest by at most FAR letters.

    Near-linear in practice: names are grouped by their first and by their last word, and sets of
    letters are compared before the letters themselves.
    """

    def __init__(self, names: Iterable[str]):
        self.groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            for key in groups_of(name):
                self.groups[key].append(name)

    def __call__(self, name: str) -> tuple[str, ...]:
        """The nearest names, nearest first, then by the alphabet."""
        letters = letters_of(name)
        group = (other for key in groups_of(name) for other in self.groups.get(key, ()))
        return nearest(name, (o for o in group if could_be_alike(len(name), letters, len(o), letters_of(o))))


def groups_of(name: str) -> tuple[str, ...]:
    """Under which a name is kept: its first and its last word; the first two letters where it is one word."""
    first, *rest = fold(name).split()
    return (f"{first} ", f" {rest[-1]}") if rest else (first[:2],)


@lru_cache(maxsize=100_000)
def letters_of(name: str) -> int:
    """The letters of a name as bits; a letter put in, left out or changed flips at most two."""
    bits = 0
    for c in fold(name):
        bits |= 1 << (ord(c) & 31)
    return bits


def could_be_alike(length: int, letters: int, other_length: int, other_letters: int) -> bool:
    """False where two names surely differ by more than FAR letters."""
    return abs(length - other_length) <= FAR and (letters ^ other_letters).bit_count() <= 2 * FAR


def nearest(name: str, others: Iterable[str]) -> tuple[str, ...]:
    """The LIKE nearest of some names within FAR letters; the name itself is none of them."""
    asked = fold(name)
    off = {(edits(asked, fold(other)), other) for other in others if other != name}
    return tuple(other for _, other in heapq.nsmallest(LIKE, (pair for pair in off if pair[0] <= FAR)))
