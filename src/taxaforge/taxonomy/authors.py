"""Whether two authorships name the same author: spelt out, abbreviated, with and without umlauts, mistyped."""

import re

from taxaforge.taxonomy.names import PARTICLES, edits, fold

_SHORT = {"l": "linnaeus", "linn": "linnaeus", "linne": "linnaeus", "dc": "candolle", "f": ""}
NEAR = 2
"""Letters by which two long surnames may differ and still be one, mistyped (Linneaus)."""

LONG = 6
"""Letters from which a surname is long: short ones that differ are other people."""

UNKNOWN, OTHER = 0, -1


def surnames(author: str) -> frozenset[str]:
    """Family names in an authorship, folded; initials, years and joining words dropped; Linnaeus under one name.

    Umlauts are as good as absent, written either way: Huebner and Hübner are one.
    """
    text = re.sub(r"\d{4}\w?|\b[A-Z]\.(?=\s*[A-Z])|\bin\b.*", " ", author)
    words = {re.sub(r"[^a-z]", "", fold(word)) for word in re.split(r"[\s,;()&\[\]]+|\bet\b|\bex\b", text)}
    return frozenset(_plain(_SHORT.get(word, word)) for word in words if word not in PARTICLES) - {""}


def agreement(a: str, b: str) -> int:
    """How well two authorships agree: the more, the better; only the order of the numbers means something.

    UNKNOWN: one of them names nobody. OTHER: nobody and no year is in both. 1: only the year is. 2: a surname but
    for a slip. 3: that and the year. 4: a surname, whole or abbreviated. 5: that and the year.
    """
    ours, theirs = surnames(a), surnames(b)
    if not (ours and theirs):
        return UNKNOWN
    year = bool(_years(a) & _years(b))
    if any(_same(x, y) for x in ours for y in theirs):
        return 4 + year
    if any(_near(x, y) for x in ours for y in theirs):
        return 2 + year
    return 1 if year else OTHER


def differ(a: str, b: str) -> bool:
    """True where both name somebody, nobody is in both, not even mistyped, and the years do not agree either."""
    return agreement(a, b) == OTHER


def certainly_same(a: str, b: str) -> bool:
    """False where two authors of one name have to count as two people, though one may be the other's misprint."""
    return agreement(a, b) in {UNKNOWN, 4, 5}


def _plain(surname: str) -> str:
    return re.sub(r"(?<=[aou])e", "", surname)


def _years(author: str) -> set[str]:
    return set(re.findall(r"\b(?:1[789]|20)\d\d\b", author))


def _same(x: str, y: str) -> bool:
    """Equal, the beginning of it (Fabr.), or its consonants (Hbn.)."""
    short, long = sorted((x, y), key=len)
    if long.startswith(short):
        return True
    left = iter(long)
    return len(short) > 1 and short[0] == long[0] and not set(short) & set("aeiou") and all(c in left for c in short)


def _near(x: str, y: str) -> bool:
    return min(len(x), len(y)) >= LONG and edits(x, y) <= NEAR
