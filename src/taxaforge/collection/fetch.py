"""Fetches what a source offers and stores it by content: images/<first two>/<sha256>.<extension>.

One picture that cannot be had keeps its row and an errorCode; it never stops the others.
"""

import hashlib
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.pictures import extension_of
from taxaforge.collection.schema import CANDIDATES
from taxaforge.collection.sources import Candidate
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json
from taxaforge.taxonomy.schema import TAXA


def fetch(
    *,
    classes: str | Path,
    source: str,
    cfg: dict,
    seed: int,
    out_table: str | Path,
    out_images: str | Path,
    out_origin: str | Path | None = None,
    taxa: str | Path | None = None,
    taxonomy: dict | None = None,
    network: dict | None = None,
    job: str = "",
    log: Callable = lambda step, values: None,
) -> None:
    """Asks a source for its candidates and stores every picture it yields.

    Outputs appear when they are whole: the folder first, the table last.

    Args:
        classes: classes.json.
        source: "simulated", "folder" or "gbif".
        cfg: section of that source, with its files located.
        seed: of the run.
        out_table: candidates.parquet, schema CANDIDATES, sorted by species and identifier.
        out_images: directory of the pictures; file_name is relative to its parent.
        out_origin: JSON; who was asked for what, and counts: candidates, kept, a number each errorCode, and for
            gbif how the occurrences were had and the DOI of a download.
        taxa: taxa.parquet, which translates the folder's labels; only `folder` reads it.
        taxonomy: checklist; only `gbif` reads it.
        network: section network, with "offline"; only `gbif` reads it.
        job: key of settings and inputs. A run of the same key that was stopped goes on where it was.
        log: receives the number of candidates and of those without a file.
    Raises: TaxaforgeError where the source as a whole cannot be used.
    """
    records, out_images = read_json(classes), Path(out_images)
    found: dict[str, list[dict]] = defaultdict(list)
    for path in filter(None, (out_table, out_images, out_origin)):
        _clear_away(Path(path))
    with atomic(out_images) as folder:
        folder.mkdir()
        for candidate in _candidates(source, records, cfg, seed, taxa, taxonomy or {}, network, job):
            found[candidate.identifier].append(_store(candidate, source, folder, out_images.name))
        rows = [row for listed in found.values() for row in settled(listed)]
        table = sorted(rows, key=lambda row: (row["scientificName"], row["identifier"]))
        _keep_only({row["file_name"] for row in table}, folder, out_images.name)
    errors = Counter(row["errorCode"] for row in table if row["errorCode"])
    if out_origin:
        counts = {"candidates": len(table), "kept": len(table) - errors.total(), "errors": dict(errors)}
        write_json(out_origin, {"source": source, **_origin(source, records, cfg, taxonomy, network), **counts})
    tables.write(CANDIDATES, table, out_table)
    if source == "gbif":
        from taxaforge.collection.sources import gbif

        gbif.finish(network, job)
    for code, count in sorted(errors.items()):
        print(f"{count} candidates without a file: {code}")
    if repeated := sum(map(len, found.values())) - len(table):
        print(f"{repeated} candidates were listed more than once and count once")
    log(None, {"candidates": len(table), "candidates_without_file": errors.total()})


TOLD = (
    "gbifID",
    "occurrenceID",
    "datasetKey",
    "recordedBy",
    "recordedByID",
    "eventDate",
    "decimalLatitude",
    "decimalLongitude",
)
"""What ties a picture to others."""

REFUSED = frozenset({"licence_missing", "licence_unknown", "licence_not_allowed"})


def settled(listed: list[dict]) -> list[dict]:
    """What becomes of the rows of one identifier.

    A picture listed under two species is right under neither, nobody can say. One that was listed with a licence
    that is refused is not to be had with another. Else every account that ties it to something new is a row of
    its own, the further ones with a mark behind the identifier, so that the picture has the ties of all of them.
    """
    listed = sorted(listed, key=lambda row: (-sum(row[name] is not None for name in TOLD), _text(row)))
    if len({row["scientificName"] for row in listed}) > 1:
        first = min(listed, key=lambda row: row["scientificName"])
        return [first | {"file_name": None, "sha256": None, "errorCode": "two_species"}]
    refused = any(row["errorCode"] in REFUSED for row in listed)
    rows: list[dict] = []
    for row in listed:
        news = not any(all(row[name] in (None, known[name]) for name in TOLD) for known in rows)
        if news or row["errorCode"] in REFUSED - {known["errorCode"] for known in rows}:
            rows.append(row)
    for place, row in enumerate(rows):
        if refused and not row["errorCode"]:
            row |= {"file_name": None, "sha256": None, "errorCode": "two_licences"}
        if place:
            row["identifier"] += f"#{hashlib.sha256(_text(row).encode()).hexdigest()[:8]}"
    return rows


