"""How a question reaches GBIF and what comes back: an answer, from the store or the network, or one typed error.

pygbif 0.7 has no timeout, no retry and takes a maintenance page for an exception of its own. All its
GET requests pass through the module-level name `requests` of `pygbif.gbifutils`; `installed` puts a
`Transport` there and puts the old name back, and nothing else of the process is touched.
"""

import functools
import hashlib
import inspect
import json
import logging
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from taxaforge.taxonomy.answers import Evidence
from taxaforge.taxonomy.failures import (
    BadPayload,
    GbifError,
    NewRelease,
    NoJson,
    NotStored,
    RateLimited,
    Rejected,
    Unavailable,
    WrongPygbif,
)
from taxaforge.taxonomy.keys import CHECKLISTS, checklist_of, refuse_loose_keys
from taxaforge.taxonomy.manners import Pacer, api_base, canonical, retry_after, user_agent
from taxaforge.taxonomy.payloads import release_of, says_something, usable
from taxaforge.taxonomy.store import AnswerStore, Entry, request_of

METADATA = "/v2/species/match/metadata"

LONGEST_WAIT_S = 120.0
"""A server that asks for more patience than this is treated as unavailable."""

SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0

LONGEST_ANSWER_S, LARGEST_ANSWER = 300.0, 64 * 2**20
"""An answer that drips for longer, or grows larger in bytes, is broken off."""


@functools.cache
def _pacer(base: str, per_second: float) -> Pacer:
    """One clock a service, however many checklists are asked at a time."""
    return Pacer(per_second)


@dataclass(frozen=True)
class Received:
    """As much of a `requests.Response` as pygbif looks at."""

    content: bytes
    body: object
    status_code: int = 200

    @property
    def headers(self) -> dict[str, str]:
        return {"content-type": "application/json"}  # pygbif compares the string and knows no charset

    def raise_for_status(self) -> None:
        """Errors were raised long before."""

    def json(self) -> object:
        return self.body


