"""Reading a scientific name as a person wrote it: what is the name, what is author, what is doubt.

Only what a decision needs is parsed; a name this module does not understand is excluded or found
nowhere, never bent into another name.
"""

import re
import unicodedata
from dataclasses import dataclass

NULL_TOKENS = frozenset(
    {
        "",
        "-",
        "--",
        "?",
        ".",
        "\\n",
        "na",
        "n/a",
        "nan",
        "nil",
        "none",
        "null",
        "unknown",
        "unidentified",
        "undetermined",
    }
)
# What a publisher's software writes where there is no name. The name service would take some of them for names.

_MARKERS = {"subsp", "ssp", "var", "subvar", "f", "fo", "forma", "form", "ab", "morph", "convar", "cv", "nothosubsp"}
_OPEN = {"sp", "spp", "spec", "species", "cf", "aff", "nr", "near", "agg", "complex", "group", "gr", "indet"}
_PARTICLES = {"de", "da", "di", "du", "del", "della", "van", "von", "den", "der", "et", "ex", "in", "al", "and", "nom", "non", "nec",
              "zu", "la", "le", "dos", "auct", "sensu", "emend", "apud", "bis", "y", "ter"}  # fmt: skip
_EPITHET = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_NOT_LATIN = re.compile(
    r"^BOLD:|^SH\d+\.\d+|^OTU|\b\w*virus\b|\bviroid\b|\bphage\b|\bNPV\b|incertae sedis|^unidentified |^unknown ",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Name:
    """A parsed name.

    verbatim: as written. canonical: genus, epithets, nothing else; what a source is asked for.
    rank: "uninomial", "species", "infraspecific" or "" where `problem` is set.
    author: as written, "" where absent. qualifier: open nomenclature found, "" if none; then
    `canonical` is the genus, for a doubtful species is not a species.
    problem: "" or the status ("empty", "excluded_name_type") that ends the matter; why: a sentence for it.
    """

    verbatim: str
    canonical: str = ""
    rank: str = ""
    author: str = ""
    qualifier: str = ""
    problem: str = ""
    why: str = ""


def normalise(text: str | None) -> str:
    """NFC, underscores and every kind of blank as one space, no quotes or invisible characters around.

    >>> normalise("  Aglais_io ")
    'Aglais io'
    """
    text = unicodedata.normalize("NFC", text or "").replace("_", " ")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return " ".join(text.split()).strip("\"'“”").strip()


def fold(text: str) -> str:
    """For comparing: lower case, no diacritics."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def parse(verbatim: str | None) -> Name:
    """A name in its parts.

    >>> parse("Aglais io (Linnaeus, 1758)").author
    '(Linnaeus, 1758)'
    >>> parse("Xysticus cf. cristatus").canonical, parse("Xysticus cf. cristatus").qualifier
    ('Xysticus', 'cf.')
    """
    verbatim = verbatim or ""
    text = normalise(verbatim)
    if fold(text) in NULL_TOKENS:
        return Name(verbatim, problem="empty", why="The cell holds no name.")
    if _NOT_LATIN.search(text):
        return Name(
            verbatim,
            problem="excluded_name_type",
            why="A virus, a sequence cluster or a placeholder is no Latin species name.",
        )
    if "×" in text or re.search(r"(^|\s)[xX]\s", text):
        return Name(verbatim, problem="excluded_name_type", why="A hybrid is not used as a class.")
    letters = [c for c in text if c.isalpha()]
    words = (text.capitalize() if letters and all(c.isupper() for c in letters) else text).split()
    if len(words) > 2 and re.fullmatch(r"\([^\W\d_]+\)", words[1]) and words[2][:1].islower():
        del words[1]  # a subgenus in brackets
    genus = words[0]
    lone_epithet = len(words) == 1 and genus[:1].islower()
    if not _EPITHET.fullmatch(genus) or len(genus) < 2 or lone_epithet:
        why = f"{genus!r} is no genus: a name starts with the genus, written out."
        return Name(verbatim, problem="excluded_name_type", why=why)
    genus = genus[0].upper() + genus[1:].lower()
    return _rest(verbatim, genus, words[1:])


def _rest(verbatim: str, genus: str, words: list[str]) -> Name:
    """Epithets, qualifier and author behind the genus."""
    epithets, author, expect_infra = [], [], False
    for place, word in enumerate(words):
        bare = word.rstrip(".").lower()
        following = words[place + 1] if place + 1 < len(words) else ""
        if bare in _OPEN and not (author and bare not in {"agg", "complex", "group"}):
            return Name(verbatim, genus, "uninomial", qualifier=word)
        if bare in {"s.l", "auct", "sensu"} and epithets:
            return Name(verbatim, genus, "uninomial", qualifier=word)
        if bare in {"subsp", "ssp"} and len(epithets) == 1 and not following:
            return Name(verbatim, f"{genus} {epithets[0]}", "species", qualifier=word)
        if bare in _MARKERS and epithets and _is_epithet(following):
            expect_infra, author = True, []  # an author before the marker belongs to the species
        elif _is_epithet(word) and (expect_infra or (len(epithets) < 2 and not author)):
            epithets = [*epithets[:1], word] if expect_infra else [*epithets, word]
            expect_infra = False
        elif not epithets and any(c.isdigit() for c in word) and not re.search(r"\b1[789]\d\d|\b20\d\d", word):
            return Name(
                verbatim, problem="excluded_name_type", why=f"{word!r} is a number or code, not a species epithet."
            )
        else:
            author.append(word)
    rank = ("uninomial", "species", "infraspecific")[len(epithets)]
    return Name(verbatim, " ".join([genus, *epithets]), rank, " ".join(author))


def _is_epithet(word: str) -> bool:
    return bool(_EPITHET.fullmatch(word)) and word.islower() and len(word) > 1 and word not in _PARTICLES


def surnames(author: str) -> frozenset[str]:
    """Family names in an authorship, folded; initials, years and joining words dropped; Linnaeus under one name."""
    text = re.sub(r"\d{4}\w?|\b[A-Z]\.(?=\s*[A-Z])|\bin\b.*", " ", author)
    words = {re.sub(r"[^a-z]", "", fold(word)) for word in re.split(r"[\s,;()&\[\]]+|\bet\b|\bex\b", text)}
    abbreviated = {"l": "linnaeus", "linn": "linnaeus", "linne": "linnaeus", "dc": "candolle", "f": ""}
    return frozenset(abbreviated.get(word, word) for word in words if word not in _PARTICLES) - {""}


def authors_differ(a: str, b: str) -> bool:
    """True where both name somebody and nobody is in both; abbreviations count as the same (Fabr., Fabricius)."""
    ours, theirs = surnames(a), surnames(b)
    return bool(ours and theirs) and not any(x.startswith(y) or y.startswith(x) for x in ours for y in theirs)


def stem(canonical: str) -> str:
    """The name without what spelling rules let vary: diacritics, doubled letters, ae/oe/y, one ending for another.

    >>> stem("Papilio machaonus") == stem("Papilio machaon"), stem("Aus albus") == stem("Aus alba")
    (False, True)
    """
    genus, *epithets = fold(canonical).split()
    out = [genus]
    for epithet in epithets:
        for written, plain in (("ae", "e"), ("oe", "e"), ("y", "i"), ("-", "")):
            epithet = epithet.replace(written, plain)
        epithet = re.sub(r"(.)\1", r"\1", epithet)
        out.append(re.sub(r"(?<=\w{3})(us|um|is|a|e|i)$", "·", epithet))
    return " ".join(out)


def edits(a: str, b: str) -> int:
    """Levenshtein distance of two words."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]
