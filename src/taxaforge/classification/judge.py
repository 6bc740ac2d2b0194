"""The judge: a classifier that sees only the reserve split and names generated images; it decides nothing else."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from taxaforge.classification.predict import load, predict
from taxaforge.classification.trainers import trainer
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

STOPPING, HELD_OUT = 0.15, 0.15  # shares of the groups of each species


def parts(pack: Pack) -> dict[str, np.ndarray]:
    """Indices of `training`, `stopping` and `held_out` images; no observation group lies in two of them.

    Depends on group names alone, so whoever reads the reserve split later finds the same parts. Per
    species the groups are dealt in an order by hash; a species with few groups keeps one for training.
    """
    role: dict[str, str] = {}
    for label in range(len(pack.classes)):
        # A group seen under an earlier species keeps its role.
        mine = {group for group, c in zip(pack.group, pack.label, strict=True) if c == label} - role.keys()
        mine = sorted(mine, key=lambda group: (seed_of("judge", group), group))
        held, stop = max(1, round(HELD_OUT * len(mine))), max(1, round(STOPPING * len(mine)))
        names = (["training"] + ["held_out"] * held + ["stopping"] * stop)[: len(mine)]
        role |= dict(zip(mine, names + ["training"] * (len(mine) - len(names)), strict=True))
    roles = np.array([role[group] for group in pack.group], dtype=object)
    return {name: np.flatnonzero(roles == name) for name in ("training", "stopping", "held_out")}


def train_judge(
    *,
    reserve: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    out_summary: str | Path,
    cache: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Train on the reserve split and measure the judge on reserve images it never saw.

    Args:
        cfg: as `train.train` takes it, and `training`; `epochs` is the judge's own.
        cache: folder of features, which jobs may share, for a judge that is a probe.
        out: model.safetensors. out_summary: judge.json with `accuracy` (macro, on held-out real images),
            `images` (count a part) and `held_out` (identifiers).
    Raises: TaxaforgeError where the reserve split is too small for three disjoint parts.
    """
    pack = Pack.load(reserve)
    roles = parts(pack)
    counts = {name: len(indices) for name, indices in roles.items()}
    if not all(counts.values()):
        raise TaxaforgeError(
            "The reserve split has too few observation groups to train a judge, to stop it and to measure it "
            f"({counts} images). Raise split.reserve."
        )
    with tempfile.TemporaryDirectory() as folder:
        packs = {name: Path(folder) / f"{name}.npy" for name in ("training", "stopping")}
        for name, path in packs.items():
            subset(pack, roles[name]).save(path)
        trainer(cfg, cache or Path(folder, "features"))(
            real=packs["training"],
            validation=packs["stopping"],
            synthetic=[],
            arm="real",
            budget=None,
            cfg=cfg,
            seed=seed_of(seed, "judge"),
            out=out,
            out_history=Path(folder) / "history.jsonl",
            log=log,
            device=device,
            every_s=every_s,
        )
    held = subset(pack, roles["held_out"])
    right = predict(load(out, device), held.pixels).argmax(1) == held.label
    accuracy = float(np.mean([right[held.label == c].mean() for c in np.unique(held.label)]))
    write_json(out_summary, {"accuracy": accuracy, "images": counts, "held_out": held.identifier})
    log(None, {"held_out_accuracy": accuracy})


def subset(pack: Pack, indices: np.ndarray) -> Pack:
    """The images of a pack at the given indices."""
    pick = [int(i) for i in indices]
    columns = {name: [getattr(pack, name)[i] for i in pick] for name in ("identifier", "group", "caption")}
    columns |= {name: getattr(pack, name)[indices] for name in ("pixels", "label", "other", "share")}
    return Pack(classes=pack.classes, **columns)
