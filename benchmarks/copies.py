"""Which copies of photographs the difference hash finds, and which other pairs it would take for copies.

    python benchmarks/copies.py --shared ../shared

Makes copies of photographs (smaller, harder compressed, cropped), and compares all photographs with each other. Shows no
picture: pairs within the widest radius are named, to be looked at. Writes its section of docs/benchmarks.md.
"""

import argparse
import csv
import io
import os
import random
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from rules import HEAD, PAGE, ROOT, commit_of, put
from taxaforge.collection.pixels import open_rgb
from taxaforge.collection.quality import HASH_SIDE

TITLE = "Copies of photographs that the hash finds"
BITS = (12, 20, 28, 32, 40)


def difference_hash(image: Image.Image) -> np.ndarray:
    """(32,) uint8, as curation has it."""
    return np.packbits(imagehash.dhash(image.convert("L"), HASH_SIDE).hash)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def cropped(image: Image.Image) -> Image.Image:
    x, y = round(0.02 * image.width), round(0.02 * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES = {
    "JPEG quality 30": lambda image: compressed(image, 30),
    "half the side": smaller,
    "half the side, then quality 30": lambda image: compressed(smaller(image), 30),
    "2 % cut off at each edge": cropped,
}


def section(folder: Path, photographs: int, copies: int) -> str:
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    random.Random(0).shuffle(names)
    names = names[:photographs]
    images = [open_rgb(folder / name) for name in names]
    hashes = np.stack([difference_hash(image) for image in images])
    lines = [
        f"| copy | {' | '.join(f'{bits} bits' for bits in BITS)} |",
        "|---" * (len(BITS) + 1) + "|",
    ]
    for kind, make in COPIES.items():
        made = np.stack([difference_hash(make(image)) for image in images[:copies]])
        distance = np.bitwise_count(made ^ hashes[:copies]).sum(axis=1)
        lines.append(f"| {kind} | " + " | ".join(f"{100 * (distance <= bits).mean():.1f}" for bits in BITS) + " |")
    near = []
    for i in range(len(hashes) - 1):
        distance = np.bitwise_count(hashes[i + 1 :] ^ hashes[i]).sum(axis=1)
        near += [(int(distance[j]), names[i], names[i + 1 + j]) for j in np.flatnonzero(distance <= BITS[-1])]
    pairs = "; ".join(f"{bits} bits: {a}, {b}" for bits, a, b in sorted(near)) or "none"
    text = (
        f"`python benchmarks/copies.py` at {commit_of(ROOT / 'results')}. {len(names)} photographs of butterflies and moths at 128 px; "
        f"share of {copies} copies within a distance of the original, in %, of 256 bits. Other pairs within {BITS[-1]} bits: {pairs}."
    )
    return "\n".join([f"## {TITLE}", "", text, "", *lines]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--photographs", type=int, default=3000)
    parser.add_argument("--copies", type=int, default=500)
    given = parser.parse_args()
    put(PAGE, HEAD, TITLE, section(given.shared / "data/lepidoptera", given.photographs, given.copies))
    print(f"wrote {PAGE.name}: {TITLE}")
