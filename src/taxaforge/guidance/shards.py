"""The shards of a method put together: every image that was asked for is there once, and no other."""

import os
from collections.abc import Sequence
from pathlib import Path

from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, read_lines
from taxaforge.guidance.worklist import worklist

NOTE = ("method", "seed", "species", "counts")
"""What a shard's note must say."""
RECORD = ("identifier", "file_name", "scientificName", "prompt", "other", "share")
"""What a record must say, None where it does not apply."""


class ShardsDoNotFit(TaxaforgeError):
    """The shards are not, together, what the method was asked to draw."""


def merge(shards: Sequence[str | Path], species: Sequence[str], method: str, root: Path) -> tuple[list[dict], int]:
    """(all records in the run's order, `file_name` relative to `root`; the run's seed). Raises ShardsDoNotFit."""
    notes = [read_json(Path(folder) / "shard.json") for folder in shards]
    for folder, note in zip(shards, notes, strict=True):
        _complete(note, NOTE, f"{folder}/shard.json", method)
    common = [{name: value for name, value in note.items() if name != "shard"} for note in notes]
    strange = [folder for folder, note in zip(shards, common, strict=True) if note != common[0]]
    if strange or common[0]["method"] != method or common[0]["species"] != list(species):
        raise ShardsDoNotFit(
            f"{strange[0] if strange else shards[0]} was drawn for other settings, species or another method than the "
            f"rest of {method}. Delete the shards of {method} and run again."
        )
    _complete(common[0]["counts"], species, f"counts in {shards[0]}/shard.json", method)
    records = _records(shards, method, root)
    counts, seed = [common[0]["counts"][name] for name in species], common[0]["seed"]
    expected = [item.identifier for item in worklist(species, counts, method, seed)]
    for wrong, word in ((set(expected) - set(records), "missing"), (set(records) - set(expected), "not asked for")):
        if wrong:
            listed = ", ".join(sorted(wrong)[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise ShardsDoNotFit(
                f"{len(wrong)} image(s) of {method} are {word}: {listed}. Delete the shards of {method} and run again."
            )
    return [records[identifier] for identifier in expected], seed


def _records(shards: Sequence[str | Path], method: str, root: Path) -> dict[str, dict]:
    """Records by identifier, each with its file."""
    records: dict[str, dict] = {}
    for folder in map(Path, shards):
        for number, record in enumerate(read_lines(folder / "records.jsonl"), 1):
            _complete(record, RECORD, f"line {number} of {folder / 'records.jsonl'}", method)
            if record["identifier"] in records:
                raise ShardsDoNotFit(
                    f"{record['identifier']} was drawn twice, the second time in {folder}. "
                    f"Delete the shards of {method} and run again."
                )
            file = folder / record["file_name"]
            if not file.is_file():
                raise ShardsDoNotFit(f"{record['identifier']} has no file {file}. Delete {folder} and run again.")
            records[record["identifier"]] = {**record, "file_name": Path(os.path.relpath(file, root)).as_posix()}
    return records


def _complete(found: dict, names: Sequence[str], where: str, method: str) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise ShardsDoNotFit(
            f"{where} has no {', '.join(map(repr, missing))}: another version drew it. "
            f"Delete the shards of {method} and run again."
        )
