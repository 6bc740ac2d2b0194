"""Stopping and going on: one state folder a training run, safe against kills, full disks and a second trainer.

    step-00000400.safetensors   tensors of a checkpoint
    step-00000400.json          {"record": {...}, "sha256": of the record}; once it is there, the checkpoint counts
    damaged-step-...            a checkpoint that did not pass its test, until a later one is saved
    events.jsonl, lock          the run's life; who holds the folder

The newest two checkpoints are kept, so that one damaged file costs the steps between them and no more.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, sha256_of

if TYPE_CHECKING:  # torch takes seconds to import; who only wants to know about signals need not wait
    import torch
    from torch import Tensor

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""What a scheduler, a person at the keyboard or a script stops a training with."""
KEPT = 2
"""Complete checkpoints that stay."""


class AlreadyTraining(TaxaforgeError):
    """Another process holds the state folder."""


class CannotLock(TaxaforgeError):
    """The state folder lies where files cannot be locked."""


class OtherTraining(TaxaforgeError):
    """The state folder belongs to a run with other settings or data."""


class Unreadable(TaxaforgeError):
    """A checkpoint is there, but may not be read; nobody can say whether it is good."""


class Stopped(TaxaforgeError):
    """A signal asked the training to stop; its state is saved."""

    exit_code = os.EX_TEMPFAIL  # 75: nothing is wrong, try again


class _Damaged(Exception):
    """A checkpoint that is not what was written."""


