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
_OPEN = {"sp", "spp", "spec", "species", "cf", "cfr", "conf", "confer", "aff", "nr", "near", "agg", "aggr", "aggregate", "complex",
         "group", "gr", "indet", "morphospecies", "morphosp", "morphotype", "msp"}  # fmt: skip
_GROUPS = {"agg", "aggr", "aggregate", "complex", "group"}
_DOUBT = {"prob", "probably", "poss", "possibly", "perhaps", "maybe", "presumably", "uncertain", "doubtful", "unsure", "tentative",
          "vermutlich", "wahrscheinlich", "fraglich", "unsicher"}  # fmt: skip
_EITHER = {"or", "vel", "oder", "ou", "not", "nicht", "versus", "vs", "/", "|"}
_BETWEEN = {"and", "et", "und", "non", "nec", "&"}
"""What stands between two names, one of which it is; the latter words may also stand before an author."""
_SENSU = {"auct", "auctt", "sensu", "sens", "sl"}
_STRICT = re.compile(r"[(\[]?(?<!\w)(?:s|sens|sensu)(?:\.\s*|\s+)(?:s|str|strict|stricto)\b\.?[)\]]?")
_WIDE = re.compile(r"(?<!\w)(?:s|sens|sensu)(?:\.\s*|\s+)(?:l|lat|lato)\b\.?")
"""The species in its narrow sense is the species; in its wide sense it is several."""
_BRACKETS = "()[]{}"
PARTICLES = {"de", "da", "di", "du", "del", "della", "van", "von", "den", "der", "et", "ex", "in", "al", "and", "nom", "non", "nec",
             "zu", "la", "le", "dos", "auct", "sensu", "emend", "apud", "bis", "y", "ter"}  # fmt: skip
