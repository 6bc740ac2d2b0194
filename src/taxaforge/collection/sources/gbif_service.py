"""The download service of GBIF: a request, a status, a file; each with retries, and credentials kept to itself.

Interface (gbif/tech-docs @6759a20, api-downloads; gbif/occurrence @6dd3c0e, DownloadResource.java and
DownloadRequestServiceImpl.java; gbif/gbif-api @06da136, Download.java): POST /v1/occurrence/download/request with
HTTP Basic credentials answers with a key; GET /v1/occurrence/download/<key> tells status, DOI and size; GET
/v1/occurrence/download/request/<key>.zip redirects to a file server that understands Range. An identical request
within 48 hours gets the key of the first, so a request may be repeated. 413: too many conditions; 420 and 429:
too many downloads at a time.

pygbif's own request sends the credentials over plain http, hence this one.
"""

import os
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from taxaforge.errors import TaxaforgeError
from taxaforge.progress import Progress
from taxaforge.taxonomy.transport import (
    LONGEST_WAIT_S,
    BadPayload,
    GbifError,
    RateLimited,
    Rejected,
    Unavailable,
    api_base,
    retry_after,
    user_agent,
)

WAITING = {"PREPARING", "RUNNING", "SUSPENDED"}
LOST = {"CANCELLED", "KILLED", "FAILED", "FILE_ERASED"}
MOST_REDIRECTS = 5
FIRST_PAUSE_S = 0.5
PIECE = 1 << 12
"""Bytes written at a time; of a connection that breaks, no more is lost."""

LOOKS_A_LINE = 10
"""Of so many looks at an unchanged status one is told."""


class NoAccount(TaxaforgeError):
    """GBIF prepares downloads for its registered users only, and nobody said who asks."""


class DownloadFailed(GbifError):
    """GBIF gave the download up; waiting or asking for its file again will not help."""


class _Again(Exception):
    """An attempt that may be repeated. wait: seconds the server asked for."""

    def __init__(self, failure: GbifError, wait: float | None = None):
        self.failure, self.wait = failure, wait


