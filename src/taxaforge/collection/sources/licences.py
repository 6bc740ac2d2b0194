"""What a licence field says, as an SPDX-like id, however the publisher wrote it."""

import re

_URL = re.compile(
    r"creativecommons\.org/(?:licenses|publicdomain)/(zero|mark|by(?:-(?:nc|nd|sa))*)(?:/(\d\.\d))?\b", re.IGNORECASE
)
_CODE = re.compile(r"\bcc[\s_-]*by((?:[\s_-]*(?:nc|nd|sa))*)(?![a-z])[\s_-]*(?:v?(\d)[._](\d))?", re.IGNORECASE)
_ZERO = re.compile(r"\bcc[\s_-]*(?:0|zero)(?![a-z0-9])", re.IGNORECASE)
_CLOSED = re.compile(r"all rights reserved|©\s*all rights|no reuse|permission", re.IGNORECASE)
_WORDS = (
    (r"creative\s+commons", "cc"), (r"non[\s-]*commercial", "nc"), (r"share[\s-]*alike", "sa"),
    (r"no[\s-]*deriv(?:ative)?s?", "nd"), (r"attribution", "by"), (r"\b(?:licen[cs]e|international|unported)\b", " "),
)  # fmt: skip


def spdx(text: str | None) -> str | None:
    """An id such as CC-BY-4.0, CC0-1.0, CC-PDM-1.0; LicenseRef-CC-BY-SA where no version is given; None where nothing is clear.

    Understands http and https addresses with ports, languages and `legalcode`, and short forms. A text that
    reserves all rights, or names two different licences, is not clear.

    >>> spdx("https://creativecommons.org/licenses/by/3.0/us/legalcode"), spdx("Jane Doe (cc-by-sa)"), spdx("Usage Conditions Apply")
    ('CC-BY-3.0', 'LicenseRef-CC-BY-SA', None)
    """
    text = text or ""
    if _CLOSED.search(text):
        return None
    found = {_from_url(*match) for match in _URL.findall(text)}
    if not found:
        for pattern, word in _WORDS:
            text = re.sub(pattern, word, text, flags=re.IGNORECASE)
        found = {_from_code(*match) for match in _CODE.findall(text)} | ({"CC0-1.0"} if _ZERO.search(text) else set())
    return found.pop() if len(found) == 1 else None


def _from_url(kind: str, version: str) -> str:
    kind = kind.lower()
    return {"zero": "CC0-1.0", "mark": "CC-PDM-1.0"}.get(kind) or _versioned(f"CC-{kind.upper()}", version)


def _from_code(conditions: str, major: str, minor: str) -> str:
    parts = re.findall("nc|nd|sa", conditions.lower())
    return _versioned("-".join(["CC-BY", *(part.upper() for part in parts)]), f"{major}.{minor}" if major else "")


def _versioned(name: str, version: str) -> str:
    return f"{name}-{version}" if version else f"LicenseRef-{name}"
