"""The memory of what a service answered: bodies named by their content, and an index that only grows.

    <root>/bodies/<aa>/<sha256>   a body as received
    <root>/index.jsonl            one line an answer: what was asked, when, of whom, and the body's digest

An answer counts once its line is complete. Body first, then line, both flushed to the disk: a kill leaves at
most a body that no line names, or half a line, which readers leave out and the next writer cuts off.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic


class DamagedStore(TaxaforgeError):
    """What lies in the store is not what was put there."""


class StoreNotWritable(TaxaforgeError):
    """An answer came and cannot be kept."""


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    params: canonical, as they stand behind the question mark. base: who was asked. Others as in answers.Evidence.
    """

    method: str
    path: str
    params: str
    base: str
    checklist: str
    release: str | None
    retrievedAt: str
    status: int
    tries: int
    sha256: str

    @property
    def request(self) -> str:
        return request_of(self.path, self.params)


def request_of(path: str, params: str) -> str:
    """A question in one line, the key under which its answer is found.

    >>> request_of("/v2/species/match", "scientificName=Aus+bus")
    '/v2/species/match?scientificName=Aus+bus'
    """
    return f"{path}?{params}" if params else path


class AnswerStore:
    """Answers under `root`, for any number of processes; nothing is created before the first answer is put.

    Only places of lines are held in memory, so a hundred thousand answers cost a few tens of MiB.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.index, self.lock = self.root / "index.jsonl", self.root / "index.lock"
        self.places: dict[str, dict[bytes, int]] = {}  # base -> digest of a request -> where its newest line begins
        self.read_to, self.lines = 0, 0
        self.releases: dict[tuple[str, str], str] = {}  # base, checklist -> release of its newest answer that names one

    def find(self, request: str, base: str | None = None) -> Entry | None:
        """The newest answer to a request; None where there is none.

        base: who must have answered; None: whoever did. Raises: DamagedStore.
        """
        key = _digest(request)
        place = self._place(key, base)
        if place is None:
            self._catch_up()
            place = self._place(key, base)
        if place is None:
            return None
        with self.index.open("rb") as file:
            file.seek(place)
            return self._entry(file.readline(), "")

    def _place(self, key: bytes, base: str | None) -> int | None:
        asked = self.places.values() if base is None else [self.places.get(base, {})]
        return max((places[key] for places in asked if key in places), default=None)

    def release(self, checklist: str, base: str) -> str | None:
        """The newest release of a checklist that any stored answer of this service is of."""
        self._catch_up()
        return self.releases.get((base, checklist))

    def path(self, sha256: str) -> Path:
        return self.root / "bodies" / sha256[:2] / sha256

    def body(self, entry: Entry) -> bytes | None:
        """The bytes of an answer; None where somebody deleted them. Raises: DamagedStore where they changed."""
        path = self.path(entry.sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise DamagedStore(
                f"{path} has changed since it was stored: its SHA-256 is not its name. It answered {entry.request}. "
                "Restore it from a copy, or delete it and ask again with `taxonomy: {offline: false}`."
            )
        return content

    def put(self, entry: Entry, content: bytes) -> None:
        """Keeps an answer. When this returns, no kill can lose it. Raises: ValueError for a digest of other bytes."""
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise ValueError("the entry names other bytes")
        try:
            with self._alone():
                self._write_body(self.path(entry.sha256), content)
                self._write_line(json.dumps(asdict(entry), sort_keys=True, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            raise StoreNotWritable(
                f"{self.root} takes no answers ({error.strerror}: {error.filename or self.index}). Make room or give the right to "
                "write there, or set `network.store` to another folder."
            ) from error
        self._catch_up()

    def _write_body(self, path: Path, content: bytes) -> None:
        if not path.exists() or path.read_bytes() != content:
            with atomic(path) as temporary, temporary.open("wb") as file:
                file.write(content)
                _flush(file)

    def _write_line(self, line: bytes) -> None:
        with self.index.open("r+b" if self.index.exists() else "w+b") as file:
            file.seek(_end_of_lines(file))
            file.truncate()  # half a line of a writer that was killed
            file.write(line)
            _flush(file)

    def _catch_up(self) -> None:
        """Reads the lines that were added since, by this process or another."""
        try:
            file = self.index.open("rb")
        except FileNotFoundError:
            return
        with file:
            file.seek(self.read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.lines += 1
                entry = self._entry(line, f", line {self.lines}")
                self.places.setdefault(entry.base, {})[_digest(entry.request)] = self.read_to
                self.read_to += len(line)
                if entry.release:
                    self.releases[entry.base, entry.checklist] = entry.release

    def _entry(self, line: bytes, where: str) -> Entry:
        try:
            record = json.loads(line)
            datetime.fromisoformat(record["retrievedAt"])
            return Entry(**{field.name: record[field.name] for field in fields(Entry)})
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedStore(
                f"{self.index}{where} is no record of an answer. Delete that line; the answer is then asked for again."
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process writes meanwhile."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(request: str) -> bytes:
    return hashlib.blake2b(request.encode(), digest_size=16).digest()


def _flush(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def _end_of_lines(file) -> int:
    """Where the last complete line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        cut = file.read(end - start).rfind(b"\n")
        if cut >= 0:
            return start + cut + 1
        end = start
    return 0
