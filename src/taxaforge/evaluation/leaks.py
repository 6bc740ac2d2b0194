"""Are images of one split in another, or synthetic images in a split that nothing may learn from?

Of the test split the pixels alone are read, never its labels: an image of it is named by its place. Identical pixels,
copies (mirrored, cropped, compressed) and ties that the split forbids are looked for. What counts as a copy is learned
from training images: as alike as copies made on purpose, and more than training images of other groups are by chance.
Rules and reasons: docs/audits.md.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.schema import LEAKAGE
from taxaforge.evaluation.alterations import ALTERATIONS, altered
from taxaforge.evaluation.audit_schema import LEAKED, LEAKS
from taxaforge.evaluation.chance import bound, z_of
from taxaforge.evaluation.likeness import nearest, planes
from taxaforge.evaluation.memorisation import FAILED, OPEN, PASSED, SEEN
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of

CONTROLS, NULL = 60, 1000
"""Training images that are copied on purpose in each way, and training images whose likeness to others is the null."""


@dataclass(frozen=True)
class Shown:
    """Images of a split or method.

    name: (n,) identifiers, or places. group: (n,) observation groups, "" where unknown. label: (n,), None where it is
    not to be read.
    """

    pixels: np.ndarray
    planes: np.ndarray
    name: Sequence[str]
    group: Sequence[str]
    label: np.ndarray | None

    def digests(self) -> list[str]:
        return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in self.pixels]


@dataclass(frozen=True)
class Limit:
    """From which likeness on two images count as copies.

    middle: (classes,) median z of honest training images whose most similar one is of that class. above: z beyond it
    that chance allows. least: z of the least copy that counts. found: share of copies made on purpose that are found;
    kinds: the same of each kind of them, {alteration: 0..1}.
    """

    middle: np.ndarray
    above: float
    least: float
    found: float
    kinds: Mapping[str, float]

    def z(self, label: np.ndarray) -> np.ndarray:
        return np.maximum(self.middle[label] + self.above, self.least)

    @property
    def told(self) -> str:
        """`kinds` in words."""
        return ", ".join(f"{kind} {share:.0%}" for kind, share in self.kinds.items())

    @property
    def score(self) -> float:
        """The limit of a species in the middle."""
        return float(np.tanh(np.median(self.z(np.arange(len(self.middle))))))


def audit_leaks(
    *,
    train: str | Path,
    validation: str | Path,
    reserve: str | Path,
    test: str | Path,
    kept: Mapping[str, str | Path],
    leakage: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    out_pairs: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write LEAKS, a row for every pair of splits and of method and split, and LEAKED, every pair of images found.

    Args:
        train, validation, reserve: packs. test: the .npy of the test pack alone. kept: method -> pack of kept images.
        leakage: the splitter's own table of ties. cfg: leaked (share of copies that is let pass), false_alarms.
        seed: of copies made on purpose.
    """
    splits = {name: _pack(path) for name, path in (("train", train), ("validation", validation))}
    splits |= {"test": _pixels(test), "reserve": _pack(reserve)}
    ties = _ties(tables.read(LEAKAGE, leakage))
    asked = [*((b, a) for a, b in combinations(splits, 2)), *((m, s) for m in kept for s in splits)]
    images = {**splits, **{method: _pack(path) for method, path in kept.items()}}
    trials = sum(len(shown.name) for shown in images.values())
    limit = limit_of(splits["train"], len(Pack.load(train).classes), trials, cfg["false_alarms"], seed)
    rows, pairs = [], []
    progress = Progress("looking for leaks", len(asked), "pairs of sets")
    for number, (first, second) in enumerate(asked, 1):
        real = first in splits
        own, row = compare(images[first], images[second], limit, search=real or second != "train", back=real)
        row |= {"first": first, "second": second, "ties": ties.get(frozenset((first, second)), 0)}
        if real:
            row["ties"] = max(row["ties"], _shared_groups(images[first], images[second]))
        rows.append(row | verdict_of(row, real, second, cfg["leaked"]))
        pairs += [{"first": first, "second": second} | pair for pair in own]
        progress(number)
    tables.write(LEAKS, rows, out)
    tables.write(LEAKED, pairs, out_pairs)
    log(None, {"leaking_pairs": sum(row["outcome"] == FAILED for row in rows)})


def limit_of(train: Shown, classes: int, trials: int, false_alarms: float, seed: int) -> Limit | None:
    """Likeness from which on two images count as copies; training images of other groups are the null. None without any."""
    number = {group: i for i, group in enumerate(dict.fromkeys(train.group))}
    group = np.array([number[name] for name in train.group], dtype=int)
    order = sorted(range(len(train.name)), key=lambda i: seed_of(seed, "leaks", train.name[i]))
    some = order[:NULL]
    null = nearest(train.planes[some], train.planes, (group[some], group))
    known = null.which >= 0
    if not known.any():
        return None
    z, label = z_of(null.score[known]), train.label[null.which[known]]
    middle = np.array([np.median(z[label == c]) if (label == c).any() else np.median(z) for c in range(classes)])
    above = bound(z - middle[label], trials, false_alarms)
    scores, labels, kinds = [], [], []
    for k, (kind, alteration) in enumerate(ALTERATIONS.items()):
        mine = order[: CONTROLS * len(ALTERATIONS)][k :: len(ALTERATIONS)]
        made = altered(train.pixels[mine], [train.name[i] for i in mine], seed, alteration)
        scores.append(nearest(planes(made), train.planes).score)
        labels.append(train.label[mine])
        kinds += [kind] * len(mine)
    control, theirs = z_of(np.concatenate(scores)), np.concatenate(labels)
    limit = Limit(middle, above, float(np.quantile(control, 0.05)), 0.0, {})
    found, kinds = control >= limit.z(theirs), np.array(kinds)
    return replace(
        limit,
        found=float(found.mean()),
        kinds={kind: float(found[kinds == kind].mean()) for kind in dict.fromkeys(kinds)},
    )


