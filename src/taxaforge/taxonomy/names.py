"""Reading a scientific name as a person wrote it: what is the name, what is author, what is doubt.

Only what a decision needs is parsed; a name this module does not understand is excluded or found
nowhere, never bent into another name.
"""

import re
import unicodedata
from dataclasses import dataclass, replace

NULL_TOKENS = frozenset(
    {
        "", "-", "--", "?", ".", "\\n", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "nat", "nil", "none", "null", "#null!",
        "(null)", "undefined", "unknown", "unidentified", "undetermined", "not available",
    }
)  # fmt: skip
# What a publisher's software writes where there is no name. The name service would take some of them for names.

_MARKERS = {"subsp", "ssp", "var", "subvar", "f", "fo", "forma", "form", "ab", "morph", "convar"}
_OPEN = {"sp", "spp", "spec", "species", "cf", "aff", "nr", "near", "agg", "complex", "group", "gr", "indet",
         "morphospecies", "morphosp", "morphotype", "msp"}  # fmt: skip
_GROUPS = {"agg", "complex", "group"}
_SENSU = {"s.l", "s.str", "auct", "sensu"}
_PARTICLES = {"de", "da", "di", "du", "del", "della", "van", "von", "den", "der", "et", "ex", "in", "al", "and", "nom", "non", "nec",
              "zu", "la", "le", "dos", "auct", "sensu", "emend", "apud", "bis", "y", "ter"}  # fmt: skip
_EPITHET = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_NOT_LATIN = re.compile(
    r"^BOLD:|^SH\d+\.\d+|^OTU|\b\w*virus\b|\bviroid\b|\bphage\b|\bNPV\b|incertae sedis|^unidentified |^unknown |^candidatus\b",
    re.IGNORECASE,
)
_HYBRID = re.compile(r"×|(^|\s)[xX]\s|(^|\s)\+|\bhybrids?\b|\bhybr\.|\bnotho(subsp|var|f)\b", re.IGNORECASE)
_SPREADSHEET = re.compile(
    r"(true|false|#\w+[!?]|[-+]?[\d.,:/ -]+([eE][-+]?\d+)?( ?[ap]m)?|\d{4}-\d\d-\d\d.*|\d+[-. /][^\W\d_]{3,4}\.?([-. /]\d+)?"
    r"|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[-. ]\d+)",
    re.IGNORECASE,
)
# What a spreadsheet makes of a cell: truth values, errors, numbers, dates and times.
_CULTIVAR = re.compile(r"\s(?:cv\.?\s+\S.*|['\"‘“][^'\"’”]+['\"’”])$")
_QUOTES = "\"'“”‘’"
_NEW_SPECIES = re.compile(r"\b(?:n|nov|gen|g)\.?\s*(?:et\s+)?sp\b\.?|\bsp\.?\s*(?:n|nov)\b\.?")
_NUMBERED = re.compile(r"(spp?|cf|aff|nr|morphotype|morphosp)[.#-]*\d+\w*", re.IGNORECASE)
_APART = str.maketrans({"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
                        "ı": "i", "’": "'", "ʼ": "'"})  # fmt: skip
"""Letters that Unicode does not take apart into a letter and a mark."""
_PLAIN = re.compile(r"[A-Z][a-z]+ [a-z]{2,}(?:-[a-z]{2,})?(?: [a-z]{2,})?")
_TELLING = {*_MARKERS, *_OPEN, *_SENSU, *_PARTICLES, "hybrid", "hybrids", "hybr", "viroid", "phage", "unknown", "unidentified",
            "candidatus", "incertae", "otu", "nov"}  # fmt: skip
"""Words for which even a name of plain words is looked at closely."""


@dataclass(frozen=True, slots=True)
class Name:
    """A parsed name.

    verbatim: as written. canonical: genus, epithets, nothing else; what a source is asked for.
    rank: "uninomial", "species", "infraspecific" or "" where `problem` is set.
    author: as written, "" where absent. qualifier: open nomenclature or a cultivar, "" if none; with
    the former `canonical` is the genus, for a doubtful species is not a species.
    problem: "" or the status ("empty", "excluded_name_type") that ends the matter; why: a sentence for it.
    marker: what stands before the third word, such as "var"; a variety and a subspecies may share their words.
    """

    verbatim: str
    canonical: str = ""
    rank: str = ""
    author: str = ""
    qualifier: str = ""
    problem: str = ""
    why: str = ""
    marker: str = ""


def normalise(text: str | None) -> str:
    """NFC, underscores and every kind of blank as one space, no invisible characters, no quotes around.

    >>> normalise("  Aglais_io ")
    'Aglais io'
    """
    text = unicodedata.normalize("NFC", text or "").replace("_", " ")
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = " ".join(text.split())
    while len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES:
        text = text[1:-1].strip()
    text = text.lstrip(_QUOTES + " ")
    return text if any(quote in text[:-1] for quote in _QUOTES) else text.rstrip(_QUOTES + " ")


