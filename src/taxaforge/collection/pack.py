"""Packs one split: decoded once, square, at the size at which it is learnt from."""

import hashlib
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.pixels import open_rgb, square
from taxaforge.collection.schema import METADATA, SPLITS
from taxaforge.files import read_json
from taxaforge.packs import Pack
from taxaforge.progress import Progress


def pack(
    *,
    metadata: str | Path,
    splits: str | Path,
    images: str | Path,
    classes: str | Path,
    name: str,
    size: int,
    out: str | Path,
) -> None:
    """Writes the pictures of split `name` as a Pack, in the order of a hash of their identifiers.

    Args:
        metadata, splits: the tables of `curate` and `split`.
        images: directory of the pictures; file names are relative to its parent.
        classes: classes.json: class index = position.
        name: train, validation, test or reserve; test is sealed.
        size: side in px.
        out: <name>.npy; the .json is written beside it. An empty split gives an empty pack.
    """
    species = [record["species"] for record in read_json(classes)]
    index = {name: i for i, name in enumerate(species)}
    group = {row["identifier"]: row["group"] for row in tables.read(SPLITS, splits) if row["split"] == name}
    rows = [row for row in tables.read(METADATA, metadata) if row["identifier"] in group]
    rows.sort(key=lambda row: hashlib.sha256(row["identifier"].encode()).digest())
    pixels = np.zeros((len(rows), size, size, 3), dtype=np.uint8)
    progress = Progress(f"packing {name}", len(rows), "images")
    for i, row in enumerate(rows):
        pixels[i] = np.asarray(square(open_rgb(Path(images).parent / row["file_name"]), size))
        progress(i + 1)
    Pack(
        pixels=pixels,
        classes=species,
        identifier=[row["identifier"] for row in rows],
        label=np.array([index[row["scientificName"]] for row in rows], dtype=np.int64),
        group=[group[row["identifier"]] for row in rows],
        caption=[row["caption"] for row in rows],
    ).save(out, sealed=name == "test")
