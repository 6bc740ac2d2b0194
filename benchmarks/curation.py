"""Curation and split of 1,000 to 100,000 drawn images, beside imagededup on the same folder in the same run.

    python benchmarks/curation.py --sizes 1000 10000 100000 --peer-python VENV/bin/python

Images are drawn from a hash of their number: coloured shapes on a soft ground, not specimens. Copies with a known
original are planted, so that recall and precision can be counted. Writes its section of docs/benchmarks.md anew
and leaves the others.
"""

import argparse
import hashlib
import json
import math
import random
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import combinations
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageOps
from watch import Peak, alone

from rules import HEAD, PAGE, ROOT, commit_of, put

TITLE = "Curation and split"
SIDE = 64
PER_SPECIES = 250
PLANTED = ("exact", "recompressed", "resized", "mirrored", "two species")
"""Kinds of copies: the same bytes; JPEG quality 30; half the side; mirror image; the same bytes under another species. A picture in every 12 is a copy of the one before it, the kinds in turn."""
EVERY = 12
PEER = Path(__file__).with_name("curation_peer.py")


def kind_of(i: int) -> str:
    """What picture i is: drawn, or a copy of picture i - 1."""
    return PLANTED[i // EVERY % len(PLANTED)] if i % EVERY == EVERY - 1 else "drawn"


def file_of(i: int) -> str:
    return f"{i:07d}.jpg"


def drawn(i: int) -> Image.Image:
    """Picture i: a soft ground, twelve shapes and grain."""
    die = random.Random(i)
    colour = lambda: tuple(die.randrange(256) for _ in range(3))  # noqa: E731
    ground = Image.new("RGB", (4, 4))
    ground.putdata([colour() for _ in range(16)])
    image = ground.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for shape in range(12):
        x, y = (die.uniform(-0.1, 0.9) * SIDE for _ in range(2))
        w, h = (die.uniform(0.1, 0.5) * SIDE for _ in range(2))
        box = (x, y, x + w, y + h)
        if shape % 2:
            pen.ellipse(box, fill=colour())
        else:
            pen.polygon([(x, y), (x + w, y + h / 3), (x + w / 3, y + h)], fill=colour())
    return image.filter(ImageFilter.GaussianBlur(0.6))


def draw_file(folder: Path, i: int) -> None:
    kind, path = kind_of(i), folder / file_of(i)
    if kind in ("exact", "two species"):
        drawn(i - 1).save(path, quality=90)  # the same bytes as its original
    elif kind == "recompressed":
        drawn(i - 1).save(path, quality=30)
    elif kind == "resized":
        drawn(i - 1).resize((SIDE // 2,) * 2, Image.Resampling.LANCZOS).save(path, quality=75)
    elif kind == "mirrored":
        ImageOps.mirror(drawn(i - 1)).save(path, quality=88)
    else:
        drawn(i).save(path, quality=90)


def species_of(i: int, n: int) -> str:
    """Species in blocks; a copy under a second name goes to the next block."""
    blocks = max(2, n // PER_SPECIES)
    block = min(i // PER_SPECIES, blocks - 1) + (kind_of(i) == "two species")
    return f"Drawnia species{block % blocks}"


def candidate(i: int, n: int) -> dict:
    """A row as a source would give it: three pictures an observer and day, one in eight without an observer."""
    from taxaforge.collection.schema import CANDIDATES

    of = random.Random(i // 3)
    observer = of.randrange(max(30, n // 40))
    known = {
        "identifier": f"images/{file_of(i)}",
        "file_name": f"images/{file_of(i)}",
        "scientificName": species_of(i, n),
        "recordedBy": None if of.random() < 0.125 else f"Observer {observer}",
        "eventDate": f"20{of.randrange(10, 24)}-{of.randrange(1, 13):02d}-{of.randrange(1, 29):02d}",
        "license": of.choice(["CC0-1.0", "CC-BY-4.0", "CC-BY-4.0"]),
        "rightsHolder": f"Observer {observer}",
        "decimalLatitude": of.uniform(-60, 70),
        "decimalLongitude": of.uniform(-180, 180),
        "source": "folder",
        "caption": "",
        "errorCode": "",
    }
    return dict.fromkeys(CANDIDATES.columns) | known


def prepare(folder: Path, n: int, workers: int) -> None:
    """Pictures, candidates and classes of size n; a folder that is complete is used as it is."""
    from taxaforge import tables
    from taxaforge.collection.schema import CANDIDATES
    from taxaforge.files import write_json

    if (folder / "classes.json").exists():
        return
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        for _ in pool.map(partial(draw_file, images), range(n), chunksize=250):
            pass
    rows = [candidate(i, n) for i in range(n)]
    for row in rows:
        row["sha256"] = hashlib.sha256((folder / row["file_name"]).read_bytes()).hexdigest()
    tables.write(CANDIDATES, rows, folder / "candidates.parquet")
    species = sorted({row["scientificName"] for row in rows})
    write_json(folder / "classes.json", [{"species": name} for name in species])


# ---------------------------------------------------------------- what is measured; each runs in a process of its own


def curated(folder: Path, bits: int, workers: int) -> dict:
    import faiss  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.sparse.csgraph  # noqa: F401 -- loaded before the clock starts, as the peer's libraries are

    from taxaforge.collection.curate import curate
    from taxaforge.config.collection import Collection

    section = Collection().model_dump()
    quality = section["quality"] | {"near_duplicate_bits": bits}
    out = folder / f"{bits} bits"
    began = time.monotonic()
    curate(
        candidates=folder / "candidates.parquet",
        images=folder / "images",
        cfg=quality | {"cap": section["cap"], "near_duplicate": section["embedding"]["near_duplicate"]},
        seed=0,
        workers=workers,
        out_metadata=out / "metadata.parquet",
        out_rejections=out / "rejections.csv",
        out_duplicates=out / "duplicates.parquet",
        out_ledger=out / "ledger.json",
        log=lambda step, values: None,
    )
    return {"wall_s": time.monotonic() - began}


def dealt(folder: Path, bits: int, unit: str) -> dict:
    import pyarrow.parquet  # noqa: F401

    from taxaforge.collection.split import split
    from taxaforge.config.protocol import Protocol
    from taxaforge.config.split import Split

    out = folder / f"{bits} bits"
    began = time.monotonic()
    split(
        metadata=out / "metadata.parquet",
        duplicates=out / "duplicates.parquet",
        classes=folder / "classes.json",
        split=Split(unit=unit, reserve=100).model_dump(),
        protocol=Protocol(shots=24).model_dump(),
        seed=0,
        out_splits=out / "splits.parquet",
        out_leakage=out / "leakage.csv",
        out_tail=out / "tail.csv",
        log=lambda step, values: None,
    )
    return {"wall_s": time.monotonic() - began}


def peer(python: str, folder: Path, method: str, workers: int) -> dict:
    out = folder / f"{method}.json"
    command = [python, str(PEER), str(folder / "images"), method, str(workers), str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with Peak(process.pid) as peak:
        complaint = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"imagededup ended with status {process.returncode}:\n{complaint[-2000:]}")
    return json.loads(out.read_text("utf-8")) | {"memory_mib": peak.mib}


# ---------------------------------------------------------------- planted against found

Pair = tuple[str, str]


def planted(n: int) -> dict[Pair, str]:
    return {(file_of(i - 1), file_of(i)): kind_of(i) for i in range(n) if kind_of(i) != "drawn"}


def found_by_us(folder: Path, bits: int) -> set[Pair]:
    """Every two members of a set, dropped ones included."""
    from taxaforge import tables
    from taxaforge.collection.schema import DUPLICATES

    sets = defaultdict(list)
    for row in tables.read(DUPLICATES, folder / f"{bits} bits" / "duplicates.parquet"):
        sets[row["qc_duplicate_set"]].append(Path(row["identifier"]).name)
    return {pair for members in sets.values() for pair in combinations(sorted(members), 2)}


def scores(truth: dict[Pair, str], found: set[Pair]) -> dict[str, float]:
    """Recall of each kind and of all, precision; 1 is all."""
    hits = Counter(kind for pair, kind in truth.items() if pair in found)
    of = Counter(truth.values())
    recall = {kind: hits[kind] / of[kind] if of[kind] else math.nan for kind in PLANTED}
    return recall | {
        "all": hits.total() / max(len(truth), 1),
        "precision": sum(pair in truth for pair in found) / max(len(found), 1),
    }


def best_threshold(truth: dict[Pair, str], pairs: list) -> tuple[int, set[Pair]]:
    """The distance at which the peer does best (F1) on these very pairs; more than it could know beforehand."""

    def f1(limit: int) -> float:
        found = {(a, b) for a, b, distance in pairs if distance <= limit}
        return 2 * sum(pair in truth for pair in found) / max(len(found) + len(truth), 1)

    best = max(range(11), key=f1)
    return best, {(a, b) for a, b, distance in pairs if distance <= best}


def slope(points: list[tuple[int, float]]) -> float:
    """Exponent of seconds over size, least squares on logarithms; 1 is linear, 2 quadratic."""
    x, y = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / sum((a - mx) ** 2 for a in x)


# ---------------------------------------------------------------- the page


def section(work: Path, given: argparse.Namespace) -> str:
    walls: dict[str, list[tuple[int, float]]] = defaultdict(list)
    times, quality, version = [], [], ""
    columns = [*PLANTED, "all", "precision"]
    for n in given.sizes:
        folder = work / str(n)
        prepare(folder, n, given.workers)
        truth = planted(n)
        runs, found = {}, {}
        for bits in given.bits:
            runs[f"curate, {bits} bits"] = alone(curated, folder=folder, bits=bits, workers=given.workers)
            found[f"taxaforge, {bits} of 256 bits"] = found_by_us(folder, bits)
        ours = runs[f"curate, {given.bits[0]} bits"]["wall_s"]
        for unit in given.units:
            runs[f"split, unit {unit}"] = alone(dealt, folder=folder, bits=given.bits[0], unit=unit)
        for method in given.methods if given.peer_python and n <= given.peer_up_to else ():
            runs[f"imagededup {method}"] = taken = peer(given.peer_python, folder, method, given.workers)
            version, pairs = taken["version"], taken["pairs"]
            found[f"imagededup {method}, its default, 10 of 64 bits"] = {(a, b) for a, b, _ in pairs}
            limit, found_best = best_threshold(truth, pairs)
            found[f"imagededup {method}, the best for these, {limit} of 64 bits"] = found_best
        for name, taken in runs.items():
            walls[name].append((n, taken["wall_s"]))
            times.append(
                f"| {n:,} | {name} | {taken['wall_s']:.1f} | {n / taken['wall_s']:,.0f} | {taken['wall_s'] / ours:.2f} | "
                f"{taken['memory_mib']:.0f} |"
            )
        for name, pairs in found.items():
            counted = scores(truth, pairs)
            quality.append(f"| {n:,} | {name} | {' | '.join(f'{100 * counted[column]:.1f}' for column in columns)} |")
    peer_words = f" imagededup {version} hashes and compares only; `curate` also decodes to the end, measures quality, and compares the mirror image." if version else ""  # fmt: skip
    lines = [
        f"## {TITLE}",
        "",
        f"`python benchmarks/curation.py --sizes {' '.join(map(str, given.sizes))}` at {commit_of(ROOT / 'results')}, {given.workers} workers. Drawn images of {SIDE} px, "
        f"one in {EVERY} a planted copy.{peer_words} Memory is of the process and its children together.",
        "",
        "| images | step | wall (s) | images/s | to curate | memory (MiB) |",
        "|---|---|---|---|---|---|",
        *times,
        "",
    ]
    if len(given.sizes) > 1:
        grown = ", ".join(f"{name} {slope(points):.2f}" for name, points in walls.items() if len(points) > 1)
        lines += [f"Time grows with size to the power of: {grown}.", ""]
    lines += [
        "Planted pairs found, and pairs found that were planted (precision), in %. Recompressed is JPEG at quality 30, resized is half the side, which is harsh for pictures this small.",
        "",
        f"| images | by | {' | '.join(columns)} |",
        "|---" * (2 + len(columns)) + "|",
        *quality,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, default=2, help="processes, for both sides")
    parser.add_argument("--units", nargs="+", default=["event", "observer"], help="units of the split to time")
    parser.add_argument("--bits", type=int, nargs="+", default=[28, 20], help="near_duplicate_bits; the first is split")
    parser.add_argument("--methods", nargs="+", default=["DHash", "PHash"], help="hashes of imagededup")
    parser.add_argument(
        "--peer-up-to", type=int, default=100_000, help="most images given to imagededup, whose search is quadratic"
    )
    parser.add_argument("--peer-python", default="", help="Python of an environment with imagededup; empty: without it")
    parser.add_argument("--work", type=Path, help="folder that keeps the drawn images for the next run; empty: none")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the section goes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = section(given.work or Path(scratch), given)
    put(given.page, HEAD, TITLE, text)
    print(text)
