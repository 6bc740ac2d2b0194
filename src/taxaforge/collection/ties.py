"""What ties two pictures together: the kinds of tie, the groups that they weld, and which of them cross splits.

A kind of tie is a function that gives every row of a table its tokens. Pictures that share a token are
tied, and so are those that a chain of shared tokens connects. A row without a token is tied to nothing:
an unknown observer, record or place never joins.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations

from taxaforge.collection.duplicates import Sets
from taxaforge.collection.places import block, days
from taxaforge.collection.schema import SPLIT_NAMES

USED = SPLIT_NAMES[:-1]

Tokens = Callable[[Sequence[Mapping]], Sequence[Sequence[Hashable]]]
"""rows -> the tokens of each. A token says something in the table that it was made from, and nowhere else."""

EVER = ("0000-00-00", "9999-99-99")
"""The days that a picture without a date may have been taken on."""

NOBODY = frozenset(
    (
        "unknown", "unknown observer", "unknown collector", "collector unknown", "unbekannt", "inconnu",
        "desconocido", "onbekend", "anonymous", "anonym", "anonyme", "anónimo", "anon", "anon.", "undisclosed",
        "withheld", "none", "null", "not recorded", "not stated", "not provided", "no data", "nan", "na", "n/a",
        "n.a.", "s.n.", "s.c.", "-", "--", "?",
    )
)  # fmt: skip
"""What is written where nobody knows the observer. Taken for a name, it would weld strangers together."""


def observers(row: Mapping) -> list[tuple[str, str]]:
    """The people behind a picture: ("id", ...) of recordedByID and ("name", ...) of recordedBy.

    Several people are separated by `|` (as Darwin Core asks) or `;`. Spelling, surplus space, the way
    an accent is encoded, and the address in front of an ORCID do not matter. Both columns count, so
    that an observer who left an identifier in one dataset and only a name in another is one person;
    two people of one name are then taken for one, the safe reading.
    """
    ids = (re.sub(r"^https?://(www\.)?(orcid\.org/)?", "", text).rstrip("/") for text in _several(row["recordedByID"]))
    return [("id", text) for text in ids if text] + [("name", text) for text in _several(row["recordedBy"])]


def _several(text: str | None) -> list[str]:
    parts = (" ".join(unicodedata.normalize("NFKC", part).casefold().split()) for part in re.split(r"[|;]", text or ""))
    return [part for part in parts if part and part not in NOBODY]


def occurrence(row: Mapping) -> list[Hashable]:
    """One record of one organism: GBIF's key, else the publisher's within its dataset.

    A table without datasetKey is one dataset.
    """
    if row["gbifID"]:
        return [("gbif", row["gbifID"])]
    return [(row["datasetKey"] or "", row["occurrenceID"])] if row["occurrenceID"] else []


def event(rows: Sequence[Mapping]) -> list[list[Hashable]]:
    """One species seen by one observer on one day, as far as dates can tell.

    A date may be a day, or an interval, month or year; without one that can be read it may be any day.
    Pictures whose days overlap may be of one event, and are taken for it, the safe reading. A token is
    the species, the observer and the first day of a stretch of overlapping dates. Time n log n.
    """
    seen: dict[tuple[str, tuple[str, str]], list[tuple[str, str, int]]] = defaultdict(list)
    for number, row in enumerate(rows):
        people = observers(row)
        first, last = (people and days(row["eventDate"])) or EVER
        for person in people:
            seen[row["scientificName"], person].append((first, last, number))
    tokens: list[list[Hashable]] = [[] for _ in rows]
    for (species, person), spans in seen.items():
        start = reach = ""
        for first, last, number in sorted(spans):
            if first > reach:
                start = first
            reach = max(reach, last)
            tokens[number].append((species, person, start))
    return tokens


def kinds_of_tie(block_km: float) -> dict[str, Tokens]:
    """Every kind of tie by its name in leakage.csv. block_km: side of a square of kind `block`."""
    return {
        "occurrence": _each(occurrence),
        "event": event,
        "observer": _each(observers),
        "block": _each(lambda row: [place] if (place := block(row, block_km)) else []),
        "duplicate_set": _each(lambda row: [row["qc_duplicate_set"]]),
        "same_file": _each(lambda row: [row["sha256"]] if row["sha256"] else []),
    }


def _each(of_row: Callable[[Mapping], Sequence[Hashable]]) -> Tokens:
    """A kind of tie whose tokens can be told from a row alone."""
    return lambda rows: [of_row(row) for row in rows]


_PICTURE = ("occurrence", "duplicate_set", "same_file")
_EVENT = (*_PICTURE, "event")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "image": (),
    "occurrence": _PICTURE,
    "event": _EVENT,
    "observer": (*_EVENT, "observer"),
    "time": _EVENT,
    "spatial": (*_EVENT, "block"),
    "official": _EVENT,
}
"""split.unit -> the kinds of tie that must not cross; they weld the groups."""


def groups(kept: Sequence[Mapping], dropped: Sequence[Mapping], kinds: Iterable[Tokens]) -> dict[str, str]:
    """identifier -> name of its group: the smallest identifier among the group's kept pictures.

    Args:
        kept: pictures to deal.
        dropped: rows of pictures that curation dropped as duplicates. They are dealt nowhere, but
            through them a kept picture has the ties of every copy of it.
        kinds: ties that weld.
    Returns:
        all kept pictures, and the dropped ones that are in a group with one.
    """
    rows = [*kept, *dropped]
    sets = Sets(row["identifier"] for row in rows)
    for tokens in kinds:
        own = zip(rows, tokens(rows), strict=True)
        sets.join_equal((row["identifier"], token) for row, several in own for token in several)
    names: dict[str, str] = {}
    for identifier in sorted(row["identifier"] for row in kept):
        names.setdefault(sets.find(identifier), identifier)
    found = {row["identifier"]: names.get(sets.find(row["identifier"])) for row in rows}
    return {identifier: name for identifier, name in found.items() if name is not None}


def leakage(
    kept: Sequence[Mapping],
    dropped: Sequence[Mapping],
    where: Mapping[str, str],
    kinds: Mapping[str, Tokens],
    forbidden: Sequence[str],
) -> list[dict]:
    """For every kind of tie and every two splits: how many ties have pictures in both, and how many pictures.

    Counted from the tables themselves, not from the groups that the dealing used. A dropped copy
    lies where the kept picture of its duplicate set lies.

    Args:
        where: identifier -> split, of all kept pictures. `unused` counts nowhere.
        forbidden: names of kinds.
    Returns:
        rows of schema LEAKAGE.
    """
    of_set: dict[str, list[str]] = defaultdict(list)
    for row in kept:
        of_set[row["qc_duplicate_set"]].append(row["identifier"])
    stands_for = {row["identifier"]: of_set.get(row["qc_duplicate_set"], []) for row in dropped}
    stands_for |= {row["identifier"]: [row["identifier"]] for row in kept}
    table = []
    for kind, tokens in kinds.items():
        ties: dict[tuple[str, str], int] = defaultdict(int)
        touched: dict[tuple[str, str], set[str]] = defaultdict(set)
        for members in _tied([*kept, *dropped], tokens):
            parts: dict[str, set[str]] = defaultdict(set)
            for member in members:
                for picture in stands_for[member]:
                    parts[where[picture]].add(picture)
            for pair in combinations([part for part in USED if part in parts], 2):
                ties[pair] += 1
                touched[pair] |= parts[pair[1]]
        table += [
            {
                "edge": kind,
                "split_a": pair[0],
                "split_b": pair[1],
                "ties": ties[pair],
                "images": len(touched[pair]),
                "forbidden": kind in forbidden,
            }
            for pair in combinations(USED, 2)
        ]
    return table


def _tied(rows: Sequence[Mapping], tokens: Tokens) -> Iterable[list[str]]:
    """The pictures of every single tie of one kind, of two pictures and more."""
    own = dict(zip((row["identifier"] for row in rows), tokens(rows), strict=True))
    sets = Sets(own)
    sets.join_equal((identifier, token) for identifier, several in own.items() for token in several)
    members: dict[str, list[str]] = defaultdict(list)
    for identifier in own:
        members[sets.find(identifier)].append(identifier)
    return (several for several in members.values() if len(several) > 1)
