"""Fetches what a source offers and stores it by content: images/<first two>/<sha256>.<extension>.

One picture that cannot be had keeps its row and an errorCode; it never stops the others.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.schema import CANDIDATES
from taxaforge.collection.sources import Candidate
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json

MAGIC = (
    (b"\x89PNG\r\n\x1a\n", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpg"),
    (b"WEBP", 8, "webp"),
    (b"II*\x00", 0, "tif"),
    (b"MM\x00*", 0, "tif"),
    (b"GIF8", 0, "gif"),
    (b"BM", 0, "bmp"),
)


def extension_of(content: bytes) -> str | None:
    """The image format that the first bytes show, whatever the name said; None: no picture."""
    return next((ext for magic, at, ext in MAGIC if content[at : at + len(magic)] == magic), None)


def fetch(
    *,
    classes: str | Path,
    source: str,
    cfg: dict,
    seed: int,
    out_table: str | Path,
    out_images: str | Path,
    taxa: str | Path | None = None,
    taxonomy: dict | None = None,
    log: Callable = lambda step, values: None,
) -> None:
    """Asks a source for its candidates and stores every picture it yields.

    Args:
        classes: classes.json.
        source: "simulated", "folder" or "gbif".
        cfg: section of that source.
        seed: of the run.
        out_table: candidates.parquet, schema CANDIDATES, sorted by species and identifier.
        out_images: directory of the pictures; file_name is relative to its parent.
        taxa: taxa.parquet, which translates the folder's verbatim names; only `folder` reads it.
        taxonomy: section taxonomy (checklist, contact); only `gbif` reads it.
        log: receives the number of candidates and of those without a file.
    Raises: TaxaforgeError where the source as a whole cannot be used.
    """
    records = read_json(classes)
    rows: dict[str, dict] = {}
    repeated = 0
    for candidate in _candidates(source, records, cfg, seed, taxa, taxonomy or {}):
        known = rows.get(candidate.identifier)
        if known is None:
            rows[candidate.identifier] = _store(candidate, source, Path(out_images))
        else:  # a picture listed twice; under two names, nobody can say which is right
            repeated += 1
            if known["scientificName"] != candidate.scientificName:
                known |= {"file_name": None, "sha256": None, "errorCode": "two_species"}
    Path(out_images).mkdir(parents=True, exist_ok=True)
    table = sorted(rows.values(), key=lambda row: (row["scientificName"], row["identifier"]))
    tables.write(CANDIDATES, table, out_table)
    errors = Counter(row["errorCode"] for row in table if row["errorCode"])
    for code, count in sorted(errors.items()):
        print(f"{count} candidates without a file: {code}")
    if repeated:
        print(f"{repeated} candidates were listed more than once and count once")
    log(None, {"candidates": len(table), "candidates_without_file": errors.total()})


def _candidates(
    source: str, classes: list[dict], cfg: dict, seed: int, taxa: str | Path | None, taxonomy: dict
) -> Iterator[Candidate]:
    """The one place that knows every source; each is imported only where it is used."""
    if source == "simulated":
        from taxaforge.collection.sources import simulated

        return simulated.candidates(classes, cfg, seed)
    if source == "folder":
        from taxaforge.collection.sources import folder

        return folder.candidates(classes, cfg, _accepted(taxa))
    if source == "gbif":
        from taxaforge.collection.sources import gbif

        return gbif.candidates(classes, cfg, taxonomy, seed)
    raise TaxaforgeError(f"collection.source {source!r} is unknown. Use simulated, folder or gbif.")


def _accepted(taxa: str | Path | None) -> dict[str, str]:
    """Verbatim name -> accepted species, of the names that carry a label."""
    if taxa is None:
        return {}
    import pyarrow.parquet as pq

    rows = pq.read_table(taxa, columns=["verbatimName", "species", "label"]).to_pylist()
    return {" ".join(row["verbatimName"].split()): row["species"] for row in rows if row["label"]}


def _store(candidate: Candidate, source: str, images: Path) -> dict:
    """The candidate's row; its bytes lie under their content's name if they are a picture."""
    row = asdict(candidate) | {"source": source, "file_name": None, "sha256": None}
    content = row.pop("content")
    if candidate.errorCode:
        return row
    try:
        content = content.read_bytes() if isinstance(content, Path) else content
    except OSError:
        return row | {"errorCode": "unreadable"}
    if not content:
        return row | {"errorCode": "empty_file"}
    extension = extension_of(content)
    if extension is None:
        return row | {"errorCode": "not_an_image"}
    digest = hashlib.sha256(content).hexdigest()
    target = images / digest[:2] / f"{digest}.{extension}"
    if not target.exists():
        with atomic(target) as temporary:
            temporary.write_bytes(content)
    return row | {"file_name": target.relative_to(images.parent).as_posix(), "sha256": digest}
