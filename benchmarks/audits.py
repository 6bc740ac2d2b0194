"""Which copies of photographs the audits find, at one false alarm in a hundred other photographs of the same species.

    python benchmarks/audits.py --shared ../shared

Forty photographs a species are what a generator has learned from. Copies of them are made (mirrored, cropped to 80 % of
the side, JPEG quality 40, each and all together) and compared with them, and so are sixty other photographs of the
species. Among those are copies in truth, since the collection is from the web: every pair above `--doubtful` is looked
at with another method (SIFT features that one similarity transform explains), and what that confirms is counted and
left out. Writes its section of docs/benchmarks.md.
"""

import argparse
import csv
import os
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from rules import HEAD, PAGE, ROOT, commit_of, put
from taxaforge.collection.pixels import open_rgb, square
from taxaforge.evaluation.alterations import ALTERATIONS, altered
from taxaforge.evaluation.likeness import nearest, planes

TITLE = "Copies that the audits find"
LEARNED, OTHERS = 40, 60
AGREEING = 12
"""Features that must fit one transform for a pair to be a copy."""


def agreeing(a: np.ndarray, b: np.ndarray) -> int:
    """Most SIFT features of two (side, side, 3) pictures, or of one and the other mirrored, that one similarity explains."""
    sift = cv2.SIFT_create(contrastThreshold=0.02)

    def features(image: np.ndarray):
        grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
        return sift.detectAndCompute(cv2.resize(grey, (256, 256)), None)

    (places, theirs), best = features(b), 0
    for picture in (a, a[:, ::-1]):
        points, mine = features(picture)
        if mine is None or theirs is None or min(len(mine), len(theirs)) < 5:
            continue
        pairs = [p for p in cv2.BFMatcher().knnMatch(mine, theirs, 2) if len(p) == 2]
        good = [first for first, second in pairs if first.distance < 0.75 * second.distance]
        if len(good) < 5:
            continue
        start, end = (np.float32([k[i].pt for k, i in zip([kind] * len(good), where, strict=True)]) for kind, where in (
            (points, [m.queryIdx for m in good]), (places, [m.trainIdx for m in good])
        ))  # fmt: skip
        transform, fits = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=4)
        best = best if transform is None else max(best, int(fits.sum()))
    return best


def measure(folder: Path, size: int, species: dict[str, list[str]], doubtful: float) -> dict:
    """Scores of copies by kind and of other photographs, and how many of those are copies in truth."""
    found, null, true = defaultdict(list), [], 0
    began = time.process_time()
    for names in species.values():
        pictures = [open_rgb(folder / name) for name in names[: LEARNED + OTHERS]]
        small = np.stack([np.asarray(square(picture, size)) for picture in pictures])
        known = planes(small[:LEARNED])
        for kind, alteration in ALTERATIONS.items():
            made = altered(small[:LEARNED], names[:LEARNED], 0, alteration)
            result = nearest(planes(made), known)
            found[kind] += np.where(result.which == np.arange(LEARNED), result.score, -1).tolist()
        result = nearest(planes(small[LEARNED:]), known)
        for score, which, picture in zip(result.score, result.which, pictures[LEARNED:], strict=True):
            both = [np.asarray(square(one, 256)) for one in (picture, pictures[which])]
            if score > doubtful and agreeing(*both) >= AGREEING:
                true += 1
            else:
                null.append(score)
    return {"found": found, "null": np.array(null), "true": true, "cpu_s": time.process_time() - began}


def section(folder: Path, sizes: list[int], most: int, doubtful: float) -> str:
    species = defaultdict(list)
    with (folder / "images.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            species[row["scientificName"]].append(row["image"])
    chosen = {name: sorted(species[name], key=lambda image: image[::-1]) for name in sorted(species)[:most]}
    kinds = " | ".join(ALTERATIONS)
    lines = [
        f"| side, px | {kinds} | 1 % of others above | others: median, highest | copies in truth among others | CPU s |",
        "|---" * (len(ALTERATIONS) + 5) + "|",
    ]
    for size in sizes:
        result = measure(folder, size, chosen, doubtful)
        null, limit = result["null"], float(np.quantile(result["null"], 0.99))
        recall = " | ".join(f"{100 * np.mean(np.array(result['found'][kind]) > limit):.1f}" for kind in ALTERATIONS)
        lines.append(
            f"| {size} | {recall} | {limit:.3f} | {np.median(null):.3f}, {null.max():.3f} | "
            f"{result['true']} of {len(null) + result['true']} | {result['cpu_s']:.0f} |"
        )
    text = (
        f"`python benchmarks/audits.py` at {commit_of(ROOT / 'results')}. {len(chosen)} species of butterflies and moths, "
        f"{LEARNED} photographs each as learned from and {OTHERS} others; share of copies, in %, that score above all but 1 % of "
        "the others and are matched to the right photograph. Copies in truth among the others, confirmed by SIFT, are left out."
    )
    return "\n".join([f"## {TITLE}", "", text, "", *lines]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--species", type=int, default=76)
    parser.add_argument("--doubtful", type=float, default=0.8)
    given = parser.parse_args()
    put(PAGE, HEAD, TITLE, section(given.shared / "data/lepidoptera", given.sizes, given.species, given.doubtful))
    print(f"wrote {PAGE.name}: {TITLE}")
