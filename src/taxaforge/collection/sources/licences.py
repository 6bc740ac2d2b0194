"""What a licence field says, as an SPDX-like id, however the publisher wrote it.

A text is read in two steps. Every licence in it is taken out; then what remains must be harmless: names, dates,
places and the phrases that licences come with. One word that limits, denies or cannot be understood, and the whole
text counts as unknown. So a text may be read as stricter than it is meant, or not at all, but not as freer.
"""

import re
import unicodedata

from taxaforge.collection.sources.licence_words import HARMLESS, LIMITS

VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
CONDITIONS = ("", "-NC", "-ND", "-SA", "-NC-ND", "-NC-SA")
_IDS = frozenset(
    {"CC0-1.0", "CC-PDM-1.0"}
    | {f"LicenseRef-CC-BY{some}" for some in CONDITIONS}
    | {f"CC-BY{some}-{version}" for some in CONDITIONS for version in VERSIONS}
)

_PHRASES = {
    "nc": r"non[\W_]*commerciale?|nicht[\W_]*kommerziell(?:e[nrs]?)?|no[\W_]*comercial|pas d.?utilisation commerciale",
    "nd": r"no[\W_]*deriv(?:ative)?s?(?!a)(?:[\W_]*works?)?|keine[\W_]*bearbeitung(?:en)?|pas de modifications?(?!hare)"
    r"|sin[\W_]*(?:obra[\W_]*)?derivadas?(?!a)",
    "sa": r"share[\W_]*alike|weitergabe unter gleichen bedingungen|partage dans les m[eê]mes conditions|compartir[\W_]*igual",
    "BY": r"attribution|namensnennung|paternit[eé]|reconocimiento|atribuci[oó]n",
    "cc": r"creative\s*commons(?!\.)",
    "": r"licen[cs]e\b|international\b|unported\b|\bsome rights reserved\b|\bversion not stated\b",
}
"""What is said in words -> its code. Capitals tell the condition from the English word `by`."""

_AFTER = r"(?:\W*(?:version|v)\W*|[\s_-]*)(?P<{0}>\d[._]\d)(?!\.?\d)"
_LICENCE = re.compile(
    r"(?:https?://)?(?<![\w-])(?:www\.)?creativecommons\.org(?::\d+)?/(?:licenses|publicdomain)/"
    r"(?P<kind>zero|mark|by(?:-(?:nc|nd|sa))*)(?![\w-])(?:/(?P<url>\d\.\d)(?![\w.]))?"
    r"(?:/(?!(?:nc|nd|sa)\b)(?:[a-z]{2}|igo|scotland)\b(?!-))?(?:/(?:legalcode|deed)(?:[.-][a-z]{2,3}(?:[-_][a-z]{2,4})?)?\b)?/?"
    r"(?:\?(?:ref|lang)=[\w.-]+)?"
    r"|(?<![^\W_])cc[\s_-]*by(?P<conditions>(?:[\s_-]*(?:nc|nd|sa))*)(?![^\W\d_])"
    rf"(?:{_AFTER.format('code')}(?P<more>(?:[\s_-]*(?:nc|nd|sa))*)(?![^\W\d_])"
    r"(?:[_-](?:(?!nc|nd|sa|no)[a-z]{2}|igo|intl)(?![^\W_]))?)?"
    rf"|(?<![^\W_])cc[\s_-]*(?P<zero>0|zero)(?![^\W_])(?:{_AFTER.format('zeroth')})?"
    rf"|(?:(?<![^\W_])cc[\s_-]*pdm|\bpublic domain mark)(?![^\W\d_])(?:{_AFTER.format('mark')})?",
    re.IGNORECASE,
)  # fmt: skip
_TAKEN = "\0"
"""Stands where a licence was; a text has none of its own."""

_CODES = re.compile(r"(?<![^\W\d_])(?:by|nc|nd|sa)+(?![^\W\d_])", re.IGNORECASE)
_DOTTED = re.compile(r"(?<![^\W\d_])(?i:n\. ?c|n\. ?d|s\. ?a)(?![^\W\d_])(?!\.? *[A-Z])")
"""Conditions with full stops; before a capital they are somebody's initials."""

_SPOKEN = {
    "NC": re.compile(r"[ck]omm?er[csz][iyn]"),
    "ND": re.compile(r"deriv|bearbeit|abgeleitet|verander|modif|adapt|remix|transform"),
}
_VERSION = re.compile(r"(?<!\d)(?<!\d\.)\d[._]\d(?!\.?\d)")
_NAMED = re.compile(rf"([^()]*)\(\s*{_TAKEN}\s*\)\W*")

_STEMS = "|".join(re.escape(word).replace("\\*", "[^\\W\\d_]*") for word in LIMITS.split())
_LIMIT = re.compile(rf"(?<![^\W\d_])(?:{_STEMS}|[^\W\d_]*n['’]t)(?![^\W\d_])")
_SMALL = frozenset(HARMLESS.split())
_MARKS = frozenset(" .,;:()[]{}/-_'’‘`“”\"&|#+=<>\\" + _TAKEN)
_MOST_IN_A_HANDLE = 3


