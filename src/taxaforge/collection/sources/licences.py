"""What a licence field says, as an SPDX-like id, however the publisher wrote it."""

import re

_URL = re.compile(
    r"creativecommons\.org(?::\d+)?/(?:licenses|publicdomain)/(zero|mark|by(?:-(?:nc|nd|sa))*)(?![\w-])(?:/(\d\.\d))?",
    re.IGNORECASE,
)
_CODE = re.compile(r"\bcc[\s_-]*by((?:[\s_-]*(?:nc|nd|sa))*)(?![a-z])[\s_-]*(?:v?(\d)[._](\d))?", re.IGNORECASE)
_ZERO = re.compile(r"\bcc[\s_-]*(?:0|zero)(?![a-z0-9])", re.IGNORECASE)
_MARK = re.compile(r"\bcc[\s_-]*pdm(?![a-z])|\bpublic domain mark\b", re.IGNORECASE)
_CLOSED = re.compile(r"all rights reserved|©\s*all rights|no reuse|permission", re.IGNORECASE)
_CONDITIONS = {"NC": r"non[\s-]*commercial", "SA": r"share[\s-]*alike", "ND": r"no[\s-]*deriv(?:ative)?s?"}
_WORDS = (
    (r"creative\s+commons", "cc"), *((words, code) for code, words in _CONDITIONS.items()), (r"attribution", "by"),
    (r"\b(?:licen[cs]e|international|unported)\b", " "),
)  # fmt: skip


def spdx(text: str | None) -> str | None:
    """An id such as CC-BY-4.0, CC0-1.0, CC-PDM-1.0; LicenseRef-CC-BY-SA where no version is given; None where nothing is clear.

    Understands http and https addresses with ports, languages and `legalcode`, the constants of GBIF's downloads
    (CC_BY_NC_4_0), and short forms. A text that reserves all rights, names two different licences, or asks in words
    for a condition that its licence does not have, is not clear.

    >>> spdx("https://creativecommons.org/licenses/by/3.0/us/legalcode"), spdx("Jane Doe (cc-by-sa)"), spdx("Usage Conditions Apply")
    ('CC-BY-3.0', 'LicenseRef-CC-BY-SA', None)
    """
    text = written = text or ""
    if _CLOSED.search(text):
        return None
    found = {_from_url(*match) for match in _URL.findall(text)}
    if not found:
        for pattern, word in _WORDS:
            text = re.sub(pattern, word, text, flags=re.IGNORECASE)
        found = {_from_code(*match) for match in _CODE.findall(text)}
        found |= {"CC0-1.0"} if _ZERO.search(text) else set()
        found |= {"CC-PDM-1.0"} if _MARK.search(text) else set()
    if len(found) != 1:
        return None
    licence = found.pop()
    asked = {code for code, words in _CONDITIONS.items() if re.search(words, written, re.IGNORECASE)}
    return licence if asked <= set(licence.split("-")) else None


def _from_url(kind: str, version: str) -> str:
    kind = kind.lower()
    return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}.get(kind) or _versioned(kind, version)


def _from_code(conditions: str, major: str, minor: str) -> str:
    return _versioned(conditions.lower(), f"{major}.{minor}" if major else "")


def _versioned(conditions: str, version: str) -> str:
    """Conditions in the order of SPDX, whatever the order in which they were written."""
    name = "-".join(["CC-BY", *(code for code in ("NC", "ND", "SA") if code.lower() in conditions)])
    return f"{name}-{version}" if version else f"LicenseRef-{name}"
