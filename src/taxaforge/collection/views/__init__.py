"""The collection in other tools' layouts. Every view is made from the published table and holds only its pictures.

Pictures keep their bytes; files are hard links where the disk allows it. `unused` pictures are in no view.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.attribution import ATTRIBUTION, attributions, licence_name, licences_of
from taxaforge.collection.card import licences as terms
from taxaforge.collection.manifest import NotPublishable, published
from taxaforge.collection.schema import SPLIT_NAMES
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json
from taxaforge.progress import Progress

SPLITS = SPLIT_NAMES[:-1]


@dataclass(frozen=True)
class Picture:
    """row: of the published table. file: where the picture lies."""

    row: dict
    file: Path

    @property
    def key(self) -> str:
        """Its id in every view: the digest of its bytes."""
        return self.row["sha256"]

    @property
    def name(self) -> str:
        return f"{self.key}{self.file.suffix}"

    @property
    def split(self) -> str:
        return self.row["split"]


Writer = Callable[[Sequence[Picture], Sequence[dict], Path, Progress], list[str]]
"""(pictures, classes, empty folder to fill, progress in pictures) -> where each picture lies in it, in their order.

Leaves a README.md that says what the layout is and how to load it.
"""

DRAWN = "**These are drawn specimens. Nothing here is a picture of the real species.**"


def export(
    *,
    view: str,
    metadata: str | Path,
    splits: str | Path,
    images: str | Path,
    classes: str | Path,
    licences: Sequence[str],
    out: str | Path,
    log: Callable = lambda step, values: None,
) -> None:
    """Writes one view with its README.md and ATTRIBUTION.csv.

    Args:
        view: imagefolder, coco or webdataset.
        metadata, splits: the tables of `curate` and `split`.
        images: directory of the pictures; file names are relative to its parent.
        classes: classes.json; position = label.
        licences: ids under which a picture may be published; no other picture is in a view, or is opened.
        out: folder; what stood there is replaced once the view is complete.
        log: receives images_exported.
    Raises: TaxaforgeError for an unknown view; NotPublishable where a picture is missing or stands twice, or where
        there is none to publish.
    """
    from taxaforge.collection.views import coco, imagefolder, webdataset

    writers: dict[str, Writer] = {"imagefolder": imagefolder.write, "coco": coco.write, "webdataset": webdataset.write}
    if view not in writers:
        raise TaxaforgeError(f"There is no view {view!r}. Use {', '.join(writers)}.")
    rows, withheld = published(metadata, splits, classes, licences)
    pictures = pictures_of(rows, Path(images).parent)
    if not pictures:
        raise NotPublishable(_nothing(withheld, licences))
    with atomic(out) as folder:
        folder.mkdir()
        progress = Progress(f"writing {view}", len(pictures), "images")
        places = writers[view](pictures, read_json(classes), folder, progress)
        credits = attributions(picture.row for picture in pictures)
        rows = [row | {"file_name": where} for row, where in zip(credits, places, strict=True)]
        tables.write(ATTRIBUTION, rows, folder / "ATTRIBUTION.csv")
        _finish_readme(folder / "README.md", [picture.row for picture in pictures])
    log(None, {"images_exported": len(pictures)})


def _nothing(withheld: Sequence[Mapping], licences: Sequence[str]) -> str:
    counts = ", ".join(f"{licence_name(licence)}: {count}" for licence, count in licences_of(withheld))
    why = (
        f"{len(withheld)} are under a licence that may not be published ({counts})"
        if withheld
        else "none is in a split"
    )
    return (
        f"There is nothing to publish: of the pictures {why}. State licences in column `license` of the table of your "
        "photographs, or list those that may be published in collection.publish. Allowed at present: "
        f"{', '.join(licences) or 'none'}."
    )


def pictures_of(rows: Sequence[dict], base: Path) -> list[Picture]:
    """The pictures that have a use, by split, species and identifier."""
    found = [Picture(row, base / row["file_name"]) for split in SPLITS for row in rows if row["split"] == split]
    seen: dict[str, str] = {}
    for picture in found:
        name = picture.row["identifier"]
        if not picture.file.is_file():
            raise NotPublishable(f"{name!r} has no file {picture.row['file_name']!r}. Run the rule fetch_images again.")
        if (other := seen.setdefault(picture.key, name)) != name:
            raise NotPublishable(f"{other!r} and {name!r} are one file. Run the rule curate_images again.")
    return found


def _finish_readme(readme: Path, rows: Sequence[Mapping]) -> None:
    """What holds in every layout: the terms, and that drawings are drawings."""
    drawn = [DRAWN] if any(row["source"] == "simulated" for row in rows) else []
    readme.write_text("\n\n".join([readme.read_text("utf-8").rstrip(), *drawn, terms(rows)]) + "\n", "utf-8")


def folder_of(label: int, taxon: Mapping) -> str:
    """Name of a species' folder: sorted by name, folders are in the order of the labels."""
    return f"{label:05d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', taxon['species'])}"


def place(source: Path, target: Path) -> None:
    """The picture under another name, without a second copy where the disk allows it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
