"""The guide: a classifier that pulls on images while they are drawn. It never judges them.

It sees the training split alone; the judge, which names the images afterwards, sees the reserve split alone.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from taxaforge.classification.predict import load, predict
from taxaforge.classification.trainers import trainer
from taxaforge.files import write_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of


def train_guide(
    *,
    train: str | Path,
    validation: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    out_summary: str | Path,
    cache: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Train on the training split, take the step that validation likes best, and say which species it confuses.

    Args:
        train, validation: packs (.npy) of real images.
        cfg: as `train.train` takes it, and `training`; `epochs` is the guide's own.
        cache: folder of features, which jobs may share, for a guide that is a probe.
        out: model.safetensors. out_summary: validation.json with `accuracy` (macro, of the species that have
            validation images; the same images chose the step) and `species`: name -> `images`, and of these `wrong`.
    Raises: TaxaforgeError for an empty pack, or packs of other species.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer(cfg, cache or Path(folder, "features"))(
            real=train,
            validation=validation,
            synthetic=[],
            arm="real",
            budget=None,
            cfg=cfg,
            seed=seed_of(seed, "guide"),
            out=out,
            out_history=Path(folder) / "history.jsonl",
            log=log,
            device=device,
            every_s=every_s,
        )
    pack = Pack.load(validation)
    wrong = predict(load(out, device), pack.pixels).argmax(1) != pack.label
    images = np.bincount(pack.label, minlength=len(pack.classes))
    missed = np.bincount(pack.label[wrong], minlength=len(pack.classes))
    seen = images > 0
    accuracy = float(1 - (missed[seen] / images[seen]).mean())
    species = {
        name: {"images": int(n), "wrong": int(k)} for name, n, k in zip(pack.classes, images, missed, strict=True)
    }
    write_json(out_summary, {"accuracy": accuracy, "species": species})
    log(None, {"validation_accuracy": accuracy})