def compare(first: Shown, second: Shown, limit: Limit | None, search: bool, back: bool) -> tuple[list[dict], dict]:
    """Pairs of images (rows of LEAKED) and counts (a row of LEAKS), both without the names of the sets.

    Args: search: False looks for identical pixels only. back: also whether images of `second` are crops of `first`.
    """
    known = defaultdict(list)
    for j, digest in enumerate(second.digests()):
        known[digest].append(j)
    same = {(i, j) for i, digest in enumerate(first.digests()) for j in known.get(digest, ())}
    score, median = dict.fromkeys(same, 1.0), None
    search = search and bool(len(first.name) and len(second.name))
    if search:
        there = nearest(first.planes, second.planes)
        median = float(np.median(there.score))
        tried = [(i, int(j), s) for i, (j, s) in enumerate(zip(there.which, there.score, strict=True))]
        if back:
            again = nearest(second.planes, first.planes)
            tried += [(int(i), j, s) for j, (i, s) in enumerate(zip(again.which, again.score, strict=True))]
        for i, j, value in tried:
            score[i, j] = max(float(value), score.get((i, j), -1.0))
    worst = max(sorted(score), key=score.get, default=None)
    copies = same | ({pair for pair in score if _is_copy(pair, score[pair], first, second, limit)} if limit else set())
    pairs = [
        {
            "image_first": first.name[i],
            "image_second": second.name[j],
            "likeness": score[i, j],
            "identical": (i, j) in same,
        }
        for i, j in sorted(copies)
    ]
    return pairs, {
        "images": len(first.name),
        "identical": len({i for i, _ in same}),
        "copies": len({i for i, _ in copies}),
        "likeness": score[worst] if worst else None,
        "worst_first": first.name[worst[0]] if worst else None,
        "worst_second": second.name[worst[1]] if worst else None,
        "likeness_median": median,
        "limit": limit.score if search and limit else None,
        "found": limit.found if search and limit else None,
        "found_kinds": limit.told if search and limit else "",
    }


def _is_copy(pair: tuple[int, int], score: float, first: Shown, second: Shown, limit: Limit) -> bool:
    """By the limit of the species that is known of one of the two; copies are of one species or wrongly named."""
    label = first.label[pair[0]] if first.label is not None else second.label[pair[1]]
    return bool(z_of(score) >= limit.z(label))


def verdict_of(row: Mapping, real: bool, second: str, most: float) -> dict:
    """Outcome and reason of a row. A synthetic image may be like a training image: the copies audit judges that."""
    if not row["images"]:
        return {"outcome": FAILED, "reason": f"{row['first']} holds no images, so nothing was compared"}
    if real or second != "train":
        if row["likeness_median"] is None:
            return {"outcome": FAILED, "reason": f"{second} holds no images, so nothing was compared"}
        counts = {
            f"{row['identical']} of {row['images']} images are in {second} pixel by pixel": row["identical"],
            f"{row['copies']} of {row['images']} images have a copy in {second}": row["copies"] > most * row["images"],
            f"{row['ties']} occurrences or events are in both": row["ties"],
        }
        told = [words for words, failed in counts.items() if failed]
        if told:
            return {"outcome": FAILED, "reason": "; ".join(told)}
        if row["found"] is None or row["found"] < SEEN:
            told = f" (of copies made on purpose are seen: {row['found_kinds']})" if row["found_kinds"] else ""
            return {"outcome": OPEN, "reason": f"copies cannot be told from other images{told}; no two are identical"}
        return {"outcome": PASSED, "reason": f"{row['copies']} of {row['images']} images have a copy in {second}"}
    counted = f"{row['identical']} of {row['images']} images are in {second} pixel by pixel"
    return {"outcome": PASSED, "reason": f"{counted}; copies: see memorisation.csv"}


def _pack(path: str | Path) -> Shown:
    pack = Pack.load(path)
    return Shown(pack.pixels, planes(pack.pixels), pack.identifier, pack.group, pack.label)


def _pixels(path: str | Path) -> Shown:
    """Images whose names and labels are not to be read."""
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return Shown(pixels, planes(pixels), [f"{i}" for i in range(len(pixels))], [""] * len(pixels), None)


def _ties(rows: Sequence[Mapping]) -> dict[frozenset, int]:
    """Ties that the split forbids, by the two splits that they join."""
    found: dict[frozenset, int] = defaultdict(int)
    for row in rows:
        if row["forbidden"]:
            found[frozenset((row["split_a"], row["split_b"]))] += row["ties"]
    return found


def _shared_groups(a: Shown, b: Shown) -> int:
    return len((set(a.group) & set(b.group)) - {""})
