"""Accuracy of every arm: each seed and their mean, overall, by rank, by tier of training images and by species."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.evaluation import metrics
from taxaforge.evaluation import predictions as reading
from taxaforge.evaluation.schema import ACCURACY
from taxaforge.evaluation.statistics import crossed, wilson
from taxaforge.files import read_json

TIERS = {"many": (21, np.inf), "medium": (5, 20), "few": (0, 4)}
"""Real training images a species, both ends included (Diff-Mix's thresholds for sets of CUB's size)."""

Value = tuple[str, str, float, float | None, float | None, int]  # scope, metric, value, low, high, images


def summarise(
    *,
    predictions: Sequence[tuple[str, int | str, str | Path]],
    classes: str | Path,
    train: str | Path,
    cfg: dict,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
) -> None:
    """Write ACCURACY.

    Args:
        predictions: [arm, classifier, path] triples. train: the .json of the training pack, for the tiers. cfg: alpha.
    """
    records = read_json(classes)
    found = reading.read(predictions, [record["species"] for record in records])
    images = np.bincount(read_json(train)["label"], minlength=len(records))
    rows = []
    for arm in found.arms:
        single = {
            name: list(one_seed(found, arm, name, records, images, cfg["alpha"])) for name in found.classifiers(arm)
        }
        for seed, values in [
            *single.items(),
            ("mean", list(mean_of(found, arm, single, records, images, cfg["alpha"]))),
        ]:
            names = ("scope", "metric", "value", "low", "high", "n")
            rows += [{"arm": arm, "seed": seed} | dict(zip(names, value, strict=True)) for value in values]
    tables.write(ACCURACY, rows, out)
    for row in rows:
        if row["seed"] == "mean" and row["scope"] == "all":
            log(None, {f"{row['metric']}/{row['arm']}": row["value"]})


def tiers(label: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
    """Test images (N,) bool of each tier that has any, by the training images of their species."""
    count = images[label]
    masks = {name: (count >= low) & (count <= high) for name, (low, high) in TIERS.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def one_seed(
    found: reading.Predictions, arm: str, seed: str, records: Sequence[Mapping], images: np.ndarray, alpha: float
) -> Iterator[Value]:
    """Values of one classifier. Only shares of one species carry an interval here; a seed alone has no other."""
    true, probability = found.label, found.probability[arm, seed]
    predicted, n = probability.argmax(1), len(found.label)
    apart = metrics.lca_heights(records)
    heights, each = apart[true, predicted], metrics.by_image(true, probability, apart)
    wrong = heights > 0
    overall = {
        "macro_top1": metrics.macro_top1(true, predicted),
        "micro_top1": metrics.micro_top1(true, predicted),
        "macro_f1": metrics.macro_f1(true, predicted),
        "nll": metrics.nll(true, probability),
        "ece": metrics.ece(true, probability),
        "brier": metrics.brier(true, probability),
        "lca_height": float(heights.mean()),
        "sibling_errors": float((heights == 1).mean()),
        "sibling_mass": float(each["sibling_mass"].mean()),
    }
    if len(records) >= 6:
        overall["top5"] = metrics.top_k(true, probability, 5)
    yield from (("all", name, value, None, None, n) for name, value in overall.items())
    if wrong.any():
        yield "all", "lca_height_of_mistakes", float(heights[wrong].mean()), None, None, int(wrong.sum())
    for rank in metrics.RANKS[-2::-1]:
        if result := metrics.rolled_up(true, probability, records, rank):
            rolled, summed, known = result
            yield rank, "rolled_top1", rolled, None, None, known
            yield rank, "summed_top1", summed, None, None, known
    for tier, mask in tiers(true, images).items():
        yield f"tier:{tier}", "macro_top1", metrics.macro_top1(true[mask], predicted[mask]), None, None, int(mask.sum())
    for c in np.unique(true):
        mine = true == c
        hits, total = int((predicted[mine] == c).sum()), int(mine.sum())
        yield f"species:{records[c]['species']}", "recall", hits / total, *wilson(hits, total, alpha), total


def mean_of(
    found: reading.Predictions,
    arm: str,
    single: Mapping[str, Sequence[Value]],
    records: Sequence[Mapping],
    images: np.ndarray,
    alpha: float,
) -> Iterator[Value]:
    """Means over seeds; macro accuracies and recalls with an interval that counts seeds and test images."""
    correct = found.correct(arm, found.seeds(arm))
    masks = {f"tier:{name}": mask for name, mask in tiers(found.label, images).items()}
    masks |= {f"species:{records[c]['species']}": found.label == c for c in np.unique(found.label)}
    masks |= {"all": np.ones(len(found.label), bool)}
    gathered: dict[tuple[str, str], list[Value]] = {}
    for values in single.values():
        for value in values:
            gathered.setdefault(value[:2], []).append(value)
    for (scope, metric), values in gathered.items():
        mean, n = float(np.mean([value[2] for value in values])), round(np.mean([value[5] for value in values]))
        low = high = None
        if metric in ("macro_top1", "recall"):
            mask = masks[scope]
            estimate = crossed(correct[:, mask], found.label[mask], found.group[mask])
            if estimate.df:
                low, high = (float(v) for v in np.clip(estimate.interval(alpha), 0, 1))
        yield scope, metric, mean, low, high, n
