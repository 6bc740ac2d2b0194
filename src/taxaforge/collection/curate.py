"""From candidates to the collection: measures every file, gives each rejected one its reason, counts both."""

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.duplicates import duplicate_sets, near_pairs
from taxaforge.collection.quality import first_reason, measure
from taxaforge.collection.schema import CANDIDATES, METADATA, REJECTIONS
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of


class NothingLeft(TaxaforgeError):
    """No picture passed."""


def curate(
    *,
    candidates: str | Path,
    images: str | Path,
    cfg: dict,
    out_metadata: str | Path,
    out_rejections: str | Path,
    out_ledger: str | Path,
    log: Callable = lambda step, values: None,
) -> None:
    """Keeps the pictures that pass every check, one of each set of near duplicates.

    Args:
        candidates: candidates.parquet.
        images: directory of the pictures; file names are relative to its parent.
        cfg: section collection.quality.
        out_metadata: accepted rows, schema METADATA, in the order of the candidates.
        out_rejections: the others, schema REJECTIONS.
        out_ledger: {"in", "kept", "rejected": {reason: n}, "species": {name: {"in", "kept"}}};
            in = kept + all reasons.
        log: receives images_kept and images_rejected.
    Raises: NothingLeft, with the ledger's reasons, where no picture passes.
    """
    rows = tables.read(CANDIDATES, candidates)
    base = Path(images).parent
    progress = Progress("judging images", len(rows), "images")
    reasons: dict[str, str] = {}
    measured: list[dict] = []
    for number, row in enumerate(rows, 1):
        reason = row["errorCode"]
        if not reason:
            row |= measure(base / row["file_name"])
            reason = first_reason(row, cfg)
        if reason:
            reasons[row["identifier"]] = reason
        else:
            measured.append(row)
        progress(number)
    reasons |= judge_duplicates(measured, cfg["near_duplicate_bits"])
    kept = [row for row in measured if row["identifier"] not in reasons]
    for row in kept:
        row["img_phash"] = row["img_phash"].tobytes().hex()
        del row["mirror_hash"]
    rejected = [
        {"identifier": row["identifier"], "scientificName": row["scientificName"], "reason": reasons[row["identifier"]]}
        for row in rows
        if row["identifier"] in reasons
    ]
    ledger = _ledger(rows, kept, rejected)
    if not kept:
        why = ", ".join(f"{reason} {n}" for reason, n in ledger["rejected"].items()) or "there were no candidates"
        raise NothingLeft(
            f"None of {len(rows)} candidate images passed ({why}). Look at the source's files, or at the limits in "
            "collection.quality."
        )
    tables.write(METADATA, kept, out_metadata)
    tables.write(REJECTIONS, rejected, out_rejections)
    write_json(out_ledger, ledger)
    log(None, {"images_kept": len(kept), "images_rejected": len(rejected)})


def judge_duplicates(rows: list[dict], bits: int) -> dict[str, str]:
    """identifier -> reason, for near duplicates to drop; sets `qc_duplicate_set` in every row.

    Within one species the picture with the largest area stays, then the one with the smaller keyed
    hash. A set under two species is dropped whole: a mixed scene or a wrong label, nobody can say.
    """
    hashes, mirrored = (
        np.array([row[column] for row in rows], dtype=np.uint8).reshape(-1, 32)
        for column in ("img_phash", "mirror_hash")
    )
    sets = duplicate_sets([row["identifier"] for row in rows], near_pairs(hashes, mirrored, bits))
    members: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        row["qc_duplicate_set"] = sets[row["identifier"]]
        members[row["qc_duplicate_set"]].append(row)
    reasons = {}
    for alike in members.values():
        if len({row["scientificName"] for row in alike}) > 1:
            reasons |= {row["identifier"]: "duplicate_of_two_species" for row in alike}
            continue
        best = min(alike, key=lambda row: (-row["img_width"] * row["img_height"], seed_of("keep", row["identifier"])))
        reasons |= {row["identifier"]: "duplicate" for row in alike if row is not best}
    return reasons


def _ledger(rows: list[dict], kept: list[dict], rejected: list[dict]) -> dict:
    """Counts that must add up; a bug that loses a picture ends here."""
    reasons = Counter(row["reason"] for row in rejected)
    if len(rows) != len(kept) + reasons.total():
        raise AssertionError(f"{len(rows)} candidates, but {len(kept)} kept and {reasons.total()} rejected")
    offered, stayed = (Counter(row["scientificName"] for row in some) for some in (rows, kept))
    species = {name: {"in": offered[name], "kept": stayed[name]} for name in sorted(offered)}
    return {"in": len(rows), "kept": len(kept), "rejected": dict(sorted(reasons.items())), "species": species}
