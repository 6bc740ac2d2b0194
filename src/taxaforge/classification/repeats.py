"""All repeats of one arm in one job: importing torch and timm takes as long as training a small classifier."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge.classification.trainers import trainer
from taxaforge.files import atomic, read_json
from taxaforge.seeds import seed_of

Log = Callable[[int | None, dict[str, float]], None]


def train_repeats(
    *,
    seeds: Sequence[str],
    cfg: dict,
    out: Sequence[str | Path],
    out_history: Sequence[str | Path],
    state_dir: str | Path,
    cache: str | Path,
    allocation: str | Path | None = None,
    classes: str | Path | None = None,
    log: Log = lambda step, values: None,
    **what,
) -> None:
    """Make a classifier a seed, as `classification.training` says; a repeat that is finished is kept for good.

    Args:
        seeds: names of the repeats; with `run_seed` in cfg they pair repeats of one name across arms.
        cfg: of the training, and `training`, `run_seed`.
        out, out_history: a path a seed.
        state_dir: keeps finished repeats, so that a killed job goes on with the next one, and a job that is
            asked for more seeds trains only these. It must belong to these very settings and inputs.
        cache: folder of features of frozen backbones, which jobs share. classes: classes.json, for `zero_shot`.
        allocation: allocation.json, {species: synthetic images asked for}; None for arm `real`, which needs none.
        log: metrics; the seed is part of a metric's name.
        what: everything else that `train.train` takes.
    """
    budget = read_json(allocation) if allocation else None
    make = _named_by_sentences(classes) if cfg["training"] == "zero_shot" else trainer(cfg, cache)
    for seed, model, history in zip(seeds, out, out_history, strict=True):
        done = {"model.safetensors": model, "history.jsonl": history}  # written in this order
        home = Path(state_dir) / f"seed{seed}"
        if not all((home / name).is_file() for name in done):
            make(
                **what,
                cfg=cfg,
                budget=budget,
                seed=seed_of(cfg["run_seed"], "classifier", seed),
                out=home / "model.safetensors",
                out_history=home / "history.jsonl",
                log=named(log, seed),
            )
        for name, path in done.items():
            _publish(home / name, path)


def _named_by_sentences(classes: str | Path) -> Callable[..., None]:
    """The image-text model as it is: neither images nor seeds train it."""
    from taxaforge.classification.prompts import zero_shot

    taken = ("validation", "cfg", "out", "out_history", "log", "device")
    return lambda **what: zero_shot(classes=classes, **{name: what[name] for name in taken if name in what})


def named(log: Log, seed: str) -> Log:
    """A log that gives every metric the name of its repeat."""

    def log_seed(step: int | None, values: Mapping[str, float]) -> None:
        log(step, {f"{name}/seed{seed}": value for name, value in values.items()})

    return log_seed


def _publish(kept: Path, path: str | Path) -> None:
    """The same bytes at `path`, without a second copy where the disk knows links."""
    with atomic(path) as temporary:
        try:
            os.link(kept, temporary)
        except OSError:
            shutil.copyfile(kept, temporary)
