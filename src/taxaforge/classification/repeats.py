"""All repeats of one arm in one job: importing torch and timm takes as long as training a small classifier."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from taxaforge.classification.train import train
from taxaforge.files import atomic
from taxaforge.seeds import seed_of

Log = Callable[[int | None, dict[str, float]], None]


def train_repeats(
    *,
    seeds: Sequence[str],
    cfg: dict,
    out: Sequence[str | Path],
    out_history: Sequence[str | Path],
    state_dir: str | Path,
    log: Log = lambda step, values: None,
    **what,
) -> None:
    """Train a classifier a seed with `train`; a repeat that is finished is kept for good.

    Args:
        seeds: names of the repeats; with `run_seed` in cfg they pair repeats of one name across arms.
        cfg: of `train`, and `run_seed`.
        out, out_history: a path a seed.
        state_dir: keeps finished repeats, so that a killed job goes on with the next one, and a job that is
            asked for more seeds trains only these. It must belong to these very settings and inputs.
        log: metrics; the seed is part of a metric's name.
        what: everything else that `train` takes.
    """
    for seed, model, history in zip(seeds, out, out_history, strict=True):
        done = {"model.safetensors": model, "history.jsonl": history}  # written in this order
        home = Path(state_dir) / f"seed{seed}"
        if not all((home / name).is_file() for name in done):
            train(
                **what,
                cfg=cfg,
                seed=seed_of(cfg["run_seed"], "classifier", seed),
                out=home / "model.safetensors",
                out_history=home / "history.jsonl",
                log=named(log, seed),
            )
        for name, path in done.items():
            _publish(home / name, path)


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
