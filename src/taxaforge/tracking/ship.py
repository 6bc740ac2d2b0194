"""From the spool into MLflow: the only module that knows mlflow, which it imports when there is something to say."""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from taxaforge.files import read_json, write_json
from taxaforge.tracking.connection import answers, only_shipper, prepare
from taxaforge.tracking.records import (
    BENCHMARK,
    Makers,
    Record,
    Scrubber,
    archive,
    describe,
    ends,
    flatten,
    fresh,
    legal,
    load,
    paths,
    without_credentials,
)
from taxaforge.tracking.spool import close_invocation

FOLDER_FILES = 50  # more files than this in an output folder travel as one archive
BENCHMARK_WAIT_S = 30.0  # Snakemake writes the benchmark after the job has closed its record
STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
"""How a record ended -> the same in MLflow, which has no word for a job that saved its work and left."""
TRIES = 3  # records that may fail in a row before the round ends


@dataclass(frozen=True)
class Shipped:
    """sent: records that are complete in the store since this round. failed: records that stay in the spool
    though they are due. message: one sentence for the person at the terminal, "" where all is well."""

    sent: int
    failed: int
    message: str = ""


def ship(*, spool: str | Path, uri: str, experiment: str, artifact_root: str | Path, live: bool = False) -> Shipped:
    """Sends what the store does not have yet; sending again changes nothing and doubles nothing.

    One experiment, a parent run an invocation, a nested run a record. An outage, or anything else
    that the store refuses, is one warning; the records stay and go with the next call.

    Args:
        spool: folder written by `taxaforge.tracking.spool.Recorder`.
        uri: MLflow store or server; credentials may stand in it or in MLFLOW_TRACKING_* variables.
        experiment: its name; made where it does not exist.
        artifact_root: where artifacts go when `uri` is a database; a server decides itself.
        live: also show jobs that still run, and wait for benchmarks that are about to be written.
    """
    bare, user, password = without_credentials(uri)
    secrets = [os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("PASSWORD", "TOKEN")]
    scrub = Scrubber(password, *secrets)
    served = uri.startswith(("http://", "https://"))
    with only_shipper(Path(spool)) as alone:
        if not alone:
            return Shipped(0, 0, "Another process is sending the tracking records.")
        records, broken = load(spool)
        due = [r for r in records if not r.sent.get("complete")] or records
        if not records:
            return Shipped(0, len(broken), _unreadable(broken))
        if served and not answers(bare):
            return _warn(scrub(f"MLflow at {bare} does not answer; {_kept(due)}"), 0, len(due))
        prepare(user, password)
        try:
            return _Round(Path(spool), records, broken, ends(spool), bare if served else uri, scrub, live).send(
                experiment, artifact_root, served
            )
        except _errors() as error:
            first = scrub(error).strip().splitlines()[0]
            return _warn(f"MLflow refused the tracking records ({first}); {_kept(due)}", 0, len(due))


def ship_and_mark(
    *,
    spool: str | Path,
    uri: str,
    experiment: str,
    marker: str | Path,
    invocation: str,
    tell: Callable[[str], None] = lambda message: None,
    artifact_root: str | Path = "results/mlartifacts",
) -> None:
    """`ship` as the last job of an invocation: its outcome, sent or not, goes to `marker`, so that an outage fails nothing.

    Args:
        invocation: is called finished. tell: hears the warning, if there is one.
    """
    close_invocation(spool, invocation, "finished")
    outcome = ship(spool=spool, uri=uri, experiment=experiment, artifact_root=artifact_root)
    write_json(marker, asdict(outcome))
    if outcome.message:
        tell(outcome.message)


def _kept(due: list) -> str:
    return (
        f"{len(due)} tracking records stay in the spool, no result is lost. They go with the next run, "
        "or with `python -m taxaforge.tracking ship`."
    )


def _unreadable(broken: list[str]) -> str:
    return f"Unreadable tracking records: {', '.join(broken)}. Remove these folders." if broken else ""


def _warn(message: str, sent: int, failed: int) -> Shipped:
    print(f"Warning: {message}", file=sys.stderr)
    return Shipped(sent, failed, message)


