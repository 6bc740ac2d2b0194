"""Score one classifier on the sealed test split. The only module that opens the test pack."""

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
from taxaforge.evaluation.seal import record_opening
from taxaforge.files import read_json, sha256_of, write_json
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
        ledger: as of `seal.record_opening`.
        log: receives the metrics, and `openings`: how many classifiers were scored under this name on this test set.
    Raises: TaxaforgeError where model, test pack and class list do not belong together, or where the
        scored ids are not the test ids exactly once.
    """
    species = [record["species"] for record in read_json(classes)]
    classifier, pack = load(model, device), Pack.load(test, opened_by="score_classifier")
    for what, names in (("The test pack", pack.classes), ("The classifier", classifier.classes)):
        if names != species:
            raise TaxaforgeError(f"{what} was made for another species list than {classes}. Remake it.")
    if not len(pack):
        raise TaxaforgeError(
            "The test split holds no images, so nothing can be scored. Lower split.reserve or collect more."
        )
    openings = 1
    if ledger is not None:
        opening = {"arm": arm, "seed": str(seed), "model": sha256_of(model), "test": sha256_of(test)}
        openings = record_opening(ledger, opening)
        if openings > 1:
            print(
                f"Warning: {arm}, seed {seed}: classifier number {openings} to be scored on this test set; see {ledger}"
            )
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
    log(None, values | {"openings": openings})


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
