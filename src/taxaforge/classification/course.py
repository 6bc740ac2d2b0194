"""The course of one training: what an arm and a trial mean, image by image and step by step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from taxaforge.classification import data, objective, sampling
from taxaforge.classification.arms import Arm
from taxaforge.classification.tuning import Trial
from taxaforge.errors import TaxaforgeError
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of


@dataclass(frozen=True)
class Course:
    """sequence: (steps, batch) indices into the pool. augmentation: none, standard or strong.

    parts: steps of each part, which has a warm-up and a decay of its own; they add up to all steps. rate: factor of the
    learning rate. weight: of synthetic images in the loss. offset: (C,) added to the logits in training, None for nothing.
    """

    sequence: np.ndarray
    augmentation: str
    parts: tuple[int, ...]
    rate: float = 1.0
    weight: float = 1.0
    offset: Tensor | None = None

    def place(self, step: int) -> tuple[int, int]:
        """A step, counted from 1, as (step within its part, steps of the part)."""
        for part in self.parts:
            if step <= part:
                return step, part
            step -= part
        raise ValueError(f"step beyond the course's {sum(self.parts)}")

    def weights(self, indices: np.ndarray, n_real: int) -> Tensor | None:
        """Loss weights (B,) of the images of a step; None where all weigh the same."""
        if self.weight == 1:
            return None
        return torch.where(torch.from_numpy(indices) < n_real, 1.0, self.weight)


def pool_of(arm: Arm, real: str | Path, synthetic: Sequence[str | Path], seed: int) -> data.Pool:
    """The images of an arm, the real ones first.

    Args:
        real, synthetic: packs (.npy). seed: of the training; that labels are shuffled by.
    Raises: TaxaforgeError where there are none of a kind that the arm takes, or some of one that it does not.
    """
    packs = [Pack.load(real), *map(Pack.load, synthetic)]
    if arm.kind == "label-shuffled":
        packs[1:] = [sampling.shuffled(pack, seed_of(seed, number)) for number, pack in enumerate(packs[1:])]
    pool = data.Pool(packs)
    if arm.method and len(pool) == pool.n_real:
        raise TaxaforgeError(
            f"Arm {arm.name!r} got no synthetic image. Did the filter drop all? Loosen section filter, or remove the arm."
        )
    if not arm.method and len(pool) > pool.n_real:
        raise TaxaforgeError(f"Arm {arm.name!r} takes no synthetic images but got some. Correct its inputs.")
    return pool


def plan(
    arm: Arm, trial: Trial, pool: data.Pool, steps: int, budget: Mapping[str, int] | None, cfg: Mapping, seed: int
) -> Course:
    """The course of an arm under a trial.

    Args:
        pool: the real pack first, then the arm's synthetic ones.
        budget: species -> synthetic images asked for; only `real` needs none.
        cfg: `batch_size` and `augmentation` of the section `classification`.
        seed: of the order; courses of one seed that use all real images meet them in one order.
    Raises: TaxaforgeError for the arm `synthetic+<method>` where a species has real images and no synthetic one.
    """
    length, n_real = steps * cfg["batch_size"], pool.n_real
    real, synthetic = pool.label[:n_real], pool.label[n_real:]
    seed, parts, weight = seed_of(seed, "order"), (steps,), 1.0
    if arm.kind == "synthetic":
        if missing := sampling.lacking(real, synthetic, pool.classes):
            raise TaxaforgeError(
                f"Arm {arm.name!r} has no synthetic image of {_listed(missing)}, so it could never name that species. "
                "Loosen section filter, raise guidance.images_per_species, or remove the arm."
            )
        sequence = sampling.only_synthetic(n_real, len(synthetic), length, seed)
    elif arm.kind == "balanced":
        sequence = sampling.balanced(real, length, seed)
    elif arm.kind == "real-duplicated":
        asked = np.array([budget[name] for name in pool.classes])
        sequence = sampling.duplicated(real, asked, length, seed)
    elif trial.policy == "replace":
        sequence, unreplaced = sampling.replaced(real, synthetic, trial.number, length, seed)
        if missing := sampling.lacking(real, synthetic, pool.classes):
            print(
                f"{arm.name}: no synthetic image of {_listed(missing)}, whose real ones are not replaced: "
                f"{unreplaced} of {length} draws"
            )
    elif trial.policy == "pretrain":
        first = min(max(1, round(trial.number * steps)), steps)
        sequence = sampling.pretrained(n_real, len(synthetic), first * cfg["batch_size"], length, seed)
        parts = (first, steps - first) if first < steps else (steps,)
    else:
        share = max(1, round(trial.number * n_real)) if trial.policy == "add" and trial.number else None
        sequence = data.order(n_real, len(synthetic), length, seed, share)
        weight = trial.number if trial.policy == "weight" else 1.0
    adjusted = arm.kind == "logit-adjusted"
    offset = objective.TAU * objective.log_prior(real, len(pool.classes)) if adjusted else None
    return Course(
        sequence.reshape(steps, cfg["batch_size"]),
        "strong" if arm.kind == "strong-augmentation" else cfg["augmentation"],
        parts,
        trial.rate,
        weight,
        offset,
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