def _errors() -> tuple[type[BaseException], ...]:
    """What a store can throw at us."""
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    return MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError, ValueError, KeyError, TypeError


class _Round:
    """One pass over the spool."""

    def __init__(self, spool, records, broken, ended, uri, scrub, live):
        from mlflow import MlflowClient

        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(tracking_uri=uri)
        self.records, self.broken, self.ended, self.uri, self.scrub, self.live = (
            records, broken, ended, uri, scrub, live,
        )  # fmt: skip
        self.makers = Makers(records)
        self.datasets: dict[Path, object] = {}
        self.spool = spool

    # which records, under which parents

    def send(self, experiment: str, artifact_root: str | Path, served: bool) -> Shipped:
        self.experiment, self.store = self._experiment(experiment, artifact_root, served)
        pending = [record for record in self.records if self._is_due(record)]
        sent, failures, row = 0, [], 0
        for invocation in dict.fromkeys(record.meta["invocation"] for record in self.records):
            mine = [record for record in pending if record.meta["invocation"] == invocation]
            if not mine and self._noted(invocation) == self._state(invocation):
                continue
            known = self._runs_of(invocation)
            first = next(record for record in self.records if record.meta["invocation"] == invocation)
            parent = known.get(None) or self._new_parent(first.meta)
            for record in mine:
                try:
                    sent += self._send(record, parent, known.get(record.id))
                    row = 0
                except _errors() as error:
                    failures.append((record, error))
                    row += 1
                    if row == TRIES or (served and not answers(self.uri)):
                        return self._told(sent, failures, pending)
            self._end(parent, invocation)
        return self._told(sent, failures, pending)

    def _told(self, sent: int, failures: list, pending: list[Record]) -> Shipped:
        failed = sum(record.over and not record.sent.get("complete") for record in pending)
        if failures:
            record, error = failures[-1]
            first = self.scrub(error).strip().splitlines()[0]
            left = [record for record in pending if record.over and not record.sent.get("complete")]
            return _warn(f"MLflow did not take {record.id} ({first}); {_kept(left)}", sent, failed + len(self.broken))
        message = _unreadable(self.broken)
        return _warn(message, sent, len(self.broken)) if message else Shipped(sent, 0)

    def _experiment(self, name: str, artifact_root: str | Path, served: bool) -> tuple[str, str]:
        """Its id, and what tells it from one of the same id in another or a new store."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            place = None if served else Path(artifact_root).absolute().as_uri()
            found = self.client.get_experiment(self.client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage != "active":
            raise ValueError(f"the experiment {name!r} is deleted there; restore it or set tracking.experiment")
        return found.experiment_id, f"{found.experiment_id}@{found.creation_time}"

    def _is_due(self, record: Record) -> bool:
        if record.sent.get("store") != self.store:
            record.sent = {}
        return not record.sent.get("complete") and (record.over or self.live or self._killed(record))

    def _killed(self, record: Record) -> bool:
        """No end was written and none will be: the invocation is over, or the job was started again."""
        again = any(
            other.job == record.job and other.meta["started"] > record.meta["started"] for other in self.records
        )
        return not record.over and (again or record.meta["invocation"] in self.ended)

    def _runs_of(self, invocation: str) -> dict[str | None, str]:
        """Runs already in the store, by record id; None is the parent."""
        runs, token = {}, None
        while True:
            page = self.client.search_runs(
                [self.experiment], f"tags.`taxaforge.invocation` = '{invocation}'", max_results=1000, page_token=token
            )
            runs |= {run.data.tags.get("taxaforge.record"): run.info.run_id for run in page}
            token = page.token
            if not token:
                return runs

    def _new_parent(self, meta: Mapping) -> str:
        started = meta.get("invocation_started") or meta["started"]
        tags = {
            "taxaforge.invocation": meta["invocation"],
            "taxaforge.kind": "invocation",
            "mlflow.source.name": "taxaforge",
            "mlflow.source.git.commit": meta.get("git_commit"),
        }
        return self._create(meta.get("run_name") or "taxaforge", started, tags)

    def _state(self, invocation: str) -> list:
        """[store, status, end in ms] that the parent should show: as the workflow said, else as its jobs stand."""
        mine = [record for record in self.records if record.meta["invocation"] == invocation]
        last = {record.job: record for record in mine}.values()
        if invocation in self.ended:
            status, at = self.ended[invocation]["status"].upper(), self.ended[invocation]["ended"]
        elif any(not record.over for record in last):
            return [self.store, "RUNNING", None]
        else:
            found = {record.meta["status"] for record in last}
            status = next(STATUS[end] for end in ("failed", "stopped", "finished") if end in found)
            at = max(record.meta["ended"] for record in last)
        return [self.store, status, int(at * 1000)]

    def _noted(self, invocation: str) -> list | None:
        path = self.spool / f"{invocation}.parent.json"
        return read_json(path) if path.exists() else None

    def _end(self, parent: str, invocation: str) -> None:
        """Gives the parent its state, then notes it, so that a crash in between repeats it."""
        _, status, at = state = self._state(invocation)
        if at is None:
            self.client.update_run(parent, status)
        else:
            self.client.set_terminated(parent, status, at)
        write_json(self.spool / f"{invocation}.parent.json", state)

    def _create(self, name: str, started: float, tags: Mapping) -> str:
        return self.client.create_run(
            self.experiment, start_time=int(started * 1000), tags=self._tags(tags), run_name=self.scrub(name)
        ).info.run_id

    def _tags(self, tags: Mapping) -> dict[str, str]:
        return {name: self.scrub(value)[:5000] for name, value in tags.items() if value is not None}

    # one record

    def _send(self, record: Record, parent: str, run: str | None) -> bool:
        """True once everything of the record is in the store; run: its run, where the store has one."""
        meta = record.meta
        run = run or record.sent.get("run")
        if run is None:
            run = self._create(meta.get("name") or meta["rule"], meta["started"], self._job_tags(record, parent))
        new = record.sent.get("run") != run
        events, lines = record.events(), 0 if new else record.sent["lines"]
        metrics = self._curves(events[lines:])
        ending = self._killed(record) or (record.over and not (self.live and self._awaits_benchmark(meta)))
        if ending:
            metrics += self._benchmark(meta)
        self._log(run, metrics, self._params(meta) if new else [], self._tags(self._links(meta)) if ending else {})
        record.save(store=self.store, run=run, lines=len(events), pictures=0 if new else record.sent.get("pictures", 0))
        self._log_pictures(run, record, events)
        if not ending:
            return False
        self._log_inputs(run, meta)
        self._log_files(run, record)
        status = STATUS[meta["status"]] if record.over else "KILLED"
        self.client.set_terminated(run, status, int(meta.get("ended", time.time()) * 1000))
        record.save(complete=True)
        return True

    def _job_tags(self, record: Record, parent: str) -> dict:
        meta = record.meta
        return {
            "mlflow.parentRunId": parent,
            "mlflow.source.name": f"rule {meta['rule']}",
            "mlflow.source.type": "JOB",
            "mlflow.source.git.commit": meta.get("git_commit"),
            "taxaforge.invocation": meta["invocation"],
            "taxaforge.record": record.id,
            "taxaforge.kind": "job",
            "rule": meta["rule"],
            "lineage_key": meta.get("key"),
            "git_commit": meta.get("git_commit"),
            "threads": meta.get("threads"),
            **{f"wildcards.{name}": value for name, value in (meta.get("wildcards") or {}).items()},
        }

    def _links(self, meta: Mapping) -> dict[str, str]:
        """input.<name> = the runs that made it; error = why the job failed."""
        links = {"error": meta.get("error"), "mlflow.note.content": meta.get("error")}
        for name, value in (meta.get("inputs") or {}).items():
            makers = [self.makers.before(path, meta["started"]) for path in paths(value)]
            runs = [maker.sent["run"] for maker in makers if maker and maker.sent.get("store") == self.store]
            if runs:
                links[f"input.{name}"] = ",".join(dict.fromkeys(runs))
        return links

    def _params(self, meta: Mapping) -> list:
        from mlflow.entities import Param

        found = {}
        for name, value in flatten(meta.get("params") or {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            found[legal(name)] = self.scrub(text)[:6000]
        return [Param(name, text) for name, text in found.items()]

    def _curves(self, events: list[dict]) -> list:
        from mlflow.entities import Metric

        return [
            Metric(legal(name), float(value), int(event["time"] * 1000), event["step"] or 0)
            for event in events
            for name, value in event.get("values", {}).items()
        ]

    def _awaits_benchmark(self, meta: Mapping) -> bool:
        asked = meta.get("benchmark") and meta["status"] == "finished" and meta["invocation"] not in self.ended
        return bool(asked) and not fresh(meta) and time.time() - meta["ended"] < BENCHMARK_WAIT_S

    def _benchmark(self, meta: Mapping) -> list:
        from mlflow.entities import Metric

        if not fresh(meta):
            return []
        rows = [json.loads(line) for line in Path(meta["benchmark"]).read_text("utf-8").splitlines() if line.strip()]
        at = int(meta.get("ended", meta["started"]) * 1000)
        return [
            Metric(f"benchmark.{BENCHMARK[name]}", float(value), at, step)
            for step, row in enumerate(rows)
            for name, value in row.items()
            if name in BENCHMARK and isinstance(value, (int, float))
        ]

    def _log(self, run: str, metrics: list = (), params: list = (), tags: Mapping | None = None) -> None:
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in (tags or {}).items()]
        while metrics or params or tags:
            self.client.log_batch(run, metrics[:800], params[:100], tags[:100])
            metrics, params, tags = metrics[800:], params[100:], tags[100:]

    # files

    def _log_pictures(self, run: str, record: Record, events: list[dict]) -> None:
        """What the job has shown since the last round, in its order; a name used again counts as it is now."""
        newest = {event["artifact"]: line for line, event in enumerate(events) if "artifact" in event}
        for name, line in sorted(newest.items(), key=lambda item: item[1]):
            picture = record.picture(events[line])
            if line >= record.sent["pictures"] and picture.is_file():
                self.client.log_artifact(run, str(picture), name.rpartition("/")[0] or None)
                record.save(pictures=line + 1)

    def _log_inputs(self, run: str, meta: Mapping) -> None:
        """The tables and packs that went in, as MLflow datasets with a digest of their bytes."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        found = []
        for name, value in (meta.get("inputs") or {}).items():
            for path in paths(value):
                if path.suffix not in (".parquet", ".npy") or not path.is_file() or self._replaced(path, meta):
                    continue
                if path not in self.datasets:
                    self.datasets[path] = Dataset(path.stem, source_type="local", **describe(path))
                found.append(DatasetInput(self.datasets[path], [InputTag("mlflow.data.context", name)]))
        if found:
            self.client.log_inputs(run, found)

    def _replaced(self, path: Path, meta: Mapping) -> bool:
        """Has another job written `path` since the job of `meta` read it?"""
        newest = self.makers.newest(path)
        return newest is not None and newest.meta["started"] > meta["started"]

    def _log_files(self, run: str, record: Record) -> None:
        gone = []
        for name, value in (record.meta.get("outputs") or {}).items():
            found = paths(value)
            root = Path(os.path.commonpath([path.parent for path in found])) if found else None
            for path in found:
                if self.makers.newest(path) is not record or not path.exists():
                    gone.append(str(path))
                    continue
                inside = path.parent.relative_to(root)
                self._log_path(run, path, str(Path("outputs", name, inside)))
        if gone:
            note = {"outputs.missing": f"replaced or removed before they were sent: {', '.join(gone)}"}
            self._log(run, tags=self._tags(note))
        benchmark, log = record.meta.get("benchmark"), record.meta.get("log")
        if fresh(record.meta):
            self.client.log_artifact(run, benchmark, "benchmark")
        if log and Path(log).is_file():
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder, Path(log).name)
                copy.write_text(self.scrub(Path(log).read_text("utf-8", errors="replace")), "utf-8")
                self.client.log_artifact(run, str(copy), "log")

    def _log_path(self, run: str, path: Path, place: str) -> None:
        if path.is_file():
            return self.client.log_artifact(run, str(path), place)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        if len(files) <= FOLDER_FILES:
            return self.client.log_artifacts(run, str(path), f"{place}/{path.name}")
        with tempfile.TemporaryDirectory() as folder:
            archive(path, files, Path(folder))
            return self.client.log_artifacts(run, folder, place)
