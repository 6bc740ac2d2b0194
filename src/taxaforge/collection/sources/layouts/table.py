"""Layout `table`: your own photographs and a CSV that says what they show.

Columns `image` (path below the folder) and `scientificName` are needed. Understood besides them, each with
its Darwin Core or Audiovisual Core meaning: every further field of a Candidate, and `split` for officialSplit.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

from taxaforge.collection.sources import Candidate
from taxaforge.collection.sources.layouts import Picture, UnreadableTable, tabular
from taxaforge.collection.sources.licences import spdx

NEEDED = ("image", "scientificName")
_OURS = {"identifier", "scientificName", "content", "errorCode", "verbatimScientificName"}
OPTIONAL = tuple(field.name for field in fields(Candidate) if field.name not in _OURS)
"""Columns beside the needed ones; what they mean stands in collection.schema."""

NUMBERS = {
    "decimalLatitude": (-90.0, 90.0),
    "decimalLongitude": (-180.0, 180.0),
    "coordinateUncertaintyInMeters": (0.0, math.inf),
}
SPLITS = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


def pictures(base: Path, cfg: Mapping) -> Iterator[Picture]:
    """One picture a row. Raises: UnreadableTable, also for a number or a split that is none."""
    table = Path(cfg["table"])
    for number, row in tabular.rows(table, NEEDED, "collection.folder.table"):
        where = f"{table}, row {number}"
        given: dict[str, object] = {
            name: _number(name, row[name], where) if name in NUMBERS else row[name]
            for name in OPTIONAL
            if row.get(name)
        }
        if licence := row.get("license"):
            given["license"] = spdx(licence) or licence
            given.setdefault("licenseVerbatimMedia", licence)
        if split := row.get("split") or row.get("officialSplit"):
            given["officialSplit"] = _split(split, where)
        name = " ".join(row["scientificName"].split())
        yield Picture(row["image"], (name,), given, f"{table.name}:{number}")


def _number(column: str, text: str, where: str) -> float:
    low, high = NUMBERS[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        raise UnreadableTable(f"{where}: {column} is {text!r}, expected a number from {low:g} to {high:g}, or nothing.")
    return value


def _split(text: str, where: str) -> str:
    if text.lower() not in SPLITS:
        raise UnreadableTable(f"{where}: split is {text!r}, expected train, validation, test or nothing.")
    return SPLITS[text.lower()]
