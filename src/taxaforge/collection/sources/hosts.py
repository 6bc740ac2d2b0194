"""Many addresses at once, each host at its own pace.

Threads take whatever host is ready next, so a slow or strict one keeps nobody else waiting. A host is asked
`rate` times a second at most, by a few threads at a time, and not at all while it asks to be left alone. A
retry and every hop of a redirect wait in the queue of their host like everything else.
"""

import hashlib
import heapq
import itertools
import random
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

from taxaforge.collection.media import Media, Outcome
from taxaforge.collection.sources.download import (
    LONGEST_CONNECT_S,
    PASSING,
    SILENT,
    TRANSIENT,
    Reply,
    ask,
    open_session,
    reachable,
)
from taxaforge.taxonomy.transport import LONGEST_WAIT_S, NotStored, Unavailable, api_base, user_agent

MOST_REDIRECTS = 5
MOST_A_HOST = 4
"""Requests to one host at a time."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Before the second try; doubled before each further one, unless the host says how long to wait."""

GIVEN_UP_S = 60.0
"""A host that said nothing for so long gets a single try an address until it speaks again."""


@dataclass
class _Host:
    queue: list = field(default_factory=list)  # heap of (not before, number, task)
    ready: float = 0.0
    active: int = 0
    silent_since: float | None = None


@dataclass
class _Task:
    url: str
    version: Outcome | None
    at: str = ""
    hops: int = 0
    tries: int = 0
    began: float = 0.0  # of its last request


