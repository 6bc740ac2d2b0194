"""One process at a time where several would do the same work, and would only waste it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone(path: str | Path) -> Iterator[None]:
    """Waits until no other process is in a block of the same path, and leaves no file behind.

    It saves work and protects nothing: where the file system refuses locks (flock) or writing, the block runs at once.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = _held(path)
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)  # while it is held: who waits for it notices, and takes a new one
            os.close(file)


def _held(path: Path) -> int | None:
    """The locked file, open; None where it cannot be locked."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            return None
        if _stands(path, file):
            return file
        os.close(file)  # whoever had it has removed it in the meantime


def _stands(path: Path, file: int) -> bool:
    """Is the open file still the one at the path?"""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
