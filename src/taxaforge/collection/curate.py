"""From candidates to the collection: measures every file, gives each rejected one its reason, counts both."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.caps import over_caps
from taxaforge.collection.duplicates import judge_sets, mark_sets
from taxaforge.collection.features import Features, outliers
from taxaforge.collection.measuring import measure_all
from taxaforge.collection.near import near_groups, similar_groups
from taxaforge.collection.quality import first_reason
from taxaforge.collection.schema import CANDIDATES, DUPLICATES, METADATA, REJECTIONS
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.progress import Progress


class NothingLeft(TaxaforgeError):
    """No picture passed."""


LARGE_SET = 50
"""Members of a duplicate set from which on a person is told."""


def curate(
    *,
    candidates: str | Path,
    images: str | Path,
    features: str | Path | None = None,
    cfg: Mapping,
    seed: int,
    workers: int = 1,
    out_metadata: str | Path,
    out_rejections: str | Path,
    out_duplicates: str | Path,
    out_ledger: str | Path,
    log: Callable = lambda step, values: None,
) -> None:
    """Keeps the pictures that pass every check, one of each set of duplicates, and no more than the caps allow.

    Args:
        candidates: candidates.parquet.
        images: directory of the pictures; file names are relative to its parent.
        features: features.npy of `embed`, or None; with them pictures of similar features are
            duplicates too, and qc_outlier is filled.
        cfg: section collection.quality; `cap`: section collection.cap; with features `near_duplicate`,
            the least cosine similarity of two copies.
        seed: of the run; the caps' order hangs on it.
        workers: processes that read pictures; the result is the same for any number.
        out_metadata: accepted rows, schema METADATA, by species and identifier.
        out_rejections: the others, schema REJECTIONS, in the same order.
        out_duplicates: every member of every set of two or more, kept or not, schema DUPLICATES.
        out_ledger: {"in", "kept", "rejected": {reason: n}, "species": {name: {"in", "kept"}}};
            in = kept + all reasons.
        log: receives images_kept, images_rejected, duplicate_sets, largest_duplicate_set.
    Raises: NothingLeft, with the ledger's reasons, where no picture passes; MissingImage; WorkerDied;
        BadFeatures.
    """
    rows = sorted(tables.read(CANDIDATES, candidates), key=lambda row: (row["scientificName"], row["identifier"]))
    known = Features.load(features) if features else None
    reasons = {row["identifier"]: row["errorCode"] for row in rows if row["errorCode"]}
    passed = _passed([row for row in rows if not row["errorCode"]], Path(images).parent, cfg, workers, reasons)
    mark_sets(passed, _ties(passed, known, cfg))
    reasons |= judge_sets(passed)
    reasons |= over_caps([row for row in passed if row["identifier"] not in reasons], cfg["cap"], seed)
    kept = [row for row in passed if row["identifier"] not in reasons]
    ledger = _ledger(rows, kept, reasons)
    if not kept:
        why = ", ".join(f"{reason} {n}" for reason, n in ledger["rejected"].items()) or "there were no candidates"
        raise NothingLeft(
            f"None of {len(rows)} candidate images passed ({why}). Look at the source's files, or at the limits in "
            "collection.quality."
        )
    distance = outliers(kept, known) if known else {}
    for row in kept:
        row["qc_outlier"] = distance.get(row["identifier"])
    doubled = [row | {"kept": row["identifier"] not in reasons} for row in passed if row["qc_duplicate_kind"]]
    doubled.sort(key=lambda row: (row["qc_duplicate_set"], row["identifier"]))
    set_of = {row["identifier"]: row["qc_duplicate_set"] for row in doubled}
    rejected = [
        {
            "identifier": row["identifier"],
            "scientificName": row["scientificName"],
            "reason": reasons[row["identifier"]],
            "qc_duplicate_set": set_of.get(row["identifier"]),
        }
        for row in rows
        if row["identifier"] in reasons
    ]
    tables.write(METADATA, _columns(METADATA, kept), out_metadata)
    tables.write(REJECTIONS, rejected, out_rejections)
    tables.write(DUPLICATES, _columns(DUPLICATES, doubled), out_duplicates)
    write_json(out_ledger, ledger)
    sizes = Counter(set_of.values())
    _tell(reasons, sizes)
    log(None, {
        "images_kept": len(kept), "images_rejected": len(rejected), "duplicate_sets": len(sizes),
        "largest_duplicate_set": max(sizes.values(), default=0),
    })  # fmt: skip


def _passed(rows: Sequence[dict], base: Path, cfg: Mapping, workers: int, reasons: dict[str, str]) -> list[dict]:
    """The rows that pass every check on a single picture, with its measures; the others go into `reasons`."""
    progress = Progress("judging images", len(rows), "images")
    passed = []
    measures = measure_all([base / row["file_name"] for row in rows], workers)
    for number, (row, measured) in enumerate(zip(rows, measures, strict=True), 1):
        reason = first_reason(measured, cfg)
        if reason:
            reasons[row["identifier"]] = reason
        else:
            passed.append(row | measured)
        progress(number)
    return passed


def _ties(rows: Sequence[Mapping], known: Features | None, cfg: Mapping) -> dict[str, list]:
    """For every kind of duplicate a key a row, equal for rows that are tied; see `duplicates.mark_sets`."""
    hashes, mirrored = (
        np.frombuffer(bytes.fromhex("".join(row[name] for row in rows)), dtype=np.uint8).reshape(-1, 32)
        for name in ("img_phash", "mirror_phash")
    )
    ties = {
        "exact": [row["sha256"] for row in rows],
        "pixel": [(row["img_pixel_sha256"], row["img_width"], row["img_height"]) for row in rows],
        "near": near_groups(hashes, mirrored, cfg["near_duplicate_bits"]).tolist(),
    }
    if known:
        have = sorted(row["identifier"] for row in rows if row["identifier"] in known.place)
        groups = similar_groups(known.rows(have), cfg["near_duplicate"]).tolist()
        group = dict(zip(have, groups, strict=True))
        ties["embedding"] = [group.get(row["identifier"]) for row in rows]
    return ties


def _columns(schema: tables.Schema, rows: Iterable[Mapping]) -> Iterable[dict]:
    """The rows without what only this module needed."""
    return ({name: row[name] for name in schema.columns} for row in rows)


def _ledger(rows: Sequence[Mapping], kept: Sequence[Mapping], reasons: Mapping[str, str]) -> dict:
    """Counts that must add up; a bug that loses a picture ends here."""
    counts = Counter(reasons.values())
    if len(rows) != len(kept) + counts.total():
        raise AssertionError(f"{len(rows)} candidates, but {len(kept)} kept and {counts.total()} rejected")
    offered, stayed = (Counter(row["scientificName"] for row in some) for some in (rows, kept))
    species = {name: {"in": offered[name], "kept": stayed[name]} for name in sorted(offered)}
    return {"in": len(rows), "kept": len(kept), "rejected": dict(sorted(counts.items())), "species": species}


def _tell(reasons: Mapping[str, str], sizes: Mapping[str, int]) -> None:
    """What a person should look at, in words."""
    conflicts = sum(reason == "duplicate_of_two_species" for reason in reasons.values())
    if conflicts:
        print(f"{conflicts} images appear under two species and were all dropped; duplicates.parquet lists them by set")
    large = {name: size for name, size in sizes.items() if size >= LARGE_SET}
    if large:
        worst = max(large, key=lambda name: (large[name], name))
        print(
            f"{len(large)} duplicate sets have {LARGE_SET} members or more, the largest {large[worst]} (set {worst!r}). If they "
            "are no copies, lower collection.quality.near_duplicate_bits"
        )
