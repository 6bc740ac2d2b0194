"""How a question reaches GBIF and what comes back: an answer, or one typed error.

pygbif 0.7 has no timeout, no retry and takes a maintenance page for an exception of its own. All its
GET requests pass through the module-level name `requests` of `pygbif.gbifutils`; `installed` puts a
`Transport` there and puts the old name back, and nothing else of the process is touched.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from taxaforge import __version__
from taxaforge.errors import TaxaforgeError

BASE = "https://api.gbif.org"
CHECKLISTS = {
    "col_xr": "7ddf754f-d193-4cc9-b351-99906754a03b",
    "gbif_backbone": "d7dddbf4-2cf0-4f39-9b2a-bb099caae36c",
}
"""Catalogue of Life eXtended Release (alphanumeric keys) and GBIF Backbone (numeric). Sent with every request:
server and pygbif have different defaults, and a key asked of the wrong checklist finds nothing, silently."""

LONGEST_WAIT_S = 120.0
"""A server that asks for more patience than this is treated as unavailable."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


class GbifError(TaxaforgeError):
    """No answer. This never means that there is no such name."""


class Rejected(GbifError):
    """4xx: asking again will not help."""


class RateLimited(GbifError):
    """429 outlasted every try, or the server asked for a very long wait."""


class Unavailable(GbifError):
    """5xx, reset or timeout outlasted every try."""


class BadPayload(GbifError):
    """Status 200, but not an answer."""


def api_base() -> str:
    """Where GBIF is: environment variable GBIF_API_BASE (a mirror, a test server), else the public service."""
    return (os.environ.get("GBIF_API_BASE") or BASE).rstrip("/")


def user_agent(contact: str) -> str:
    """Says truthfully who asks and how to reach them.

    >>> user_agent("jane@example.org").endswith("(jane@example.org)")
    True
    """
    return f"taxaforge/{__version__} ({contact.strip() or 'no contact given'})"


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, from its number or its HTTP date; None where it says nothing readable."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        due = parsedate_to_datetime(value)
    except ValueError:
        return None
    due = due if due.tzinfo else due.replace(tzinfo=UTC)
    return max(0.0, (due - now).total_seconds())


def usable(path: str, body: object) -> bool:
    """Whether a decoded body has the shape that the endpoint at `path` answers with."""
    if path.endswith("/species/match"):
        return (
            isinstance(body, dict) and isinstance(body.get("diagnostics"), dict) and "matchType" in body["diagnostics"]
        )
    if path.endswith("/occurrence/search"):
        return (
            isinstance(body, dict)
            and isinstance(body.get("results"), list)
            and isinstance(body.get("endOfRecords"), bool)
        )
    return isinstance(body, (dict, list)) and not (isinstance(body, dict) and set(body) == {"message"})


class Transport:
    """Stands where pygbif expects the `requests` module.

    base: scheme and host instead of pygbif's fixed one. agent: the User-Agent. timeout_s: longest silence
    of the server. tries: attempts a request, the first included. sleep: waits, given seconds.
    One thread, one connection that is kept open; asks one thing at a time.
    """

    __version__ = requests.__version__

    def __init__(
        self,
        base: str,
        agent: str,
        timeout_s: float = 30.0,
        tries: int = 6,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.base, self.agent, self.timeout_s, self.tries, self.sleep = base, agent, timeout_s, tries, sleep
        self.session = requests.Session()
        self.jitter = random.Random()  # so that many clients do not come back at once; no result depends on it

    def get(self, url: str, params=None, headers=None, **options) -> requests.Response:
        """A response whose body is JSON of the right shape.

        headers: pygbif's own, replaced by an honest User-Agent. Raises: a GbifError.
        """
        path = urlsplit(url).path
        failure: GbifError | None = None
        for attempt in range(self.tries):
            try:
                return self._once(path, params, {"timeout": (min(5.0, self.timeout_s), self.timeout_s)} | options)
            except _Again as again:
                failure, asked = again.failure, again.wait
            if asked is not None and asked > LONGEST_WAIT_S:
                raise RateLimited(f"{self.base}{path} asks to wait {asked:.0f} s. Run again later.")
            if attempt + 1 < self.tries:
                pause = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2**attempt) * self.jitter.uniform(0.5, 1.5)
                self.sleep(pause if asked is None else max(asked, pause / 4))
        raise failure

    def _once(self, path: str, params, options) -> requests.Response:
        where = f"{self.base}{path}"
        try:
            response = self.session.get(where, params=params, headers={"User-Agent": self.agent}, **options)
        except requests.RequestException as error:  # reset, timeout, a body that breaks off
            raise _Again(Unavailable(f"{where} gave no answer ({type(error).__name__}).")) from error
        status = response.status_code
        if status == 429 or status >= 500:
            kind = RateLimited if status == 429 else Unavailable
            wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise _Again(kind(f"{where} answered {status}."), wait)
        if status >= 400:
            raise Rejected(f"{where} refused the request with {status}: {response.text[:120]}")
        try:
            body = response.json()
        except ValueError as error:  # maintenance page, cut body
            raise _Again(BadPayload(f"{where} answered 200 with something that is not JSON.")) from error
        if not usable(path, body):
            raise BadPayload(f"{where} answered 200 with something that is no answer: {response.text[:120]}")
        response.headers["content-type"] = "application/json"  # pygbif compares the string and knows no charset
        return response


class _Again(Exception):
    """An attempt that may be repeated. wait: seconds the server asked for."""

    def __init__(self, failure: GbifError, wait: float | None = None):
        self.failure, self.wait = failure, wait


_one_at_a_time = threading.Lock()


@contextmanager
def installed(transport: Transport) -> Iterator[None]:
    """pygbif speaks through `transport` inside the block. One block at a time in a process."""
    # Imported here: pygbif draws in matplotlib (a second of start-up) and configures the root logger;
    # who resolves against the snapshot should pay for neither.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import pygbif.gbifutils as seam

    root.handlers[:], root.level = handlers, level
    with _one_at_a_time:
        before, seam.requests = seam.requests, transport
        try:
            yield
        finally:
            seam.requests = before
            transport.session.close()