_EPITHET = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")
_NOT_LATIN = re.compile(
    r"^BOLD:|^SH\d+\.\d+|^OTU(?![^\W\d_])|\b\w*virus\b|\bviroid\b|\bphage\b|\bNPV\b|incertae sedis|^unidentified |^unknown |^candidatus\b",
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
_COUNTED = {
    "2": "bi", "3": "tri", "4": "quadri", "5": "quinque", "6": "sex", "7": "septem", "8": "octo", "9": "novem", "10": "decem",
    "11": "undecim", "12": "duodecim", "13": "tredecim", "14": "quatuordecim", "15": "quindecim", "16": "sedecim",
    "18": "octodecim", "20": "viginti", "22": "vigintiduo", "24": "vigintiquatuor",
}  # fmt: skip
"""How epithets count spots."""
_PLAIN = re.compile(r"[A-Z][a-z]+ [a-z]{2,}(?:-[a-z]{2,})?(?: [a-z]{2,})?")
_TELLING = {*_MARKERS, *_OPEN, *_DOUBT, *_EITHER, *_BETWEEN, *_SENSU, *PARTICLES, "hybrid", "hybrids", "hybr", "viroid", "phage",
            "unknown", "unidentified", "candidatus", "incertae", "otu", "nov"}  # fmt: skip
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
    text = re.sub(r"(?<=\w)[’ʼ](?=\w)", "'", re.sub("[‐‑‒–—]", "-", normalise(re.sub("[†‡]", " ", verbatim))))
    if fold(text) in NULL_TOKENS:
        return Name(verbatim, problem="empty", why="The cell holds no name.")
    if plain(text):
        return Name(verbatim, text, "species" if text.count(" ") == 1 else "infraspecific")
    if why := _no_name(text):
        return Name(verbatim, problem="excluded_name_type", why=why)
    cultivar = _CULTIVAR.search(text)
    if cultivar:
        text = text[: cultivar.start()]
    letters = [c for c in text if c.isalpha()]
    text = text.capitalize() if letters and all(c.isupper() for c in letters) else text
    words = _STRICT.sub(" ", _NEW_SPECIES.sub("sp.", text)).split() or [text]
    if len(words) > 2 and re.fullmatch(r"\([^\W\d_]+\)", words[1]) and words[2][:1].islower() and not _doubts(words[1]):
        del words[1]  # a subgenus in brackets
    elif len(words) > 3 and words[1].rstrip(".").lower() in {"subg", "subgen", "sect"} and _is_epithet(words[3]):
        del words[1:3]  # a subgenus or section by its marker
    genus = words[0]
    lone_epithet = len(words) == 1 and genus[:1].islower()
    if not _EPITHET.fullmatch(genus) or len(genus) < 2 or lone_epithet or genus.lower() in _OPEN:
        why = f"{genus!r} is no genus: a name starts with the genus, written out."
        return Name(verbatim, problem="excluded_name_type", why=why)
    genus = genus[0].upper() + genus[1:].lower()
    if wide := _WIDE.search(" ".join(words[1:])):
        return Name(verbatim, genus, "uninomial", qualifier=wide.group())
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


def is_hybrid(text: str) -> bool:
    """Whether a name carries the sign of a hybrid or of a graft, or its word.

    >>> is_hybrid("Platanus × hispanica"), is_hybrid("Viola hybrida")
    (True, False)
    """
    return bool(_HYBRID.search(text))


def _no_name(text: str) -> str:
    """Why a text cannot be the name of a species at all; "" where it may be one."""
    if _SPREADSHEET.fullmatch(text):
        return "A number, date or truth value of a spreadsheet is no name."
    if _NOT_LATIN.search(text):
        return "A virus, a sequence cluster or a placeholder is no Latin species name."
    if is_hybrid(text):
        return "A hybrid is not used as a class."
    return ""


def _rest(verbatim: str, genus: str, words: list[str]) -> Name:
    """Epithets, qualifier and author behind the genus."""
    epithets, author, expect_infra, marker = [], [], False, ""
    for place, word in enumerate(words):
        bare = word.rstrip(".").lower()
        following = words[place + 1] if place + 1 < len(words) else ""
        if _open(word, words[place + 1 :], genus, bool(epithets), bool(author)):
            return Name(verbatim, genus, "uninomial", qualifier=word)
        if bare in _MARKERS and len(epithets) == 1 and not following and not (author and bare == "f"):
            return Name(verbatim, f"{genus} {epithets[0]}", "species", qualifier=word)
        if bare in _MARKERS and epithets and _is_epithet(following):
            expect_infra, author, marker = True, [], bare  # an author before the marker belongs to the species
        elif _is_epithet(word) and (expect_infra or (len(epithets) < 2 and not author)):
            epithets = [*epithets[:1], word] if expect_infra else [*epithets, word]
            expect_infra = False
        elif not epithets and any(c.isdigit() for c in word) and not re.search(r"\b1[789]\d\d|\b20\d\d", word):
            return Name(verbatim, problem="excluded_name_type", why=_coded(word))
        else:
            author.append(word)
    rank = ("uninomial", "species", "infraspecific")[len(epithets)]
    return Name(verbatim, " ".join([genus, *epithets]), rank, " ".join(author), marker=marker)


def _open(word: str, rest: list[str], genus: str, epithets: bool, author: bool) -> bool:
    """Whether a word behind the genus leaves the species open. rest: the words after it; epithets, author: whether any
    came before it."""
    bare = word.rstrip(".,;:").lower()
    if (bare in _OPEN or _NUMBERED.fullmatch(word)) and (not author or bare in _GROUPS):
        return True
    if _doubts(word) or (word.startswith("?") and not author):
        return True
    if not epithets:
        return word.islower() and bool(re.search(r"[^\W\d_]{2}[/|][^\W\d_]{2}", word))
    bare = bare.strip(_BRACKETS)
    if bare.split(".")[0] in _SENSU:
        return True
    epithet = rest[1:2] if rest[:1] in ([genus], [f"{genus[0]}."]) else rest[:1]
    another = not author or (bool(epithet) and _is_epithet(epithet[0].strip(_BRACKETS + "?,")))
    if bare in _EITHER | _BETWEEN:
        return another or (bare in _EITHER and bare.isalpha())
    return word.islower() and "/" in word and not author


def _doubts(word: str) -> bool:
    """Whether a word says of itself, bare or in brackets, that the name before or behind it is not certain."""
    inner = word.strip(_BRACKETS + ".,;:")
    if "?" in word and (word.endswith("?") or not inner.strip("?")):
        return True
    bracketed = word[:1] in tuple("([{") or word[-1:] in tuple(")]}")
    return inner in _DOUBT or (bracketed and inner in _OPEN)


def _coded(word: str) -> str:
    """Why a word with digits is no epithet; old names count spots in figures, checklists in words."""
    counted = re.fullmatch(r"(\d+)-?([^\W\d_]{3,})", word)
    if counted and counted[1] in _COUNTED:
        return f"Write the number of {word!r} as a word: {_COUNTED[counted[1]]}{counted[2].lower()}."
    if counted:
        return f"Write the number of {word!r} as a word, as septempunctata for 7-punctata."
    return f"{word!r} is a number or code, not a species epithet."


def _is_epithet(word: str) -> bool:
    return bool(_EPITHET.fullmatch(word)) and word.islower() and len(word) > 1 and word not in PARTICLES


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