def _text(row: dict) -> str:
    return json.dumps(
        {name: value for name, value in row.items() if name not in ("file_name", "sha256")}, sort_keys=True
    )


def _candidates(
    source: str, classes: list[dict], cfg: dict, seed: int, taxa: str | Path | None, taxonomy: dict, network: dict | None,
    job: str,
) -> Iterator[Candidate]:  # fmt: skip
    """The one place that knows every source; each is imported only where it is used."""
    if source == "simulated":
        from taxaforge.collection.sources import simulated

        return simulated.candidates(classes, cfg, seed)
    if source == "folder":
        from taxaforge.collection.sources import folder

        return folder.candidates(classes, cfg, _accepted(taxa))
    if source == "gbif":
        from taxaforge.collection.sources import gbif

        return gbif.candidates(classes, cfg, taxonomy, network, seed, job)
    raise TaxaforgeError(f"collection.source {source!r} is unknown. Use simulated, folder or gbif.")


def _origin(source: str, classes: list[dict], cfg: dict, taxonomy: dict, network: dict | None) -> dict:
    if source != "gbif":
        return {}
    from taxaforge.collection.sources import gbif

    return {"checklist": taxonomy["checklist"], **gbif.origin(classes, cfg, taxonomy, network)}


def _accepted(taxa: str | Path | None) -> dict[str, str]:
    """Verbatim or vernacular name -> accepted species, of the names that carry a label.

    A vernacular name that two species share means neither; a name of the list means what it means there.
    """
    if taxa is None:
        return {}
    rows = [row for row in tables.read(TAXA, taxa) if row["label"]]
    vernacular: dict[str, set[str]] = {}
    for row in rows:
        if row["vernacularName"]:
            vernacular.setdefault(_spaced(row["vernacularName"]), set()).add(row["species"])
    clear = {name: species.pop() for name, species in vernacular.items() if len(species) == 1}
    return clear | {_spaced(row["verbatimName"]): row["species"] for row in rows}


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _store(candidate: Candidate, source: str, folder: Path, name: str) -> dict:
    """The candidate's row; its bytes lie in `folder` under their content's name if they are a picture.

    name: what the folder will be called.
    """
    row = asdict(candidate) | {"source": source, "file_name": None, "sha256": None}
    content = row.pop("content")
    if candidate.errorCode:
        return row
    try:
        found = content.read_bytes() if isinstance(content, Path) else content
    except OSError:
        return row | {"errorCode": "unreadable"}
    if not found:
        return row | {"errorCode": "empty_file"}
    extension = extension_of(found)
    if extension is None:
        return row | {"errorCode": "not_an_image"}
    digest = hashlib.sha256(found).hexdigest()
    target = folder / digest[:2] / f"{digest}.{extension}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        # Our own store never changes a body, so its file may serve here, too; a photographer may edit theirs.
        if not (source == "gbif" and _linked(content, target)):
            target.write_bytes(found)
    return row | {"file_name": f"{name}/{digest[:2]}/{target.name}", "sha256": digest}


def _linked(content: Path, target: Path) -> bool:
    """Whether a second name for the same file could be made; not across file systems."""
    try:
        os.link(content, target)
    except OSError:
        return False
    return True


def _keep_only(names: set[str | None], folder: Path, name: str) -> None:
    """Removes the files that no row names: pictures of two species."""
    for file in list(folder.rglob("*.*")):
        if f"{name}/{file.parent.name}/{file.name}" not in names:
            file.unlink()
            if not any(file.parent.iterdir()):
                file.parent.rmdir()


def _clear_away(path: Path) -> None:
    """What a killed run left beside an output: unfinished files of the same name, see files.atomic."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