def fold(text: str) -> str:
    """For comparing: lower case, no diacritics, no ligatures.

    >>> fold("Æglaïs Ørsted")
    'aeglais orsted'
    """
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", text.translate(_APART))
    return "".join(c for c in text if not unicodedata.combining(c)).casefold()


def parse(verbatim: str | None) -> Name:
    """A name in its parts.

    >>> parse("Aglais io (Linnaeus, 1758)").author
    '(Linnaeus, 1758)'
    >>> parse("Xysticus cf. cristatus").canonical, parse("Xysticus cf. cristatus").qualifier
    ('Xysticus', 'cf.')
    """
    verbatim = verbatim or ""
    text = re.sub(r"(?<=\w)[’ʼ](?=\w)", "'", re.sub("[‐‑‒–—]", "-", normalise(verbatim)))
    if fold(text) in NULL_TOKENS:
        return Name(verbatim, problem="empty", why="The cell holds no name.")
    if plain(text):
        return Name(verbatim, text, "species" if text.count(" ") == 1 else "infraspecific")
    if why := _no_name(text):
        return Name(verbatim, problem="excluded_name_type", why=why)
    cultivar = _CULTIVAR.search(text)
    if cultivar:
        text = text[: cultivar.start()]
    text = _NEW_SPECIES.sub("sp.", text)
    letters = [c for c in text if c.isalpha()]
    words = (text.capitalize() if letters and all(c.isupper() for c in letters) else text).split()
    if len(words) > 2 and re.fullmatch(r"\([^\W\d_]+\)", words[1]) and words[2][:1].islower():
        del words[1]  # a subgenus in brackets
    elif len(words) > 3 and words[1].rstrip(".").lower() in {"subg", "subgen", "sect"} and _is_epithet(words[3]):
        del words[1:3]  # a subgenus or section by its marker
    genus = words[0]
    lone_epithet = len(words) == 1 and genus[:1].islower()
    if not _EPITHET.fullmatch(genus) or len(genus) < 2 or lone_epithet or genus.lower() in _OPEN:
        why = f"{genus!r} is no genus: a name starts with the genus, written out."
        return Name(verbatim, problem="excluded_name_type", why=why)
    genus = genus[0].upper() + genus[1:].lower()
    name = _rest(verbatim, genus, words[1:])
    if cultivar and not name.problem and not name.qualifier:
        return replace(name, qualifier=cultivar.group().strip())
    return name


def plain(text: str) -> bool:
    """Genus and epithets and nothing else: most names, which need not be taken apart."""
    return bool(_PLAIN.fullmatch(text)) and not any(
        word in _TELLING or word.endswith("virus") for word in text.lower().split()
    )


def completed(name: Name, genus: str) -> Name:
    """An epithet that stands alone, joined with the genus that another column holds; any other name as it is.

    >>> completed(parse("rufipes"), "Formica").canonical
    'Formica rufipes'
    """
    text = normalise(name.verbatim)
    if name.problem != "excluded_name_type" or not genus or not _is_epithet(text) or _no_name(text):
        return name
    whole = parse(f"{genus.split()[0]} {text}")
    return replace(whole, verbatim=name.verbatim) if whole.rank == "species" else name


def _no_name(text: str) -> str:
    """Why a text cannot be the name of a species at all; "" where it may be one."""
    if _SPREADSHEET.fullmatch(text):
        return "A number, date or truth value of a spreadsheet is no name."
    if _NOT_LATIN.search(text):
        return "A virus, a sequence cluster or a placeholder is no Latin species name."
    if _HYBRID.search(text):
        return "A hybrid is not used as a class."
    return ""


def _rest(verbatim: str, genus: str, words: list[str]) -> Name:
    """Epithets, qualifier and author behind the genus."""
    epithets, author, expect_infra, marker = [], [], False, ""
    for place, word in enumerate(words):
        bare = word.rstrip(".").lower()
        following = words[place + 1] if place + 1 < len(words) else ""
        if (bare in _OPEN or _NUMBERED.fullmatch(word)) and not (author and bare not in _GROUPS):
            return Name(verbatim, genus, "uninomial", qualifier=word)
        if (bare in _SENSU and epithets) or (word.endswith("?") and not author):
            return Name(verbatim, genus, "uninomial", qualifier=word)
        if bare in _MARKERS and len(epithets) == 1 and not following and not (author and bare == "f"):
            return Name(verbatim, f"{genus} {epithets[0]}", "species", qualifier=word)
        if bare in _MARKERS and epithets and _is_epithet(following):
            expect_infra, author, marker = True, [], bare  # an author before the marker belongs to the species
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
    return Name(verbatim, " ".join([genus, *epithets]), rank, " ".join(author), marker=marker)


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
        for written, plain in (("ae", "e"), ("oe", "e"), ("y", "i"), ("-", ""), ("'", "")):
            epithet = epithet.replace(written, plain)
        epithet = re.sub(r"(.)\1", r"\1", epithet)
        out.append(re.sub(r"(?<=\w{3})(us|um|is|a|e|i)$", "·", epithet))
    return " ".join(out)


def edits(a: str, b: str) -> int:
    """Levenshtein distance of two words."""
    same = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[same:], b[same:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (x != y))
    return row[-1]
