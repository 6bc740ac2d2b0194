"""The memory of pictures that were fetched: bodies named by their content, and an index that only grows.

    <root>/bodies/<aa>/<sha256>   a picture as received
    <root>/index.jsonl            one line an address and job: what it gave, when, after how many tries

Within a job an address has one outcome, kept or an error: a job that was killed and started again goes on
with the outcomes it had. Another job asks again, but only whether the picture has changed. An outcome
counts once its line is complete; body first, then line, so a kill loses at most the line that was being written.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from taxaforge.files import atomic
from taxaforge.taxonomy.store import DamagedStore

LONGEST_LINE = 2**18
"""More than any line has: addresses and headers that are longer than a few thousand characters are not kept."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an address gave to a job: sha256 of a picture that decodes, or errorCode.

    passing: the error may be gone another day (429, 503, timeout ...). tries: attempts it took. etag,
    lastModified: what the host calls this version, sent back when the picture is asked for again.
    finalUrl: where redirects led.
    """

    url: str
    job: str = ""
    sha256: str | None = None
    errorCode: str = ""
    passing: bool = False
    tries: int = 1
    etag: str | None = None
    lastModified: str | None = None
    finalUrl: str | None = None
    retrievedAt: str = ""


class Media:
    """Pictures under `root`, as the job `job` sees them; any number of threads and processes may write.

    Nothing is created before the first outcome is put. Raises DamagedStore for a line that is no outcome.
    """

    def __init__(self, root: str | Path, job: str):
        self.root, self.job = Path(root), job
        self.index = self.root / "index.jsonl"
        self.own: dict[str, Outcome] = {}  # by address, of this job
        self.stored: dict[str, Outcome] = {}  # by address, the newest with a picture, of any job
        self.latest: dict[str, Outcome] = {}  # by address, the newest of any job
        self.empty: set[str] = set()
        self.writing = threading.Lock()
        self._load()

    def settled(self, url: str) -> Outcome | None:
        """What this job had from an address before; None where it must be asked."""
        return self._whole(self.own.get(url))

    def any_age(self, url: str) -> Outcome | None:
        """What this or another job had from an address: for those who must not ask."""
        latest = self.latest.get(url)
        lasting = None if latest and latest.passing else latest  # a timeout of yesterday does not hide a picture
        return self.settled(url) or self._whole(lasting) or self._whole(self.stored.get(url)) or self._whole(latest)

    def version(self, url: str) -> Outcome | None:
        """The newest picture of an address whose body is here: what a conditional request may name."""
        return self._whole(self.stored.get(url))

    def path(self, sha256: str) -> Path:
        return self.root / "bodies" / sha256[:2] / sha256

    def put(self, outcome: Outcome, content: bytes | None = None) -> None:
        """Keeps an outcome. content: the picture of its sha256; None where that lies here already, or after an error."""
        with self._alone():
            if content is not None:
                path = self.path(outcome.sha256)
                if not path.exists() or path.read_bytes() != content:
                    with atomic(path) as temporary, temporary.open("wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
            self._append({name: value for name, value in asdict(outcome).items() if value not in (None, "", False)})
            self._take(outcome)

    def mark_empty(self, request: str) -> None:
        """Notes that a search found nothing. Stores of answers keep no empty page, yet offline it must not be a miss."""
        if request not in self.empty:
            with self._alone():
                self._append({"empty": request})
                self.empty.add(request)

    def finish(self) -> None:
        """The job's results stand: should it run once more, hosts that failed in passing are asked again."""
        if any(outcome.passing for outcome in self.own.values()):
            with self._alone():
                self._append({"finished": self.job})

    def _whole(self, outcome: Outcome | None) -> Outcome | None:
        """The outcome, unless its picture was deleted. Raises: DamagedStore where it changed."""
        if outcome is None or outcome.sha256 is None:
            return outcome
        path = self.path(outcome.sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != outcome.sha256:
            raise DamagedStore(
                f"{path} has changed since it was stored: its SHA-256 is not its name. It is the picture from {outcome.url}. "
                "Delete it; it is then fetched again."
            )
        return outcome

    def _load(self) -> None:
        try:
            lines = self.index.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is half a line, or nothing
            try:
                record = json.loads(line)
                if "finished" in record:
                    if record["finished"] == self.job:
                        self.own = {url: known for url, known in self.own.items() if not known.passing}
                elif "empty" in record:
                    self.empty.add(record["empty"])
                else:
                    self._take(Outcome(**record))
            except (ValueError, TypeError) as error:
                raise DamagedStore(
                    f"{self.index}, line {number}, is no record of a picture. Delete that line; the picture is then fetched again."
                ) from error

    def _take(self, outcome: Outcome) -> None:
        self.latest[outcome.url] = outcome
        if outcome.sha256:
            self.stored[outcome.url] = outcome
        if outcome.job == self.job:
            self.own[outcome.url] = outcome

    def _append(self, record: dict) -> None:
        with self.index.open("r+b" if self.index.exists() else "w+b") as file:
            _cut_half_line(file)
            file.write(json.dumps(record).encode() + b"\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other thread or process writes meanwhile."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.writing, (self.root / "index.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _cut_half_line(file) -> None:
    """Leaves `file` at its end, after the last complete line; the rest is of a writer that was killed."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - LONGEST_LINE)
    file.seek(start)
    tail = file.read()
    file.seek(start + tail.rfind(b"\n") + 1)
    file.truncate()
