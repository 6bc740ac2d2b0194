"""Reading the spool: which records there are, who made which file, and what a store may be told."""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from taxaforge.files import read_json, read_lines, sha256_of, write_json

BENCHMARK = {
    "s": "wall_s",
    "cpu_time": "cpu_s",
    "max_rss": "peak_mib",
    "max_pss": "peak_pss_mib",
    "max_uss": "peak_uss_mib",
    "max_vms": "peak_vms_mib",
    "io_in": "read_mib",
    "io_out": "written_mib",
    "mean_load": "mean_load_percent",
}
"""Snakemake's benchmark keys -> names with units."""


@dataclass
class Record:
    """One job attempt. meta: record.json, or meta.json while the job runs; sent: run.json of the shipper."""

    folder: Path
    meta: dict
    over: bool
    sent: dict = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.meta["record_id"]

    @property
    def job(self) -> tuple:
        """What stays the same when a job is repeated."""
        return self.meta.get("rule"), tuple(sorted((self.meta.get("wildcards") or {}).items()))

    def events(self) -> list[dict]:
        path = self.folder / "events.jsonl"
        return read_lines(path) if path.exists() else []

    def picture(self, event: Mapping) -> Path:
        """The copy that a line {"artifact": name} speaks of."""
        return self.folder / "artifacts" / event["artifact"]

    def save(self, **sent) -> None:
        self.sent = {**self.sent, **sent}
        write_json(self.folder / "run.json", self.sent)


def load(spool: str | Path) -> tuple[list[Record], list[str]]:
    """Every record in the order the jobs started, and the folders that cannot be read."""
    records, broken = [], []
    for folder in sorted(Path(spool).glob("*/")):
        record, meta, sent = folder / "record.json", folder / "meta.json", folder / "run.json"
        if not record.exists() and not meta.exists():
            continue
        try:
            value = read_json(record if record.exists() else meta)
            value["record_id"], value["invocation"], value["started"]
            records.append(Record(folder, value, record.exists(), read_json(sent) if sent.exists() else {}))
        except (ValueError, KeyError, TypeError, OSError):
            broken.append(folder.name)
    return sorted(records, key=lambda record: (record.meta["started"], record.id)), broken


def ends(spool: str | Path) -> dict[str, dict]:
    """How invocations ended: id -> {"status", "ended"}; one that still runs is missing."""
    suffix = ".invocation.json"
    return {path.name.removesuffix(suffix): read_json(path) for path in Path(spool).glob(f"*{suffix}")}


def paths(value: object) -> list[Path]:
    """The paths of one named input or output: a string or a list of them."""
    return [Path(item) for item in ([value] if isinstance(value, str) else value or [])]


class Makers:
    """Which record made which output, over all invocations in the spool."""

    def __init__(self, records: Iterable[Record]):
        self.by_path: dict[Path, list[Record]] = {}
        for record in records:
            for value in (record.meta.get("outputs") or {}).values():
                for path in paths(value):
                    self.by_path.setdefault(path, []).append(record)

    def newest(self, path: Path) -> Record | None:
        """The last record that says it writes `path`: what lies there now is its work or nobody's."""
        return self.by_path.get(path, [None])[-1]

    def before(self, path: Path, started: float) -> Record | None:
        """The record whose output a job that started then has read at `path`, or at a folder above it."""
        for place in (path, *path.parents):
            finished = [r for r in self.by_path.get(place, []) if r.over and r.meta["status"] == "finished"]
            earlier = [r for r in finished if r.meta["ended"] <= started]
            if earlier:
                return earlier[-1]
        return None


def flatten(values: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Nested settings as ("guidance.cfg.scale", 2.0); lists stay lists."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def fresh(meta: Mapping) -> bool:
    """Is there a benchmark, and of this attempt rather than of one before it?"""
    path = Path(meta["benchmark"]) if meta.get("benchmark") else None
    return path is not None and path.is_file() and path.stat().st_mtime >= meta["started"] - 1


def legal(name: str) -> str:
    """A metric or param name as MLflow allows it."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)[:250]


def archive(folder: Path, files: list[Path], into: Path) -> None:
    """Writes `<folder>.zip`, stored, and `<folder>.files.tsv`, its listing, into `into`."""
    with zipfile.ZipFile(into / f"{folder.name}.zip", "w", zipfile.ZIP_STORED) as out:
        for file in files:
            out.write(file, f"{folder.name}/{file.relative_to(folder)}")
    lines = [f"{file.relative_to(folder)}\t{file.stat().st_size}" for file in files]
    (into / f"{folder.name}.files.tsv").write_text("\n".join(["path\tbytes", *lines]) + "\n", "utf-8")


def describe(path: Path) -> dict[str, str | None]:
    """A table or pack in MLflow's words: digest of its bytes, source, columns, and rows or shape."""
    schema = None
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.ParquetFile(path)
        profile = {"num_rows": table.metadata.num_rows}
        kinds = {"int64": "long", "double": "double", "bool": "boolean"}
        columns = [
            {"name": column.name, "type": kinds.get(str(column.type), "string"), "required": False}
            for column in table.schema_arrow
        ]
        schema = json.dumps({"mlflow_colspec": columns})
    else:
        import numpy as np

        profile = {"shape": list(np.load(path, mmap_mode="r", allow_pickle=False).shape)}
    source = json.dumps({"uri": str(path)})
    return {"digest": sha256_of(path)[:32], "source": source, "schema": schema, "profile": json.dumps(profile)}


def without_credentials(uri: str) -> tuple[str, str | None, str | None]:
    """(uri without user and password, user, password)."""
    parts = urlsplit(uri)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if not parts.netloc:  # sqlite:///file: urlunsplit would drop slashes
        bare = uri
    user = unquote(parts.username) if parts.username else None
    return bare, user, unquote(parts.password) if parts.password else None


class Scrubber:
    """Removes credentials from text: those in any URI, and the given secrets wherever they stand."""

    def __init__(self, *secrets: str | None):
        self.secrets = sorted({secret for secret in secrets if secret and len(secret) >= 4}, key=len, reverse=True)

    def __call__(self, text: object) -> str:
        clean = re.sub(r"(\w://)[^\s/@'\"]*:[^\s/@'\"]*@", r"\1***@", str(text))
        for secret in self.secrets:
            clean = clean.replace(secret, "***")
        return clean
