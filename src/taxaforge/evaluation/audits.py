"""What the audits say about each method, in one table: leaks, copies, and what its images were made from."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.evaluation.audit_schema import AUDITS, LEAKS, MEMORISATION
from taxaforge.evaluation.memorisation import FAILED, OPEN, PASSED
from taxaforge.files import read_json
from taxaforge.guidance.schema import IMAGES as SYNTHETIC

REAL = "real images"
SPLITS = ("train", "validation", "test", "reserve")


def conclude(
    *,
    leaks: str | Path,
    memorisation: str | Path,
    metadata: Mapping[str, str | Path],
    train: str | Path,
    captions: Mapping[str, str | Path] | None = None,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write AUDITS.

    Args:
        metadata: method -> table of its images. train: .json of the training pack. captions: method -> the captions
            that it was prompted with, by identifier of the captioned image.
    """
    leaking = tables.read(LEAKS, leaks)
    remembered = {row["method"]: row for row in tables.read(MEMORISATION, memorisation) if row["scope"] == "all"}
    known = set(read_json(train)["identifier"])
    rows = [_row("leaks", REAL, *_leaks([row for row in leaking if row["first"] in SPLITS]))]
    for method, table in metadata.items():
        rows.append(_row("leaks", method, *_leaks([row for row in leaking if row["first"] == method])))
        rows.append(_row("copies", method, remembered[method]["outcome"], remembered[method]["reason"]))
        used = {row["source"] for row in tables.read(SYNTHETIC, table) if row["source"]}
        if captions and method in captions:
            used |= set(read_json(captions[method]))
        rows.append(_row("sources", method, *sources(used, known)))
    tables.write(AUDITS, rows, out)
    log(None, {f"audits_{name}": sum(row["outcome"] == name for row in rows) for name in (PASSED, FAILED)})


def sources(used: set[str], known: set[str]) -> tuple[str, str]:
    """Outcome and reason: are all images that a method used training images?

    >>> sources({"a", "z"}, {"a", "b"})
    ('failed', '1 of 2 images that it used are no training images, such as z')
    """
    strange = sorted(used - known)
    if strange:
        return FAILED, f"{len(strange)} of {len(used)} images that it used are no training images, such as {strange[0]}"
    return PASSED, f"all {len(used)} images that it used are training images" if used else "it used no single image"


def failed(path: str | Path | None, methods: Sequence[str], beside: Sequence[str | Path] = ()) -> dict[str, list[str]]:
    """method -> the audits it failed, in words. Leaks between real splits are every method's. None: no audits were made.

    beside: AUDITS of the runs that are joined, whose images count as much.
    """
    return _told([path, *beside] if path else [], methods, FAILED)


def unmade(path: str | Path | None, methods: Sequence[str], beside: Sequence[str | Path] = ()) -> dict[str, list[str]]:
    """method -> the audits that could not be made of it, in words; all of them where `path` is None."""
    if path is None:
        return {method: ["any (audit.enabled is false)"] for method in methods}
    return _told([path, *beside], methods, OPEN)


def _told(paths: Sequence[str | Path], methods: Sequence[str], outcome: str) -> dict[str, list[str]]:
    """paths: of this run, then of those beside."""
    told: dict[str, list[str]] = {method: [] for method in methods}
    for number, path in enumerate(paths):
        run = f"evaluation.beside[{number - 1}]: " if number else ""
        for row in tables.read(AUDITS, path):
            whose = "the real images, which every method shares: " if row["subject"] == REAL else ""
            for method in methods if row["outcome"] == outcome else ():
                if row["subject"] in (method, REAL):
                    told[method].append(f"{run}{whose}{row['audit']} ({row['reason']})")
    return told


def _leaks(rows: Sequence[Mapping]) -> tuple[str, str]:
    """The worst outcome of some rows of LEAKS, with the reasons for it."""
    for outcome in (FAILED, OPEN):
        told = [f"{row['first']} and {row['second']}: {row['reason']}" for row in rows if row["outcome"] == outcome]
        if told:
            return outcome, "; ".join(told)
    seen = next((row["found_kinds"] for row in rows if row["found_kinds"]), "")
    words = f"no leaks (of copies made on purpose are seen: {seen})" if seen else "no leaks"
    told = [
        row["reason"] for row in rows if row["first"] not in SPLITS and row["second"] == "train" and row["identical"]
    ]
    return (PASSED, "; ".join([words, *told])) if rows else (FAILED, "nothing was compared")


def _row(audit: str, subject: str, outcome: str, reason: str) -> dict:
    return {"audit": audit, "subject": subject, "outcome": outcome, "reason": reason}
