"""What ties two pictures together: the kinds of tie, the groups that they weld, and which of them cross splits.

A kind of tie is a function from a row to its tokens. Pictures that share a token are tied, and so are
those that a chain of shared tokens connects. A row without a token is tied to nothing: what is
unknown never joins.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import combinations

from taxaforge.collection.duplicates import Sets
from taxaforge.collection.places import block
from taxaforge.collection.schema import SPLIT_NAMES

USED = SPLIT_NAMES[:-1]

Tokens = Callable[[Mapping], Sequence[Hashable]]

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


def event(row: Mapping) -> list[Hashable]:
    """One species seen by one observer on one day.

    An observer's pictures of a species without any date are taken for one event, the safe reading.
    """
    day = (row["eventDate"] or "").strip()[:10]
    return [(row["scientificName"], person, day) for person in observers(row)]


def kinds_of_tie(block_km: float) -> dict[str, Tokens]:
    """Every kind of tie by its name in leakage.csv. block_km: side of a square of kind `block`."""
    return {
        "occurrence": occurrence,
        "event": event,
        "observer": observers,
        "block": lambda row: [place] if (place := block(row, block_km)) else [],
        "duplicate_set": lambda row: [row["qc_duplicate_set"]],
        "same_file": lambda row: [row["sha256"]] if row["sha256"] else [],
    }


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
        sets.join_equal((row["identifier"], token) for row in rows for token in tokens(row))
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
    own = {row["identifier"]: tokens(row) for row in rows}
    sets = Sets(own)
    sets.join_equal((identifier, token) for identifier, several in own.items() for token in several)
    members: dict[str, list[str]] = defaultdict(list)
    for identifier in own:
        members[sets.find(identifier)].append(identifier)
    return (several for several in members.values() if len(several) > 1)
