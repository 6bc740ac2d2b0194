"""Train one classifier: an arm and a seed. What is saved is the checkpoint that validation chose."""

from collections.abc import Callable, Mapping, Sequence
from math import cos, pi
from pathlib import Path

import numpy as np
import torch

from taxaforge.classification import arms, data, objective, tuning
from taxaforge.classification.augmentation import Variation
from taxaforge.classification.course import Course, plan, pool_of
from taxaforge.classification.model import Classifier, create, save
from taxaforge.classification.predict import predict
from taxaforge.classification.validating import judged, rank
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_lines
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of

EVALUATIONS = 10
Log = Callable[[int | None, dict[str, float]], None]


def train(
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
    log: Log = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Train the classifier of an arm from packs, and write its best checkpoint and its curve.

    Args:
        real, validation: packs (.npy) of real images; validation only chooses: the checkpoint, and the trial where
            there are several.
        synthetic: packs of generated images, the kept ones or the random-drop control as the arm says; empty for the
            arms that use real images alone. Images of two classes are learned as a mixture of both.
        budget: species -> synthetic images asked for; None for arm `real`.
        cfg: model, weights, epochs, batch_size, learning_rate, weight_decay, label_smoothing, image_size,
            augmentation, as in the section `classification`; `strong` where the augmentation is strong; `mixing`,
            left out: `tuning.PLAIN`.
        seed: arms of one seed share initialisation, order of real images and augmentation per step and position.
        out: .safetensors in timm layout. out_history: a line an evaluation, without clock times: same bytes twice.
            `trial` says what was being tried, `chosen` marks the line whose weights were saved; `tuning.summary`
            makes a line a trial of it.
    Raises: TaxaforgeError for packs that do not fit, an arm without its images, or a loss that is not finite.
    """
    what = arms.parse(arm)
    pool = pool_of(what, real, synthetic, seed)
    steps = arms.steps(what, pool.n_real, budget, cfg["epochs"], cfg["batch_size"])
    held_out, tried = Pack.load(validation), tuning.trials(what, cfg.get("mixing", tuning.PLAIN))
    history, best, kept = [], None, None
    for number, trial in enumerate(tried, 1):
        suffix = f"/trial{number}" if len(tried) > 1 else ""
        course = plan(what, trial, pool, steps, budget, cfg, seed)
        classifier = create(
            cfg["model"], pool.classes, cfg["image_size"], cfg["weights"], seed_of(seed, "initialisation")
        )
        classifier.net.to(device)
        progress = Progress(f"{arm} {seed}{suffix}", steps, "steps", every_s=every_s)
        state, lines = fit(classifier, pool, held_out, course, cfg, seed, progress, _named(log, suffix))
        lines = [{**line, "trial": number, **trial.words, "chosen": False} for line in lines]
        history += lines
        top = max(lines, key=rank)
        if best is None or rank(top) > rank(best):
            best, kept = top, (classifier, state)
    best["chosen"] = True
    save(kept[0], out, kept[1])
    write_lines(out_history, history)
    if len(tried) > 1:
        print(*map(str, tuning.summary(history)), sep="\n")
    log(
        None,
        {name: best[name] for name in ("validation_accuracy", "validation_nll", "trial")}
        | {"best_step": best["step"], "steps": steps, "trials": len(tried)},
    )


def _named(log: Log, suffix: str) -> Log:
    """A log that tells the trials apart."""
    return lambda step, values: log(step, {name + suffix: value for name, value in values.items()})


def fit(
    classifier: Classifier,
    pool: data.Pool,
    validation: Pack,
    course: Course,
    cfg: dict,
    seed: int,
    progress: Progress,
    log: Log,
) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Optimise, look at validation about ten times, and return the best weights and the history.

    Best: highest macro accuracy, then lowest negative log-likelihood, then earliest.
    """
    if not len(validation) or not pool.n_real:
        raise TaxaforgeError(
            "Training needs real and validation images and one of the packs is empty. See results/collection."
        )
    data.Pool([pool.packs[0], validation])  # raises where the classes differ
    device, net, steps, classes = classifier.device, classifier.net, len(course.sequence), len(pool.classes)
    smoothing, peak = cfg["label_smoothing"], cfg["learning_rate"] * course.rate
    decayed = [p for p in net.parameters() if p.ndim > 1]
    other = [p for p in net.parameters() if p.ndim <= 1]  # biases and norms are not decayed
    groups = [{"params": decayed, "weight_decay": cfg["weight_decay"]}, {"params": other, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak, fused=True)
    offset = None if course.offset is None else course.offset.to(device)
    vary = Variation(course.augmentation, cfg.get("strong"), seed)
    # On the CPU the training itself takes every core that the job was given.
    ahead = vary.pixels(pool, course.sequence, workers=torch.get_num_threads() if device.type == "cuda" else 0)
    looks = {max(1, round(steps * k / EVALUATIONS)) for k in range(1, EVALUATIONS + 1)}
    history, losses = [], []
    state: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step, (indices, pixels) in enumerate(zip(course.sequence, ahead, strict=True), 1):
            net.train()
            torch.manual_seed(seed_of(seed, "layers", step))  # dropout and the like, inside the fork
            learning_rate = peak * schedule(*course.place(step))
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            target, weight = pool.target(indices), course.weights(indices, pool.n_real)
            if target.ndim == 2 or weight is not None or vary.blends:
                target = objective.dense(target, classes, smoothing, weight)
            x, target = vary(classifier.resized(pixels), target.to(device), step)
            loss = objective.loss(net(classifier.normalised(x)), target, smoothing, offset)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
            if step not in looks:
                progress(step)
                continue
            line = judged(predict(classifier, validation.pixels), validation.label)
            line |= {"step": step, "images": step * cfg["batch_size"], "learning_rate": learning_rate}
            line["loss"] = torch.stack(losses).mean().item()
            if not np.isfinite(line["loss"]):
                tried = "" if course.rate == 1 else f", or the factor {course.rate:g} of it that was tried"
                raise TaxaforgeError(
                    f"The training loss is not finite by step {step}. Lower classification.learning_rate "
                    f"(now {cfg['learning_rate']:g}){tried}."
                )
            losses = []
            line["best"] = not history or rank(line) > max(map(rank, history))
            if line["best"]:
                state = {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}
            history.append(line)
            log(step, {name: line[name] for name in ("loss", "learning_rate", "validation_accuracy", "validation_nll")})
            progress(step, loss=line["loss"], accuracy=line["validation_accuracy"])
    return state, history


def schedule(step: int, steps: int) -> float:
    """Share of the full learning rate at step 1..steps: linear over the first twentieth, then cosine towards 0."""
    warm = max(1, steps // 20)
    return step / warm if step <= warm else 0.5 * (1 + cos(pi * (step - warm) / (steps - warm + 1)))