class Transport:
    """Stands where pygbif expects the `requests` module.

    base: scheme and host instead of pygbif's fixed one. agent: the User-Agent. timeout_s: longest silence
    of the server. tries: attempts a request, the first included. sleep: waits, given seconds. pace: called
    before every attempt. store: answers of before, and where new ones go. reuse_days: how old one of before
    may be. offline: only the store answers, at any age, whoever was asked. last: evidence of the answer handed
    out last. One thread, one connection that is kept open; asks one thing at a time.
    All answers of a session to name questions are of one release, where the service tells it; see NewRelease.
    """

    __version__ = requests.__version__

    def __init__(
        self,
        base: str,
        agent: str,
        timeout_s: float = 30.0,
        tries: int = 6,
        sleep: Callable[[float], None] = time.sleep,
        *,
        pace: Callable[[], None] = lambda: None,
        store: AnswerStore | None = None,
        reuse_days: float = 0.0,
        offline: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.base, self.agent, self.timeout_s, self.tries, self.sleep = base, agent, timeout_s, tries, sleep
        self.pace, self.store, self.offline, self.now = pace, store, offline, now
        self.reuse = timedelta(days=reuse_days)
        self.session = requests.Session()
        self.jitter = random.Random()  # so that many clients do not come back at once; no result depends on it
        self.releases: dict[str, str | None] = {}  # checklist -> release, asked in this session
        self.given: defaultdict[str, set[str | None]] = defaultdict(set)  # checklist -> of answers out of the store
        self.last: Evidence | None = None

    def close(self) -> None:
        self.session.close()

    def get(self, url: str, params: Mapping | None = None, headers: Mapping | None = None) -> Received:
        """An answer: JSON of the right shape.

        headers: pygbif's own, replaced by an honest User-Agent. Raises: a GbifError; DamagedStore; BadTaxonKey.
        """
        path, query, checklist = urlsplit(url).path, canonical(params), checklist_of(params or {})
        if "/occurrence/" in path:
            refuse_loose_keys(params or {})
        if stored := self._stored(path, query, checklist):
            return stored
        if self.offline:
            raise NotStored(
                f"{request_of(path, query)} is not among the answers in {self.store.root if self.store is not None else 'no store'}, and nobody "
                "may be asked. Run once with `taxonomy: {offline: false}`, or bring the store (`network.store`) of such a run here."
            )
        release = self.release(checklist) if _has_release(path) else None
        content, body, tries = self._ask(path, query)
        digest = hashlib.sha256(content).hexdigest()
        at = self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = Entry("GET", path, query, self.base, checklist, release, at, 200, tries, digest)
        if self.store is not None and says_something(path, body):
            self.store.put(entry, content)
        return self._hand_out(entry, content, body)

    def release(self, checklist: str) -> str | None:
        """Release of a checklist's name index, asked once a session; None where the service does not tell.

        Raises: NewRelease where answers of another one were handed out before it was asked.
        """
        if checklist not in self.releases:
            query = canonical({"checklistKey": CHECKLISTS.get(checklist)})
            try:
                self.releases[checklist] = release_of(self._ask(METADATA, query)[1])
            except GbifError as error:
                self.releases[checklist] = None
                print(f"note: the release of {checklist or 'the checklist'} is unknown. {error}", file=sys.stderr)
            told = self.releases[checklist]
            if told and self.given[checklist] - {told}:
                raise NewRelease(
                    f"{self.base} has release {told!r} of {checklist or 'the checklist'} now, and stored answers of another one were "
                    "used before that was known. Run again."
                )
        return self.releases[checklist]

    def _stored(self, path: str, query: str, checklist: str) -> Received | None:
        """An answer of before that may still be given: of the same service, or offline of any, the same preferred."""
        if self.store is None:
            return None
        for base in (self.base, None) if self.offline else (self.base,):
            entry = self.store.find(request_of(path, query), base)
            if entry is None or not (self.offline or self._is_fresh(entry)):
                continue
            content = self.store.body(entry)
            if content is not None and usable(path, body := json.loads(content)):
                if _has_release(path):
                    self.given[checklist].add(entry.release)
                return self._hand_out(entry, content, body)
        return None

    def _is_fresh(self, entry: Entry) -> bool:
        """Young enough, and of the release that the service has now, as far as anybody knows.

        Nobody is asked for the release while the store speaks with one voice; only an answer of another
        release than its newest one is a reason to ask. Where the service does not tell, all are of one.
        """
        if self.now() - datetime.fromisoformat(entry.retrievedAt) > self.reuse:
            return False
        if not _has_release(entry.path):
            return True
        if entry.checklist not in self.releases:
            voices = self.given[entry.checklist] or {self.store.release(entry.checklist, self.base)}
            if voices == {entry.release}:
                return True
        told = self.release(entry.checklist)
        if told:
            return entry.release == told
        return len({*self.given[entry.checklist], entry.release} - {None}) <= 1

    def _hand_out(self, entry: Entry, content: bytes, body: object) -> Received:
        self.last = Evidence(
            entry.request, entry.checklist, entry.release, entry.retrievedAt, entry.tries, entry.sha256
        )
        return Received(content, body)

    def _ask(self, path: str, query: str) -> tuple[bytes, object, int]:
        """Bytes, the same decoded, and the number of attempts it took."""
        failure: GbifError | None = None
        for attempt in range(self.tries):
            self.pace()
            try:
                return *self._once(path, query), attempt + 1
            except _Again as again:
                failure, asked = again.failure, again.wait
            if asked is not None and asked > LONGEST_WAIT_S:
                raise type(failure)(f"{self.base}{path} asks to wait {asked:.0f} s. Run again later.") from failure
            if attempt + 1 < self.tries:
                pause = min(LONGEST_PAUSE_S, SHORTEST_PAUSE_S * 2**attempt) * self.jitter.uniform(0.5, 1.5)
                self.sleep(pause if asked is None else max(asked, pause / 4))
        raise failure

    def _once(self, path: str, query: str) -> tuple[bytes, object]:
        where = f"{self.base}{path}"
        try:
            with self.session.get(
                f"{self.base}{request_of(path, query)}",
                headers={"User-Agent": self.agent, "Accept": "application/json"},
                timeout=(min(5.0, self.timeout_s), self.timeout_s),
                stream=True,
            ) as response:
                content = _read(response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:  # reset, silence, half a body
            raise _Again(Unavailable(f"{where} gave no answer ({type(error).__name__}).")) from error
        status, text = response.status_code, content[:120].decode("utf-8", "replace")
        if status in {408, 425, 429} or status >= 500:
            kind = RateLimited if status == 429 else Unavailable
            wait = retry_after(response.headers.get("Retry-After"), self.now())
            raise _Again(kind(f"{where} answered {status}."), wait)
        if status >= 400:
            raise Rejected(f"{where} refused the request with {status}: {text}")
        try:
            body = json.loads(content)
        except (ValueError, RecursionError) as error:  # maintenance page, cut body
            raise _Again(NoJson(f"{where} answered {status} with something that is not JSON.")) from error
        if status != 200 or not usable(path, body):
            raise BadPayload(f"{where} answered {status} with something that is no answer: {text}")
        return content, body


class _Again(Exception):
    """An attempt that may be repeated. wait: seconds the server asked for."""

    def __init__(self, failure: GbifError, wait: float | None = None):
        self.failure, self.wait = failure, wait


def _has_release(path: str) -> bool:
    """Whether answers of an endpoint are of a release of a checklist's name index."""
    return path.endswith("/species/match")


def _read(response: requests.Response) -> bytes:
    """The whole body, unless it takes too long or grows too large."""
    ends, content = time.monotonic() + LONGEST_ANSWER_S, bytearray()
    while piece := response.raw.read1(65536, decode_content=True):  # what has come, however little
        content += piece
        if len(content) > LARGEST_ANSWER or time.monotonic() > ends:
            raise requests.ConnectionError("no end in sight")
    return bytes(content)


def open_service(network: Mapping) -> Transport:
    """GBIF as section `network` says; pass it to `installed`. network: with "offline", from section `taxonomy`."""
    base = api_base()
    return Transport(
        base,
        user_agent(network["contact"]),
        network["timeout_s"],
        network["tries"],
        pace=_pacer(base, network["requests_per_second"]),
        store=AnswerStore(Path(network["store"]) / "answers"),
        reuse_days=network["reuse_days"],
        offline=network["offline"],
    )


_one_at_a_time = threading.RLock()


@contextmanager
def installed(transport: Transport) -> Iterator[None]:
    """pygbif speaks through `transport` inside the block. Other threads of the process wait at the door."""
    with speaking(transport):
        try:
            yield
        finally:
            transport.close()


@contextmanager
def speaking(transport: Transport) -> Iterator[None]:
    """The same for one of several transports that are open at a time: its connection stays open."""
    seam = _pygbif()
    with _one_at_a_time:
        before, seam.requests = seam.requests, transport
        try:
            yield
        finally:
            seam.requests = before


USED = {
    "species.name_backbone": "scientificName scientificNameAuthorship taxonRank kingdom phylum class_ order family genus verbose "
    "checklistKey",
    "occurrences.search": "taxonKey country year basisOfRecord mediatype checklistKey limit offset",
    "gbifutils.gbif_GET": "url args",
}
"""What of pygbif is called, and with which parameters: an unknown one it passes on in silence, or dies of in strange ways."""


@functools.cache
def _pygbif():
    """The module with the name to replace. Raises: WrongPygbif where this is not the pygbif we know."""
    # Imported here: pygbif draws in matplotlib (a second of start-up) and configures the root logger;
    # who resolves against the snapshot should pay for neither.
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import pygbif
    from pygbif import gbifutils, occurrences, species

    root.handlers[:], root.level = handlers, level
    modules = {"species": species, "occurrences": occurrences, "gbifutils": gbifutils}
    for called, parameters in USED.items():
        module, function = called.split(".")
        known = getattr(modules[module], function, None)
        missing = set(parameters.split()) - set(inspect.signature(known).parameters if known else ())
        if missing or not hasattr(gbifutils, "requests"):
            raise WrongPygbif(
                f"pygbif {getattr(pygbif, '__version__', '?')} has no {called} with {', '.join(sorted(missing)) or 'requests'}. "
                "Install the version that was tested: pip install 'pygbif==0.7.0'."
            )
    return gbifutils
