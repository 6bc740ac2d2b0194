"""Writing files so that a kill never leaves half of one, and naming them by content."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path in the folder of `path`, renamed to it when the block ends without an error.

    Works for a file and for a folder; what stood at `path` is replaced. After an error the
    temporary file is removed and `path` is what it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            _remove(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: str | Path, value: object) -> None:
    """Sorted, indented JSON with a final newline; NaN and infinity are refused."""
    with atomic(path) as temporary:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", "utf-8")


def read_json(path: str | Path) -> object:
    return json.loads(Path(path).read_text("utf-8"))


def write_lines(path: str | Path, records: Iterable[dict]) -> None:
    """One JSON object a line."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(json.dumps(record, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_lines(path: str | Path) -> list[dict]:
    """The complete lines of a JSON-lines file; an unfinished last line (a kill) is left out."""
    text = Path(path).read_text("utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line]


def sha256_of(path: str | Path) -> str:
    """Hex digest of the bytes of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