def known(name: str) -> bool:
    """Whether `name` is an id that `spdx` can give.

    >>> known("CC-BY-NC-4.0"), known("LicenseRef-CC-BY"), known("cc-by"), known("CC-BY-9.0")
    (True, True, False, False)
    """
    return name in _IDS


def spdx(text: str | None) -> str | None:
    """An id such as CC-BY-4.0, CC0-1.0, CC-PDM-1.0; LicenseRef-CC-BY-SA where no version is given; None where nothing is clear.

    Understands http and https addresses with ports, languages and `legalcode`, the constants of GBIF's downloads
    (CC_BY_NC_4_0), short forms, and the licences' own names in English, German, French and Spanish. Not clear is a text
    that names two licences, or that says beside its licence anything that may limit or contradict it.

    >>> spdx("https://creativecommons.org/licenses/by/3.0/us/legalcode"), spdx("Jane Doe (cc-by-sa)"), spdx("Usage Conditions Apply")
    ('CC-BY-3.0', 'LicenseRef-CC-BY-SA', None)
    >>> spdx("CC-BY-4.0-NC"), spdx("CC BY 4.0, no commercial use"), spdx("not CC0")
    ('CC-BY-NC-4.0', None, None)
    """
    text = _plain(text or "")
    for code, phrase in _PHRASES.items():
        text = re.sub(phrase, f"-{code}-", text, flags=re.IGNORECASE)
    found = {_id(match) for match in _LICENCE.finditer(text)}
    # A licence without its version says nothing against the same with one.
    found -= {f"LicenseRef-{name.rpartition('-')[0]}" for name in found}
    if len(found) != 1:
        return None
    licence = found.pop()
    return licence if known(licence) and _harmless(_LICENCE.sub(_TAKEN, text), licence) else None


def _plain(text: str) -> str:
    """One form for letters of any width, one dash, no invisible characters, spaces for all that is blank."""
    # Circled letters would become plain ones, and the sign of copyright an initial.
    kept = "".join("©" if letter in "Ⓒⓒ" else letter for letter in text)
    plain = []
    for letter in unicodedata.normalize("NFKC", kept):
        kind = unicodedata.category(letter)
        blank = kind == "Cc" or letter.isspace()
        plain.append(" " if blank else {"Cf": "", "Pd": "-"}.get(kind, letter))
    return "".join(plain)


def _id(match: re.Match) -> str:
    """Its conditions in the order of SPDX, whatever the order in which they were written; may be no id that exists."""
    kind = (match["kind"] or "").lower()
    if kind == "zero" or match["zero"]:
        return _versioned("CC0", match["url"] or match["zeroth"] or "1.0")
    if kind or match["conditions"] is not None:
        written = f"{kind}{match['conditions'] or ''}{match['more'] or ''}".lower()
        name = "-".join(["CC-BY", *(code for code in ("NC", "ND", "SA") if code.lower() in written)])
        return "CC-PDM-1.0" if kind == "mark" else _versioned(name, match["url"] or match["code"])
    return _versioned("CC-PDM", match["mark"] or "1.0")


def _versioned(name: str, version: str | None) -> str:
    return f"{name}-{version.replace('_', '.')}" if version else f"LicenseRef-{name}"


def _harmless(rest: str, licence: str) -> bool:
    """Whether what is said beside the licence leaves it as it is.

    Args:
        rest: the text with _TAKEN in place of each licence.
    """
    letters = [letter for letter in rest if letter.isalpha()]
    if not all(unicodedata.name(letter, "").startswith("LATIN") for letter in letters):
        return False  # another alphabet: nobody here can tell a name from a condition
    if any(not (letter.isalnum() or letter in _MARKS) for letter in rest):
        return False  # a sign of copyright, a question mark, the star of a footnote
    if re.search(rf"{_TAKEN}(?:[^\W_]|[_-]+[^\W_]{{3}})", rest):
        return False  # a code that goes on, unread
    bare = "".join(letter for letter in unicodedata.normalize("NFD", rest) if not unicodedata.combining(letter)).lower()
    if re.search(r"\(\s*c\s*\)", bare) or _LIMIT.search(bare):
        return False
    if _DOTTED.search(rest):
        return False
    said = {code for word in _CODES.findall(rest) for code in ("NC", "ND", "SA") if code in word.upper()}
    said |= {code for code, stem in _SPOKEN.items() if stem.search(bare)}
    if not said <= set(licence.split("-")):
        return False
    if "-BY" not in licence and (re.search(r"\bBY\b", rest) or re.search(rf"{_TAKEN}.*\bby", bare)):
        return False
    versions = {version.replace("_", ".") for version in _VERSION.findall(rest)}
    if not licence.startswith("LicenseRef") and not versions <= {licence.rpartition("-")[2]}:
        return False
    return _understood(rest)


def _understood(rest: str) -> bool:
    """Whether every word is a name or among the harmless; `who (licence)` may be a handle in small letters."""
    handle = _NAMED.fullmatch(rest)
    if handle and len(handle[1].split()) <= _MOST_IN_A_HANDLE:
        return True
    words = re.findall(r"[^\W_]+", _CODES.sub(" ", rest))
    return all(word[0].isupper() or any(map(str.isdigit, word)) or word.lower() in _SMALL for word in words)
