"""How good each method's images are, in the eyes of the judge, beside what real images reach.

    recognised            share whose species the judge names
    fd, kid               distance between generated and real images, 0 is best
    precision, density    are generated images where real ones are?
    recall, coverage      are they wherever real ones are?
    vendi                 effective number of different images a species, mean over species
    nearest_train         mean similarity to the most similar training image of the species; above the
                          real value hints at copies

None of them decides a verdict. All real images used here are unseen by the judge; every distance is
computed as often as `floor_splits` says, on halves of the real images that share no observation group,
with the same number of images on both sides, and its floor is the distance between those halves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.classification.judge import parts, subset
from taxaforge.classification.model import Classifier
from taxaforge.classification.predict import features, load, predict
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.image_metrics import frechet_distance, kid, nearest_similarity, prdc, vendi
from taxaforge.evaluation.schema import IMAGES
from taxaforge.evaluation.statistics import wilson
from taxaforge.files import read_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

SETS = ("fd", "kid", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Seen:
    """What the judge makes of some images. feature: (N, d). right: (N,) is the species named? label, group: (N,)."""

    feature: np.ndarray
    right: np.ndarray
    label: np.ndarray
    group: np.ndarray

    def where(self, mask: np.ndarray) -> "Seen":
        return Seen(self.feature[mask], self.right[mask], self.label[mask], self.group[mask])


def measure(
    *,
    judge: str | Path,
    kept: Mapping[str, str | Path],
    train: str | Path,
    reserve: str | Path,
    validation: str | Path,
    classes: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
) -> None:
    """Write IMAGES: a row a method, scope and metric, and rows of method "real" for held-out real images.

    Args:
        kept: method -> pack of its kept images. reserve: only the part that the judge never saw is used.
        cfg: neighbours, floor_splits. seed: of the splits.
    """
    species = [record["species"] for record in read_json(classes)]
    model, reserved = load(judge, device), Pack.load(reserve)
    if model.classes != species:
        raise TaxaforgeError(
            f"The judge {judge} was trained for another species list than {classes}. Delete it and run again."
        )
    training = see(model, Pack.load(train))
    held_out = _joined(see(model, Pack.load(validation)), see(model, subset(reserved, parts(reserved)["held_out"])))
    rows = []
    for method, path in [("real", None), *kept.items()]:
        images = None if path is None else see(model, Pack.load(path))
        rows += [{"method": method} | row for row in measure_method(images, training, held_out, species, cfg, seed)]
    tables.write(IMAGES, rows, out)
    for row in rows:
        if row["scope"] == "all" and row["value"] is not None:
            log(None, {f"{row['metric']}/{row['method']}": row["value"]})


def see(model: Classifier, pack: Pack) -> Seen:
    """The judge's features and answers for a pack. Raises TaxaforgeError where the pack has other classes."""
    if pack.classes != model.classes:
        raise TaxaforgeError(
            "A pack lists other species than the judge knows. Delete results/evaluation/judge and run again."
        )
    right = predict(model, pack.pixels).argmax(1) == pack.label
    return Seen(features(model, pack.pixels), right, pack.label, np.array(pack.group, dtype=object))


def _joined(*parts: Seen) -> Seen:
    return Seen(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("feature", "right", "label", "group"))
    )


def measure_method(
    images: Seen | None, training: Seen, held_out: Seen, species: list[str], cfg: dict, seed: int
) -> list[dict]:
    """Rows of one method without its name; `images` None measures real images against themselves."""
    shown = held_out if images is None else images
    real, rows = _joined(training, held_out), []
    splits = [halves(real, seed_of(seed, "floor", i)) for i in range(cfg["floor_splits"])]
    rows += distances(images, real, splits, cfg["neighbours"], seed)
    diversity = []
    for c, scope in [(None, "all"), *enumerate(species)]:
        mine, reference = (s if c is None else s.where(s.label == c) for s in (shown, held_out))
        n = len(mine.label)
        rows.append(_row(scope, "recognised", _share(mine.right), _share(reference.right), n))
        near, null = nearest(mine, training), nearest(reference, training)
        rows.append(_row(scope, "nearest_train", _mean(near), _mean(null), n))
        if c is not None:
            diversity.append(_vendi(scope, mine.feature, real.feature[real.label == c], len(splits), seed))
    rows += diversity
    assessed = [row for row in diversity if row["value"] is not None]
    columns = ("value", "low", "high", "floor", "floor_low", "floor_high")
    means = {name: float(np.mean([row[name] for row in assessed])) if assessed else None for name in columns}
    return [*rows, {"scope": "all", "metric": "vendi", **means, "n": sum(row["n"] for row in diversity)}]


