"""From the run's tables to the folder of figures."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.collection.schema import SPLITS
from taxaforge.evaluation.schema import ACCURACY, COMPARISONS, COST, IMAGES, PREDICTIONS
from taxaforge.evaluation.zero_shot import ZERO_SHOT, ZERO_SHOT_CURVE
from taxaforge.files import atomic, read_json, read_lines
from taxaforge.packs import Pack
from taxaforge.report import collection_figures, result_figures, training_figures
from taxaforge.report.style import Drawing, quiet, save
from taxaforge.report.zero_shot_figure import unseen_seen

Paths = str | Path | None

TITLES = {
    "tree": "Species and their tree",
    "splits": "Images in each split",
    "curves": "Training of the generator",
    "growth": "How the pictures grew",
    "samples": "Generated images beside real ones",
    "images": "Image metrics",
    "accuracy": "Accuracy of the classifiers",
    "differences": "Paired differences",
    "zero_shot": "Species without training images",
    "confusion": "Confusion between species",
    "species": "Effect on each species",
    "cost": "Cost",
}
"""Every figure by its file name, in the order of the page."""


def draw(
    *,
    classes: str | Path,
    out: str | Path,
    splits: Paths = None,
    metadata: Paths = None,
    taxa: Paths = None,
    train: Paths = None,
    histories: Mapping[str, str | Path] | None = None,
    kept: Mapping[str, str | Path] | None = None,
    images: Paths = None,
    accuracy: Paths = None,
    comparisons: Paths = None,
    verdict: Paths = None,
    cost: Paths = None,
    zero_shot: Paths = None,
    zero_shot_curve: Paths = None,
    predictions: Sequence[Sequence] = (),
    cfg: Mapping | None = None,
) -> None:
    """Writes every figure that its inputs allow, and `figures.json`: what was drawn, what was not and why.

    Args:
        classes: classes.json; its order is the order of every axis of species.
        out: folder, replaced as a whole.
        splits, train, images, accuracy, comparisons, cost, zero_shot, zero_shot_curve: tables and pack of the run;
            None or a file that is not there leaves the figure out.
        histories: stage -> history.jsonl in the stage's folder, whose sample grids samples/step-*.png are shown, too.
            kept: method -> pack of kept images.
        predictions: [arm, seed, predictions.parquet] each.
        cfg: delta_points, the margin of the forest plot.
        metadata, taxa, verdict: part of the job's inputs, drawn by the page itself.
    Raises: BrokenContract where a table is not what its schema says.
    """
    records = read_json(classes)
    species = [record["species"] for record in records]
    delta = (cfg or {}).get("delta_points", 1.0)
    compared = _rows(COMPARISONS, comparisons)
    measured = _rows(ACCURACY, accuracy)
    arms = list(dict.fromkeys(row["arm"] for row in measured))
    trained = {stage: Path(path) for stage, path in (histories or {}).items() if Path(path).exists()}
    lines = {stage: read_lines(path) for stage, path in trained.items()}
    grids = {stage: sorted(path.parent.glob("samples/step-*.png")) for stage, path in trained.items()}
    packs = {method: Pack.load(path) for method, path in (kept or {}).items() if Path(path).exists()}
    families = [record.get("family") for record in records]
    makers: dict[str, Callable[[], Drawing | None]] = {
        "tree": lambda: collection_figures.tree(records),
        "splits": lambda: collection_figures.splits(_rows(SPLITS, splits), species),
        "curves": lambda: training_figures.curves(lines),
        "growth": lambda: training_figures.growth(grids, species),
        "samples": lambda: collection_figures.samples(Pack.load(train), packs, species) if _there(train) else None,
        "images": lambda: result_figures.image_metrics(_rows(IMAGES, images)),
        "accuracy": lambda: result_figures.accuracy(measured, arms),
        "differences": lambda: result_figures.differences(compared, delta),
        "zero_shot": lambda: unseen_seen(_rows(ZERO_SHOT, zero_shot), _rows(ZERO_SHOT_CURVE, zero_shot_curve), arms),
        "confusion": lambda: result_figures.confusion(_matrices(_of_interest(predictions), species), species, families),
        "species": lambda: result_figures.species_effect(compared, species, _fairest(compared), delta),
        "cost": lambda: result_figures.cost(_rows(COST, cost)),
    }
    if zero_shot is None:  # most protocols leave no species without images, and need no word about it
        del makers["zero_shot"]
    with atomic(out) as folder:
        folder.mkdir(parents=True)
        drawn, missing = [], []
        for name, make in makers.items():
            with quiet():
                drawing = make()
            if drawing is None:
                missing.append({"name": name, "title": TITLES[name], "reason": "this run has nothing to show for it"})
                continue
            file = save(drawing, folder, name)
            words = {"title": TITLES[name], "alt": drawing.alt, "caption": drawing.caption}
            drawn.append({"name": name, "file": file.name, **words})
        index = json.dumps({"figures": drawn, "missing": missing}, indent=1, ensure_ascii=False)
        (folder / "figures.json").write_text(index + "\n", "utf-8")


def _there(path: Paths) -> bool:
    return path is not None and Path(path).exists()


def _rows(schema: tables.Schema, path: Paths) -> list[dict]:
    return tables.read(schema, path) if _there(path) else []


def _fairest(compared: Sequence[Mapping]) -> str:
    """The control of the species figure: equal steps where it ran, else the first."""
    controls = list(dict.fromkeys(row["control"] for row in compared))
    return "real-equal-steps" if "real-equal-steps" in controls else next(iter(controls), "")


def _of_interest(predictions: Sequence[Sequence]) -> list[Sequence]:
    """Of many arms those whose confusion is looked at: real images, and real images with each method's."""
    plain = "real-equal-steps" if any(arm == "real-equal-steps" for arm, *_ in predictions) else "real"
    return [row for row in predictions if row[0] == plain or row[0].startswith("real+")] or list(predictions)


def _matrices(predictions: Sequence[Sequence], species: Sequence[str]) -> dict[str, np.ndarray]:
    """arm -> (C, C) share of each true species' images by the name given, mean over seeds; NaN without images."""
    index = {name: i for i, name in enumerate(species)}
    counts: dict[str, np.ndarray] = {}
    for arm, _seed, path in predictions:
        if not _there(path):
            continue
        matrix = counts.setdefault(arm, np.zeros((len(species), len(species))))
        for row in tables.read(PREDICTIONS, path):
            matrix[index[row["true"]], index[row["predicted"]]] += 1
    with np.errstate(invalid="ignore"):
        return {arm: matrix / matrix.sum(1, keepdims=True) for arm, matrix in counts.items()}
