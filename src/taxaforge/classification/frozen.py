"""Train one classifier whose backbone stays as it is: an arm and a seed, in the seconds that its head takes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from taxaforge.classification import arms, embeddings, objective, probe, tuning
from taxaforge.classification.course import Course, plan, pool_of
from taxaforge.classification.data import Pool
from taxaforge.classification.model import Classifier, create, save
from taxaforge.classification.validating import rank
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_lines
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

CHECKED = 4
"""Validation images on which the finished network is compared with its head."""
Log = Callable[[int | None, dict[str, float]], None]


def train_probe(
    *,
    real: str | Path,
    validation: str | Path,
    synthetic: Sequence[str | Path],
    arm: str,
    budget: Mapping[str, int] | None,
    cfg: dict,
    seed: int,
    out: str | Path,
    out_history: str | Path,
    cache: str | Path,
    log: Log = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Train the linear probe of an arm from packs; what it writes is a classifier like any other.

    An arm means what it means in `train.train`: the same draws of the same images, with the same weights, prior and
    shuffled labels. They are counted, not followed in order, since the problem has one solution: `pretrain` is what
    it draws, mixed. Where augmentation is on, a draw is at one of 1 + `views` looks, the image as it is among them;
    `strong` looks have RandAugment, and are never blended. Where trials differ in their learning rate, of which there
    is none here, its factor divides the weight decays, so that all arms have as many trials.

    Args:
        real, validation, synthetic, arm, budget, seed, out: as in `train.train`.
        cfg: model, weights, image_size, epochs, batch_size, label_smoothing, augmentation, strong, mixing as there, and
            `probe`: `views`, `weight_decay` (those to choose from).
        out_history: a line a weight decay, see `probe.fit`; with `trial` and `chosen` as in `train.train`.
        cache: folder of features, which arms, seeds and runs may share.
    Raises: TaxaforgeError for packs that do not fit, an arm without its images, or a model without a linear head.
    """
    what = arms.parse(arm)
    pool = pool_of(what, real, synthetic, seed)
    held_out = Pack.load(validation)
    if not len(held_out) or not pool.n_real:
        raise TaxaforgeError(
            "Training needs real and validation images and one of the packs is empty. See results/collection."
        )
    Pool([pool.packs[0], held_out])  # raises where the classes differ
    classifier = create(cfg["model"], pool.classes, cfg["image_size"], cfg["weights"], seed_of(seed, "initialisation"))
    classifier.net.to(device)
    (seen,) = embeddings.embedded(classifier, held_out, [0], cache, label="validation", every_s=every_s)
    steps = arms.steps(what, pool.n_real, budget, cfg["epochs"], cfg["batch_size"])
    history, best, solution = [], None, None
    tried = tuning.trials(what, cfg.get("mixing", tuning.PLAIN))
    for number, trial in enumerate(tried, 1):
        course = plan(what, trial, pool, steps, budget, cfg, seed)
        rows = learned(classifier, pool, course, cfg, seed, cache, device, every_s)
        decays = [decay / course.rate for decay in cfg["probe"]["weight_decay"]]
        found = probe.fit(rows, seen, held_out.label, decays, course.offset)
        lines = [
            {**line, "images": course.sequence.size, "trial": number, **trial.words, "chosen": False}
            for line in found.history
        ]
        history += lines
        top = max(lines, key=rank)
        if best is None or rank(top) > rank(best):
            best, solution = top, found
    best["chosen"] = True
    probe.crowned(classifier, solution, held_out.pixels[:CHECKED])
    save(classifier, out)
    write_lines(out_history, history)
    names = ("validation_accuracy", "validation_nll", "weight_decay", "iterations", "trial")
    log(None, {name: best[name] for name in names} | {"steps": steps, "trials": len(tried)})


def learned(
    classifier: Classifier,
    pool: Pool,
    course: Course,
    cfg: Mapping,
    seed: int,
    cache: str | Path,
    device: str = "cpu",
    every_s: float = 5.0,
) -> probe.Rows:
    """What a course draws, as rows of features; packs that it never draws from are not looked at."""
    draws = course.sequence.ravel()
    strength = cfg.get("strong") if course.augmentation == "strong" else None
    looks = range(1 if course.augmentation == "none" else 1 + cfg["probe"]["views"])
    parts, weights, target = [], [], []
    for number, pack in enumerate(pool.packs):
        first = pool.ends[number] - len(pack)
        own = draws[(draws >= first) & (draws < pool.ends[number])]
        if not len(own):
            continue
        indices = np.arange(first, pool.ends[number])
        counts = probe.draws_of_looks(own - first, pack.identifier, len(looks), seed).astype(np.float64)
        loss_weight = course.weights(indices, pool.n_real)
        weights.append(counts if loss_weight is None else counts * loss_weight.double().numpy()[:, None])
        name = "synthetic images" if number else "real images"
        parts.append(
            embeddings.embedded(classifier, pack, looks, cache, strength=strength, label=name, every_s=every_s)
        )
        target.append(objective.dense(pool.target(indices), len(pool.classes), cfg["label_smoothing"]))
    together = [np.concatenate(look) for look in zip(*parts, strict=True)]
    return probe.rows_of(together, torch.cat(target), np.concatenate(weights), device)
