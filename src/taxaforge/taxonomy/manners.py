"""How GBIF is asked: where, under which name, how often, with how much patience, and in which spelling."""

import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

from taxaforge import __version__
from taxaforge.errors import TaxaforgeError

BASE = "https://api.gbif.org"


class BadAddress(TaxaforgeError):
    """GBIF_API_BASE holds something that cannot be asked."""


def api_base() -> str:
    """Where GBIF is: environment variable GBIF_API_BASE (a mirror, a test server), else the public service."""
    base = (os.environ.get("GBIF_API_BASE") or BASE).rstrip("/")
    if not _is_address(base):
        raise BadAddress(
            f"GBIF_API_BASE is {_without_secrets(base)}, which is no address such as {BASE}: scheme, host, perhaps a port and a path, "
            "but neither user nor password, for every answer is stored with the address it is from. Correct it or unset it."
        )
    return base


def _is_address(base: str) -> bool:
    """Whether paths can be appended to it and the whole be asked."""
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:  # half a bracket, a port that is no number
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and port != 0
        and not re.search(r"[\s?#\x00-\x1f\x7f]", base)
        and "@" not in parts.netloc
    )


def _without_secrets(base: str) -> str:
    """As much of a wrong address as may be shown: user and password stand before an @, tokens behind a question mark."""
    if "@" in base:
        return f"'...@{base.rpartition('@')[2].partition('?')[0]}'"
    return repr(base.partition("?")[0] + "?..." * ("?" in base))


def user_agent(contact: str) -> str:
    """Says truthfully who asks and how to reach them.

    >>> user_agent("jane@example.org").endswith("(jane@example.org)")
    True
    """
    contact = " ".join(contact.encode("ascii", "replace").decode().split())  # a header takes no more than that
    return f"taxaforge/{__version__} ({contact or 'no contact given'})"


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, from its number or its HTTP date; None where it says nothing readable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            due = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):  # by what is wrong with the date
            return None
        due = due if due.tzinfo else due.replace(tzinfo=UTC)
        seconds = (due - now).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None  # "nan" is a float, too


def canonical(params: Mapping | None) -> str:
    """The one spelling of a question's parameters: what is sent, and what its answer is found by.

    Sorted, NFC, UTF-8; None and a false `verbose` or `strict` left out, for they change nothing.

    >>> canonical({"verbose": "false", "strict": None, "scientificName": "Aus bus", "kingdom": "Animalia"})
    'kingdom=Animalia&scientificName=Aus+bus'
    """
    pairs = []
    for name, value in (params or {}).items():
        for one in _given(value):
            text = unicodedata.normalize("NFC", str(one).lower() if isinstance(one, bool) else str(one))
            if not (name in {"verbose", "strict"} and text == "false"):
                pairs.append((name, text))
    return urlencode(sorted(pairs))


def _given(value: object) -> list:
    """The values of a parameter, of which it may have none, one or several."""
    return [one for one in (value if isinstance(value, (list, tuple)) else [value]) if one is not None]


class Pacer:
    """`pace()` returns at most `per_second` times a second, whoever calls; the first call returns at once."""

    def __init__(
        self,
        per_second: float,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.gap_s, self.now, self.sleep = 1 / per_second, now, sleep
        self.due, self.lock = float("-inf"), threading.Lock()

    def __call__(self) -> None:
        with self.lock:
            now = self.now()
            if now < self.due:
                self.sleep(self.due - now)
            self.due = max(now, self.due) + self.gap_s
