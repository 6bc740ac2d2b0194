"""Score one classifier on the sealed test split. The only module that opens the test pack."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from taxaforge import tables
from taxaforge.classification.predict import load, predict
from taxaforge.classification.repeats import named
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import metrics
from taxaforge.evaluation.predictions import rows_of
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.files import read_json, read_lines, sha256_of, write_json
from taxaforge.packs import Pack


def score(
    *,
    model: str | Path,
    test: str | Path,
    classes: str | Path,
    arm: str,
    seed: int | str,
    out_predictions: str | Path,
    out_metrics: str | Path,
    ledger: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
) -> None:
    """Name every test image once; write the predictions (PREDICTIONS) and the metrics.

    Args:
        ledger: JSON lines {"arm", "seed", "model", "test"} (SHA-256 of the files), appended to at each
            opening that is new; it outlives reruns.
    Raises: TaxaforgeError where model, test pack and class list do not belong together, or where the
        scored ids are not the test ids exactly once.
    """
    species = [record["species"] for record in read_json(classes)]
    classifier, pack = load(model, device), Pack.load(test)
    for what, names in (("The test pack", pack.classes), ("The classifier", classifier.classes)):
        if names != species:
            raise TaxaforgeError(f"{what} was made for another species list than {classes}. Remake it.")
    if not len(pack):
        raise TaxaforgeError(
            "The test split holds no images, so nothing can be scored. Lower split.reserve or collect more."
        )
    if ledger is not None:
        record_opening(ledger, {"arm": arm, "seed": str(seed), "model": sha256_of(model), "test": sha256_of(test)})
    probability = predict(classifier, pack.pixels)
    predicted = probability.argmax(1)
    rows = rows_of(pack, probability)
    assert_scored_once([row["identifier"] for row in rows], pack.identifier)
    values = {
        "macro_top1": metrics.macro_top1(pack.label, predicted),
        "micro_top1": metrics.micro_top1(pack.label, predicted),
        "macro_f1": metrics.macro_f1(pack.label, predicted),
        "nll": metrics.nll(pack.label, probability),
        "ece": metrics.ece(pack.label, probability),
        "images": len(pack),
        "species_without_test_images": len(species) - len(np.unique(pack.label)),
    }
    tables.write(PREDICTIONS, rows, out_predictions)
    write_json(out_metrics, values)
    log(None, values)


def score_repeats(
    *,
    seeds: Sequence[str],
    models: Sequence[str | Path],
    out_predictions: Sequence[str | Path],
    out_metrics: Sequence[str | Path],
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    **what,
) -> None:
    """`score` for every repeat of an arm: a model and two results a seed, whose name ends its metrics' names."""
    for seed, model, predictions, values in zip(seeds, models, out_predictions, out_metrics, strict=True):
        own = named(log, seed)
        score(model=model, seed=seed, out_predictions=predictions, out_metrics=values, log=own, **what)


def assert_scored_once(scored: list[str], test: list[str]) -> None:
    """Raises unless the scored ids are the test ids, each exactly once."""
    if len(set(scored)) != len(scored) or set(scored) != set(test) or len(test) != len(scored):
        raise TaxaforgeError(
            f"{len(scored)} predictions ({len(set(scored))} distinct) for {len(set(test))} test images ({len(test)} "
            "listed): each must be scored exactly once. Remake results/collection/packs/test.npy."
        )


def record_opening(ledger: str | Path, opening: dict[str, str]) -> None:
    """Append an opening of the test split, unless the same arm, seed, model and test pack are on record."""
    ledger = Path(ledger)
    ledger.parent.mkdir(parents=True, exist_ok=True)
    if ledger.is_file() and opening in read_lines(ledger):
        return
    line = (json.dumps(opening, sort_keys=True) + "\n").encode()
    # One write to a file opened for appending: jobs that score at the same time do not mix their lines.
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)