class Service:
    """Questions about downloads, under section `network`; sleep: waits, given seconds."""

    def __init__(self, network: Mapping, sleep: Callable[[float], None]):
        self.base, self.sleep = api_base(), sleep
        self.local = _is_loopback(self.base)
        if urlsplit(self.base).scheme != "https" and not self.local:
            raise Rejected(
                f"{self.base} is no https address: it would get your GBIF password in the clear. See GBIF_API_BASE."
            )
        self.tries, self.timeout_s = network["tries"], network["timeout_s"]
        self.per_second = network["requests_per_second"]
        self.session = requests.Session()
        self.session.headers["User-Agent"] = user_agent(network["contact"])

    def request(self, body: dict) -> str:
        """The key of a download, new or that of an identical request of late. Raises: NoAccount; GbifError."""
        user, password = os.environ.get("GBIF_USER", ""), os.environ.get("GBIF_PASSWORD", "")
        if not user or not password:
            raise NoAccount(
                "GBIF prepares downloads for registered users. Set GBIF_USER and GBIF_PASSWORD in the environment (the name, "
                "not the address), or `collection.gbif.via: search` for few images, or name an archive you have in "
                "`collection.gbif.archive`."
            )

        def once() -> str:
            with self._asked("POST", "/v1/occurrence/download/request", json=body, auth=(user, password)) as response:
                key = response.text.strip().strip('"')
                if not re.fullmatch(r"\d+-\d+", key):
                    raise _Again(BadPayload(f"{response.url} answered with {key[:80]!r}, which is no download key."))
                return key

        return self._retried(once)

    def ready(self, key: str, checklist_key: str) -> dict:
        """What the service tells of a download once its file is ready. Raises: DownloadFailed; GbifError."""

        def once() -> dict:
            with self._asked("GET", f"/v1/occurrence/download/{key}") as response:
                told = _object(response)
                if told.get("status") not in WAITING | LOST | {"SUCCEEDED"}:
                    raise _Again(BadPayload(f"{response.url} answered without a status: {response.text[:80]!r}"))
                return told

        shortest = 1 / self.per_second
        pause, before, looks, began = shortest, None, 0, time.monotonic()
        while True:
            told = self._retried(once)
            status = told["status"]
            if status in LOST:
                raise DownloadFailed(
                    f"GBIF download {key} is {status}. Run again to request it anew; if that repeats, ask for fewer taxa "
                    "or see https://www.gbif.org/user/download."
                )
            if status != before or looks % LOOKS_A_LINE == 0:
                print(f"GBIF download {key}: {status} after {time.monotonic() - began:.0f} s", flush=True)
            if status == "SUCCEEDED":
                break
            before, looks = status, looks + 1
            self.sleep(pause)
            pause = min(pause * 1.5, max(self.timeout_s, shortest))
        content = (told.get("request") or {}).get("checklistKey")
        if content not in (None, checklist_key):
            raise DownloadFailed(f"GBIF download {key} has the taxa of checklist {content}, asked was {checklist_key}.")
        return told

    def fetch(self, key: str, file: Path, size: int) -> None:
        """The whole, readable zip at `file`. size: bytes it must have; 0: not told. A part of before is continued."""
        part = file.with_name(f"{file.name}.part")
        part.parent.mkdir(parents=True, exist_ok=True)

        def once() -> None:
            expected = self._continue(f"/v1/occurrence/download/request/{key}.zip", part, size)
            if part.stat().st_size < expected:  # what has come is good, the rest can be asked for
                raise _Again(Unavailable(f"The file of GBIF download {key} broke off."))
            if flaw := _flaw(part):
                part.unlink()
                raise _Again(BadPayload(f"GBIF download {key} came as {flaw}."))

        self._retried(once, lambda: part.stat().st_size if part.exists() else 0)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, file)

    def _continue(self, path: str, part: Path, size: int) -> int:
        """Fetches what `part` lacks; returns how many bytes the whole file has, 0 where nobody says."""
        start = part.stat().st_size if part.exists() else 0
        if size and start >= size:
            return size
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self._asked("GET", path, headers=headers, stream=True) as response:
            if response.status_code == 416:  # nothing lies behind what we have
                return 0
            continued = response.status_code == 206
            begins, _, total = response.headers.get("Content-Range", "").partition("/")
            if continued and not begins.startswith(f"bytes {start}-"):
                part.unlink()
                raise _Again(BadPayload(f"{response.url} answered with another range than asked."))
            start = start if continued else 0
            whole = total if continued else response.headers.get("Content-Length", "")
            progress = Progress("GBIF download", size or start + 1, "bytes", start)
            pieces = response.iter_content(PIECE)
            piece = next(pieces, b"")
            if not start and not piece.startswith(b"PK"):  # a page of apology at status 200
                raise _Again(BadPayload(f"{response.url} answered with something that is no zip."))
            with part.open("ab" if continued else "wb") as out:
                while piece:
                    start += out.write(piece)
                    out.flush()
                    progress(start)
                    piece = next(pieces, b"")
            return int(whole) if whole.isdigit() else 0

    def _retried(self, once: Callable, done: Callable[[], int] = lambda: 0):
        """What `once` returns. An attempt after which more is `done` than ever before does not count as a failure."""
        attempt, most = 0, done()
        while True:
            try:
                return once()
            except _Again as again:
                failure, asked = again.failure, again.wait
            except requests.RequestException as error:  # reset, silence, a body that breaks off
                failure, asked = Unavailable(f"{self.base} gave no answer ({type(error).__name__})."), None
            attempt, most = (0, done()) if done() > most else (attempt + 1, most)
            if asked is not None and asked > LONGEST_WAIT_S:
                raise type(failure)(f"{failure} It asks to wait {asked:.0f} s. Run again later.") from None
            if attempt >= self.tries:
                raise type(failure)(f"{failure} Run again: nothing that was done is lost.")
            self.sleep(FIRST_PAUSE_S * 2 ** max(attempt - 1, 0) if asked is None else asked)

    def _asked(self, method: str, path: str, **options) -> requests.Response:
        """A good answer, at whatever place it was found. Credentials go to the service itself and nowhere else."""
        url, timeout = f"{self.base}{path}", (min(5.0, self.timeout_s), self.timeout_s)
        for _ in range(MOST_REDIRECTS + 1):
            response = self.session.request(method, url, timeout=timeout, allow_redirects=False, **options)
            if not (response.is_redirect and method == "GET"):
                _judge(response)
                return response
            url = urljoin(url, response.headers["Location"])
            response.close()
            if urlsplit(url).scheme != "https" and not (self.local and _is_loopback(url)):
                raise Rejected(f"{self.base}{path} sends us to {url}, which is no https address.")
        raise Rejected(f"{self.base}{path} redirects without end.")


def _judge(response: requests.Response) -> None:
    """Nothing for a good answer; raises what another one means."""
    status = response.status_code
    if status in (200, 201, 206, 416):
        return
    said = "" if response.headers.get("Content-Type", "").startswith("text/html") else response.text[:200].strip()
    response.close()
    wait = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    if status in (401, 403) and response.request.method == "POST":
        raise NoAccount(
            f"GBIF does not know this user and password ({status}). GBIF_USER is the name of the account, not its address."
        )
    if status in (420, 429):
        raise _Again(RateLimited(f"GBIF prepares too many downloads of this account already ({status}). {said}"), wait)
    if status == 404 or status in (408, 425) or status >= 500:  # 404: the key is younger than the answer's cache
        raise _Again(Unavailable(f"{response.url} answered {status}. {said}"), wait)
    raise Rejected(f"{response.url} refused the request with {status}: {said}")


def _object(response: requests.Response) -> dict:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _Again(BadPayload(f"{response.url} answered {response.status_code} with something that is no answer."))
    return found


def _flaw(file: Path) -> str:
    """What is wrong with a downloaded archive, "" if nothing. Reads all of it: the checksums are inside."""
    try:
        with zipfile.ZipFile(file) as zipped:
            broken = zipped.testzip()
            return f"an archive whose {broken} is damaged" if broken else ""
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError):
        return "something that is no whole zip"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or bool(re.fullmatch(r"127(\.\d+){3}", host))