def halves(real: Seen, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint real sets: whole groups, dealt alternately within a species."""
    rng, side = np.random.default_rng(seed), {}
    for c in np.unique(real.label):
        mine = sorted(set(real.group[real.label == c]) - side.keys())
        first = int(rng.integers(2))
        for i, group in enumerate(rng.permutation(np.array(mine, dtype=object))):
            side[group] = (first + i) % 2
    sides = np.array([side[group] for group in real.group])
    return rng.permutation(np.flatnonzero(sides == 0)), rng.permutation(np.flatnonzero(sides == 1))


def distances(images: Seen | None, real: Seen, splits: list, k: int, seed: int) -> list[dict]:
    """Rows of the set metrics, scope all: mean and 95 % range over the splits; empty under 2 k + 2 images a side."""
    n = min(min(len(a), len(b)) for a, b in splits)
    n = n if images is None else min(n, len(images.label))
    if n < 2 * k + 2:
        return [_row("all", metric, (None,) * 3, (None,) * 3, n) for metric in SETS]
    value, floor = [], []
    for i, (a, b) in enumerate(splits):
        first, second = real.feature[a[:n]], real.feature[b[:n]]
        floor.append(_set_metrics(first, second, k))
        if images is not None:
            pick = np.random.default_rng(seed_of(seed, "images", i)).permutation(len(images.label))[:n]
            value.append(_set_metrics(first, images.feature[pick], k))
    return [
        _row("all", metric, _range([v[metric] for v in value or floor]), _range([v[metric] for v in floor]), n)
        for metric in SETS
    ]


def _set_metrics(real: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    return {"fd": frechet_distance(real, other), "kid": kid(real, other), **prdc(real, other, k)}


def nearest(images: Seen, training: Seen) -> np.ndarray:
    """Similarity of each image to the most similar training image of its species; species without any are left out."""
    found = [
        nearest_similarity(images.feature[images.label == c], training.feature[training.label == c])
        for c in np.unique(images.label)
        if (training.label == c).any()
    ]
    return np.concatenate(found) if found else np.empty(0)


def _vendi(scope: str, images: np.ndarray, real: np.ndarray, times: int, seed: int) -> dict:
    """Equal numbers of images and of real images of one species, drawn as often as there are splits."""
    n = min(len(images), len(real))
    if n < 2:
        return _row(scope, "vendi", (None,) * 3, (None,) * 3, n)
    value, floor = [], []
    for i in range(times):
        rng = np.random.default_rng(seed_of(seed, "vendi", scope, i))
        value.append(vendi(images[rng.permutation(len(images))[:n]]))
        floor.append(vendi(real[rng.permutation(len(real))[:n]]))
    return _row(scope, "vendi", _range(value), _range(floor), n)


Interval = tuple[float | None, float | None, float | None]


def _range(values: list[float]) -> Interval:
    return (float(np.mean(values)), *(float(v) for v in np.percentile(values, [2.5, 97.5])))


def _share(right: np.ndarray) -> Interval:
    return (float(right.mean()), *wilson(int(right.sum()), len(right))) if len(right) else (None, None, None)


def _mean(values: np.ndarray) -> Interval:
    if len(values) < 2:
        return None, None, None
    mean, half = float(values.mean()), 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def _row(scope: str, metric: str, value: Interval, floor: Interval, n: int) -> dict:
    named = dict(zip(("value", "low", "high", "floor", "floor_low", "floor_high"), (*value, *floor), strict=True))
    return {"scope": scope, "metric": metric, **named, "n": n}
