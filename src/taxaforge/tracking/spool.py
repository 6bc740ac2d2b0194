"""The spool: one folder a job attempt, written by the job itself with nothing but the standard library.

    <spool>/<record_id>/meta.json      what the job is: written when it starts
    <spool>/<record_id>/events.jsonl   its metrics and pictures, a line each, while it runs
    <spool>/<record_id>/artifacts/     copies of the pictures, under the names that the lines give
    <spool>/<record_id>/record.json    meta plus how it ended: its presence says that the job is over
    <spool>/<record_id>/run.json       written by the shipper: the run that shows this record
    <spool>/<invocation>.invocation.json  how a whole invocation of the workflow ended

Jobs never talk to MLflow, so an outage can neither stall nor kill one.
"""

import json
import math
import re
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from taxaforge.files import atomic, write_json

SPOOL = Path("results/state/spool")
"""The spool of a run, from its working directory."""


class Recorder:
    """The record of one job attempt.

        with Recorder("results/state/spool", {"rule": "train_stage", ...}) as record:
            record.log(10, {"loss": 0.3})  # a point of a curve
            record.log(None, {"accuracy": 0.8})  # a final value
        record.attach("samples/step-000010.png", path)  # a picture, shown while the job runs

    The block's exception, if any, becomes status "failed" and passes on; `record.fail(sentence)`
    gives the reason in words for people, and says where a job only stopped. A disk that refuses to write costs one warning, never the job.

    Args:
        spool: folder of all records.
        meta: JSON values: invocation, invocation_started (unix s), run_name, rule, wildcards, name,
            key, git_commit, params, inputs, outputs, log, benchmark, threads. `record_id` and
            `started` (unix s) are filled in where they are missing.
    """

    def __init__(self, spool: str | Path, meta: Mapping):
        self.meta = {"started": time.time(), **meta}
        name = re.sub(r"[^\w-]+", "-", str(self.meta.get("name") or self.meta.get("rule", "job"))).strip("-")
        self.meta.setdefault("record_id", f"{int(self.meta['started'])}-{name[:60]}-{uuid.uuid4().hex[:8]}")
        self.folder = Path(spool) / self.meta["record_id"]
        self._events = None
        self._end: tuple[str, str] | None = None
        self._broken = False

    @classmethod
    def silent(cls) -> "Recorder":
        """One that writes nothing, for jobs that are no part of the record."""
        recorder = cls("", {})
        recorder.folder = None
        return recorder

    def __enter__(self) -> "Recorder":
        if self.folder is None:
            return self
        with _Harmless(self):
            write_json(self.folder / "meta.json", self.meta)
            self._events = (self.folder / "events.jsonl").open("a", encoding="utf-8")
        return self

    def log(self, step: int | None, values: Mapping[str, float]) -> None:
        """Appends one line, flushed: a shipper that follows sees it at once. step None: final values."""
        if self._events is None:
            return
        plain = {name: float(value) for name, value in values.items()}
        plain = {name: value if math.isfinite(value) else str(value) for name, value in plain.items()}
        with _Harmless(self):
            self._note({"step": None if step is None else int(step), "values": plain})

    def attach(self, name: str, path: str | Path) -> None:
        """Keeps a copy of the picture at `path`, which a shipper that follows sends at once.

        Args:
            name: where it is shown, like "samples/step-000500.png". What would lead out of the record, or
                is not a plain letter, digit, space or one of "._-", is left out or becomes "_". A name
                used again replaces the picture.
        Raises: ValueError where nothing of the name is left.
        """
        parts = [re.sub(r"[^\w. -]", "_", part, flags=re.ASCII).strip() for part in re.split(r"[/\\]", name)]
        parts = [part for part in parts if part.strip(".")]
        if not parts:
            raise ValueError(f"{name!r} is no name for a picture.")
        if self._events is None:
            return
        with _Harmless(self):
            with atomic(self.folder.joinpath("artifacts", *parts)) as temporary:
                shutil.copyfile(path, temporary)
            self._note({"artifact": "/".join(parts)})

    def _note(self, event: dict) -> None:
        self._events.write(json.dumps({**event, "time": time.time()}) + "\n")
        self._events.flush()

    def fail(self, reason: str, status: str = "failed") -> None:
        """The job is about to end without its result, because of this; "stopped": its work is saved."""
        self._end = status, reason

    def close(self, status: str = "finished", error: str | None = None) -> None:
        """Writes record.json; status is "finished", "failed" or "stopped". A second call changes nothing."""
        if self._events is None:
            return
        events, self._events = self._events, None
        with _Harmless(self):
            events.close()
            end = {"ended": time.time(), "status": status, "error": error}
            write_json(self.folder / "record.json", {**self.meta, **end})

    def __exit__(self, kind, error, _) -> None:
        if kind is None and self._end is None:
            self.close()
        else:
            self.close(*(self._end or ("failed", f"{kind.__name__}: {error}")))


class _Harmless:
    """Turns a failure of the disk into one warning a recorder."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> bool:
        if kind is None or not issubclass(kind, OSError):
            return False
        if not self.recorder._broken:
            print(f"Warning: the tracking record could not be written ({error}); the job goes on.", file=sys.stderr)
        self.recorder._broken = True
        return True


def close_invocation(spool: str | Path, invocation: str, status: str) -> None:
    """Says that an invocation of the workflow is over; status is "finished" or "failed".

    A record of it without an end belongs to a job that was killed. Raises OSError.
    """
    write_json(Path(spool) / f"{invocation}.invocation.json", {"status": status, "ended": time.time()})