class Fetcher:
    """`ask(url)` any number of times, then as many `next()`; a context, which ends its threads.

    Args:
        media: where outcomes are found and kept.
        network: section network, with "offline" and "allow_private_hosts".
    """

    def __init__(self, media: Media, network: Mapping):
        self.media, self.network = media, network
        self.agent, self.base = user_agent(network["contact"]), api_base()
        self.gap_s = 1 / network["image_requests_per_second"]
        self.hosts: defaultdict[str, _Host] = defaultdict(_Host)
        self.number = itertools.count()
        self.jitter = random.Random()  # spreads retries; no result depends on it
        self.changed = threading.Condition()
        self.done: deque[Outcome] = deque()
        self.failure: BaseException | None = None
        self.pending, self.closed = 0, False
        self.threads: list[threading.Thread] = []
        self.spoke = self.base  # the host that said something last
        self.probing, self.probed = threading.Lock(), float("-inf")

    def __enter__(self) -> "Fetcher":
        return self

    def __exit__(self, *exc) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join(0.2)

    def ask(self, url: str) -> None:
        """Wants a picture. Raises: NotStored offline, where nobody fetched it before; DamagedStore."""
        known = self.media.any_age(url) if self.network["offline"] else self.media.settled(url)
        if known is None and self.network["offline"]:
            raise NotStored(
                f"The picture {url} is not in {self.media.root}, and nobody may be asked. Run once with "
                "`taxonomy: {offline: false}`, or bring the store (`network.store`) of such a run here."
            )
        with self.changed:
            self.pending += 1
            if known is None:
                self._start()
                self._queue(_Task(url, self.media.version(url), url))
            else:
                self.done.append(known)
                self.changed.notify_all()

    def next(self) -> Outcome:
        """An outcome of what was asked, whichever is there first. Raises: what stopped the fetching as a whole."""
        with self.changed:
            if not self.pending:
                raise LookupError("nothing was asked")
            while not self.done and self.failure is None:
                self.changed.wait()
            if self.done:
                self.pending -= 1
                return self.done.popleft()
            raise self.failure

    def _start(self) -> None:
        while len(self.threads) < self.network["image_workers"]:
            self.threads.append(threading.Thread(target=self._work, daemon=True))
            self.threads[-1].start()

    def _queue(self, task: _Task, after_s: float = 0.0) -> None:
        host = self.hosts[_host_of(task.at)]
        heapq.heappush(host.queue, (time.monotonic() + after_s, next(self.number), task))
        self.changed.notify_all()

    def _take(self) -> tuple[_Host, _Task] | None:
        """The task whose turn is next, waiting for it; None when all is over."""
        with self.changed:
            while not self.closed:
                now = time.monotonic()
                open_ = [host for host in self.hosts.values() if host.queue and host.active < MOST_A_HOST]
                due, host = min(
                    ((max(h.ready, h.queue[0][0]), h) for h in open_), key=lambda pair: pair[0], default=(None, None)
                )
                if host is not None and due <= now:
                    host.active += 1
                    host.ready = now + self.gap_s
                    return host, replace(heapq.heappop(host.queue)[2], began=now)
                self.changed.wait(None if host is None else due - now)
        return None

    def _work(self) -> None:
        private, timeout_s = self.network["allow_private_hosts"], self.network["timeout_s"]
        try:
            with open_session(self.agent, private) as session:
                while taken := self._take():
                    host, task = taken
                    etag, modified = (task.version.etag, task.version.lastModified) if task.version else (None, None)
                    self._route(host, task, ask(session, task.at, timeout_s, etag, modified, private))
        except BaseException as error:  # whatever ends a thread must reach whoever waits for its work
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify_all()

    def _route(self, host: _Host, task: _Task, reply: Reply) -> None:
        """What becomes of a task after one request: the next hop, another try, or its outcome."""
        error = reply.error
        if reply.location and task.hops == MOST_REDIRECTS:
            error = "too_many_redirects"
        with self.changed:
            host.active -= 1
            if reply.answered:
                host.silent_since, self.spoke = None, _host_of(task.at)
            elif host.silent_since is None:
                host.silent_since = task.began
            if reply.location and not error:
                self._queue(replace(task, at=reply.location, hops=task.hops + 1))
                return
            task = replace(task, tries=task.tries + 1)
            if error in TRANSIENT:
                pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (task.tries - 1)) * self.jitter.uniform(0.5, 1.5)
                pause = pause if reply.wait is None else max(reply.wait, pause / 4)
                if reply.wait is not None or error == "http_429":
                    host.ready = max(host.ready, time.monotonic() + min(pause, LONGEST_WAIT_S))
                dead = host.silent_since is not None and time.monotonic() - host.silent_since > GIVEN_UP_S
                tries = 1 if dead else self.network["tries"]
                if task.tries < tries and pause <= LONGEST_WAIT_S:
                    self._queue(replace(task, at=task.url, hops=0), pause)
                    return
            self.changed.notify_all()
        if error in SILENT and not reply.answered:
            self._doubt(task)
        outcome = self._keep(task, reply, error)
        with self.changed:
            self.done.append(outcome)
            self.changed.notify_all()

    def _keep(self, task: _Task, reply: Reply, error: str) -> Outcome:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        outcome = Outcome(
            task.url, self.media.job, errorCode=error, passing=error in PASSING, tries=task.tries, retrievedAt=at,
            finalUrl=task.at if task.at != task.url else None, etag=reply.etag, lastModified=reply.lastModified,
        )  # fmt: skip
        if reply.unchanged:
            version = task.version
            outcome = replace(outcome, sha256=version.sha256, etag=version.etag, lastModified=version.lastModified)
        elif not error:
            outcome = replace(outcome, sha256=hashlib.sha256(reply.content).hexdigest())
        self.media.put(outcome, reply.content or None)
        return outcome

    def _doubt(self, task: _Task) -> None:
        """A host that says nothing is dead, or we are cut off. Raises: Unavailable for the latter, which is no outcome."""
        with self.probing:
            if self.probed > task.began:
                return
            longest_s = min(LONGEST_CONNECT_S, self.network["timeout_s"])
            if not any(reachable(host, longest_s) for host in (self.base, self.spoke) * 2):
                raise Unavailable(
                    f"Neither {_host_of(task.at)} nor {self.base} takes a connection: the network is down. "
                    "What was fetched is kept; run again later."
                )
            self.probed = time.monotonic()


def _host_of(url: str) -> str:
    """Scheme, host and port: what has a pace of its own."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no address at all; whoever asks it will say so
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
