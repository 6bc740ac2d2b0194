"""Stopping and going on: one state folder a training run, safe against kills and against a second trainer."""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from taxaforge.errors import TaxaforgeError


class AlreadyTraining(TaxaforgeError):
    """Another process holds the state folder."""


class OtherTraining(TaxaforgeError):
    """The state folder belongs to a run with other settings or data."""


class Stopped(TaxaforgeError):
    """A signal asked the training to stop; its state is saved."""


class State:
    """An opened state folder: `last.pt`, the newest checkpoint; `events.jsonl`, its life; `lock`.

    Args:
        folder: one for each distinct training, kept between attempts.
        made_of: plain values that the training depends on; a checkpoint made of others is refused.
    """

    def __init__(self, folder: Path, made_of: dict):
        self.folder, self.made_of = folder, json.dumps(made_of, sort_keys=True)

    def load(self, device: str | torch.device = "cpu") -> dict | None:
        """The last checkpoint, None where there is none. Raises OtherTraining."""
        path = self.folder / "last.pt"
        if not path.exists():
            return None
        values = torch.load(path, map_location=device, weights_only=True)
        if values.pop("made_of") != self.made_of:
            raise OtherTraining(f"{path} was made with other settings or data. Delete {self.folder}, then run again.")
        return values

    def save(self, values: dict) -> None:
        """Replaces the checkpoint; the old one or the new one is whole on disk at any moment."""
        temporary = self.folder / f".last.{os.getpid()}"
        with temporary.open("wb") as file:
            torch.save({**values, "made_of": self.made_of}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.folder / "last.pt")

    def note(self, event: str, step: int) -> None:
        """Adds a line to events.jsonl; it survives whatever kills the job."""
        with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, "step": step, "pid": os.getpid(), "time": time.time()}) + "\n")


@contextmanager
def opened(folder: str | Path, made_of: dict) -> Iterator[State]:
    """Locks a state folder for this process, which also frees it when it dies. Raises AlreadyTraining."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyTraining(
                f"Process {lock.read().strip() or 'unknown'} is still training in {folder}. "
                "Wait for it or stop it; then run again, it goes on from its checkpoint."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        for left_behind in folder.glob(".last.*"):
            left_behind.unlink()
        yield State(folder, made_of)


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """An event that SIGTERM, SIGINT and SIGUSR1 set while the block runs, instead of ending the process.

    Outside the main thread signals cannot be caught; the event then stays unset.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {
        number: signal.signal(number, lambda *_: flag.set())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
