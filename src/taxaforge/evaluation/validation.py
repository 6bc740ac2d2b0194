"""What a trained classifier says about the validation images: where a calibration is chosen. Never opens the test."""

from collections.abc import Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.classification.predict import load, predict
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.predictions import rows_of
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.packs import Pack


def predict_repeats(
    *, models: Sequence[str | Path], validation: str | Path, out: Sequence[str | Path], device: str = "cpu"
) -> None:
    """`predict_validation` for every repeat of an arm."""
    for model, path in zip(models, out, strict=True):
        predict_validation(model=model, validation=validation, out=path, device=device)


def predict_validation(*, model: str | Path, validation: str | Path, out: str | Path, device: str = "cpu") -> None:
    """Names every validation image once and writes PREDICTIONS.

    Args:
        model: .safetensors of `classification.train`. validation: the validation pack (.npy).
    Raises: TaxaforgeError where model and pack do not belong together, or the pack is empty or names an image twice.
    """
    classifier, pack = load(model, device), Pack.load(validation)
    if classifier.classes != pack.classes:
        raise TaxaforgeError(
            f"{model} was trained for another species list than {validation} was packed for. Remake the classifier."
        )
    if not len(pack):
        raise TaxaforgeError(f"{validation} holds no images, so nothing can be calibrated. Raise split.validation.")
    if len(set(pack.identifier)) != len(pack):
        raise TaxaforgeError(f"{validation} names an image twice. Remake it: delete it and run again.")
    probability = predict(classifier, pack.pixels)
    tables.write(PREDICTIONS, rows_of(pack, probability), out)