class State:
    """An opened state folder.

    Args:
        folder: one for each distinct training, kept between attempts.
        made_of: plain values that the training depends on; a checkpoint made of others is refused.
    """

    def __init__(self, folder: Path, made_of: dict):
        self.folder, self.made_of = folder, _plain(made_of)

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: dict) -> bool:
        """Adds a checkpoint; at any moment the one before it or this one is whole on disk.

        Args:
            step: number of steps done. Checkpoints of later steps, which a run left by going back, are removed.
            tensors: by name. facts: plain values beside them; tuples come back as lists, keys as text.
        Returns: False where the disk did not take it (full, quota): what was there before stays, the reason
            is on stderr and in events.jsonl.
        """
        from taxaforge.diffusion import tensorfile

        record_path = self.folder / f"step-{step:08d}.json"
        path = record_path.with_suffix(".safetensors")
        if self._names(step, path):  # the present record of this step must stay true until the new one replaces it
            path = record_path.with_suffix(".again.safetensors")
        try:
            try:
                with atomic(path) as temporary:
                    size, digest = tensorfile.write(temporary, tensors)
                file = {"name": path.name, "size": size, "sha256": digest}
                record = {"step": step, "made_of": self.made_of, "facts": _plain(facts), "tensors": file}
                with atomic(record_path) as temporary, temporary.open("w", encoding="utf-8") as out:
                    json.dump({"record": record, "sha256": _digest(record)}, out)
                    out.flush()
                    os.fsync(out.fileno())
            except BaseException:
                if not self._names(step, path):
                    path.unlink(missing_ok=True)
                raise
            _sync(self.folder)
        except OSError as error:
            before = max(self._steps(), default=None)
            print(
                f"The checkpoint of step {step} could not be written to {self.folder} ({error.strerror or error}); "
                + ("there is none before it" if before is None else f"the one of step {before} stays")
                + ", training goes on and tries again at the next; free space there, or raise its quota.",
                file=sys.stderr,
                flush=True,
            )
            self.note("not_saved", step)
            return False
        self._tidy(step, path)
        return True

    def load(self, device: str | torch.device = "cpu") -> tuple[int, dict[str, Tensor], dict] | None:
        """The newest checkpoint that is exactly what was written: step, tensors, facts; None where there is none.

        A damaged one is passed over and put aside, with a sentence on stderr and an event "fell_back".
        Raises: OtherTraining; Unreadable where reading is not allowed or the disk is out of reach.
        """
        from safetensors.torch import load_file

        damaged, found = {}, None
        for step in sorted(self._steps(), reverse=True):
            try:
                record = self._record(step)
                file = self._checked(record)
            except _Damaged as reason:
                damaged[step] = reason
                continue
            found = step, load_file(file, device=str(device)), record["facts"]
            break
        goes_on = f"goes on from step {found[0]}" if found else "starts afresh, no other checkpoint is left"
        for step, reason in damaged.items():
            print(
                f"The checkpoint of step {step} is damaged: {reason}. Training {goes_on}.", file=sys.stderr, flush=True
            )
            for path in self.folder.glob(f"step-{step:08d}.*"):
                with suppress(OSError):  # it fails its test the next time, too
                    path.replace(path.with_name(f"damaged-{path.name}"))
        if damaged:
            self.note("fell_back", found[0] if found else 0)
        return found

    def note(self, event: str, step: int) -> None:
        """Adds a line to events.jsonl; it survives whatever kills the job. A full disk loses the line, not the run."""
        line = {"event": event, "step": step, "pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        text = (json.dumps(line) + "\n").encode()
        with suppress(OSError), (self.folder / "events.jsonl").open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            if file.write(text) < len(text):
                file.truncate(before)

    def _steps(self) -> list[int]:
        """Steps that have a record, in no order."""
        matches = (re.fullmatch(r"step-(\d{8,})\.json", path.name) for path in self.folder.iterdir())
        return [int(match[1]) for match in matches if match]

    def _names(self, step: int, path: Path) -> bool:
        """Whether the record of a step rests on these tensors."""
        try:
            return self._record(step)["tensors"]["name"] == path.name
        except (_Damaged, OtherTraining):
            return False

    def _record(self, step: int) -> dict:
        """What a step's .json says. Raises _Damaged, OtherTraining, Unreadable."""
        path = self.folder / f"step-{step:08d}.json"
        with _reading(path):
            written = path.read_bytes()
        try:
            held = json.loads(written)
            record = held["record"]
            whole = held["sha256"] == _digest(record) and record["step"] == step
        except (ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            raise _Damaged(f"{path} is not what was written")
        if record["made_of"] != self.made_of:
            raise OtherTraining(f"{path} was made with other settings or data. Delete {self.folder}, then run again.")
        return record

    def _checked(self, record: dict) -> Path:
        """The tensors of a record. Raises _Damaged, Unreadable."""
        wanted = record["tensors"]
        path = self.folder / wanted["name"]
        with _reading(path):
            size = path.stat().st_size
            if size != wanted["size"]:
                raise _Damaged(f"{path} has {size} bytes, {wanted['size']} were written")
            if sha256_of(path) != wanted["sha256"]:
                raise _Damaged(f"{path} has other content than was written")
        return path

    def _tidy(self, step: int, tensors: Path) -> None:
        """Removes all checkpoints but the newest, and what was damaged; a record before its tensors."""
        kept = sorted(other for other in self._steps() if other <= step)[-KEPT:]
        for path in sorted(self.folder.glob("*step-*")):
            match = re.fullmatch(r"(damaged-)?step-(\d{8,})((?:\.again)?\.safetensors|\.json)", path.name)
            if not match:
                continue
            stays = not match[1] and int(match[2]) in kept
            if int(match[2]) == step and path.suffix == ".safetensors":
                stays = path == tensors
            if not stays:
                with suppress(OSError):  # what resists now is tried again after the next
                    path.unlink()


@contextmanager
def opened(folder: str | Path, made_of: dict) -> Iterator[State]:
    """Locks a state folder for this process, which also frees it when it dies, and removes what a kill left behind.

    Several machines may share the folder where its file system knows flock between them.
    Raises: AlreadyTraining, CannotLock.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab+", buffering=0) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().decode(errors="replace").strip()
            raise AlreadyTraining(
                f"{holder or 'Another process'} is still training in {folder}. "
                "Wait for it or stop it; then run again, it goes on from its checkpoint."
            ) from None
        except OSError as error:
            raise CannotLock(
                f"{folder} cannot be locked ({error.strerror}), so two trainings could overwrite each other. "
                "Mount its file system with locks (flock), or run where results/ lies on a local disk."
            ) from None
        with suppress(OSError):  # on a full disk the lock holds all the same, only its holder is not named
            lock.truncate(0)
            lock.write(f"Process {os.getpid()} on {socket.gethostname()}".encode())
        state = State(folder, made_of)
        recorded = {f"step-{step:08d}" for step in state._steps()}
        for path in [*folder.glob(".step-*.part"), *folder.glob("step-*.safetensors")]:
            if path.name.split(".")[0] not in recorded:
                path.unlink()
        yield state


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """An event that SIGNALS set while the block runs, instead of ending the process.

    Outside the main thread signals cannot be caught; the event then stays unset.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, lambda *_: flag.set()) for number in SIGNALS}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plain(value: dict) -> dict:
    """As it comes back from JSON, so that both sides of a comparison look alike."""
    return json.loads(json.dumps(value))


def _digest(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A missing file and a failing disk are damage; a file out of reach may be whole and is not passed over."""
    try:
        yield
    except FileNotFoundError:
        raise _Damaged(f"{path} is missing") from None
    except OSError as error:
        if error.errno == errno.EIO:
            raise _Damaged(f"{path} cannot be read from the disk any more") from None
        raise Unreadable(
            f"{path} cannot be read ({error.strerror}). Make it readable and run again, or delete {path.parent} "
            "to start this training afresh."
        ) from None


def _sync(folder: Path) -> None:
    """Makes the names in a folder last through a power cut, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
