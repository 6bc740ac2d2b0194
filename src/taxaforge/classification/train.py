"""Train one classifier: an arm and a seed. What is saved is the checkpoint that validation chose."""

from collections.abc import Callable, Sequence
from math import cos, pi
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from taxaforge.classification import arms, data
from taxaforge.classification.model import Classifier, create, save
from taxaforge.classification.predict import predict
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
    budget: int | None,
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
        real, validation: packs (.npy) of real images; validation only chooses the checkpoint.
        synthetic: packs of generated images, the kept ones or the random-drop control as the arm says; empty for the
            arms that use real images alone. Images of two classes are learned as a mixture of both.
        budget: synthetic images asked for a species; None for arm `real`.
        cfg: model, weights, epochs, batch_size, learning_rate, weight_decay, label_smoothing, image_size,
            augmentation, as in the section `classification`.
        seed: arms of one seed share initialisation, order of real images and augmentation per step and position.
        out: .safetensors in timm layout. out_history: a line an evaluation, without clock times: same bytes twice.
    Raises: TaxaforgeError for packs that do not fit, an arm without its images, or a loss that is not finite.
    """
    what, packs = arms.parse(arm), [Pack.load(real), *map(Pack.load, synthetic)]
    pool, n_real = data.Pool(packs), len(packs[0])
    if bool(what.method) != (len(pool) > n_real):
        raise TaxaforgeError(
            f"Arm {arm!r} {'got no synthetic image' if what.method else 'takes no synthetic images but got some'}. "
            f"{'Did the filter drop all? Loosen section filter, or remove the arm.' if what.method else 'Correct its inputs.'}"
        )
    steps = arms.steps(what, n_real, len(pool.classes), budget, cfg["epochs"], cfg["batch_size"])
    classifier = create(cfg["model"], pool.classes, cfg["image_size"], cfg["weights"], seed_of(seed, "initialisation"))
    classifier.net.to(device)
    state, history = fit(
        classifier,
        pool,
        n_real,
        Pack.load(validation),
        cfg,
        steps,
        seed,
        Progress(f"{arm} {seed}", steps, "steps", every_s=every_s),
        log,
    )
    best = max(history, key=_rank)
    save(classifier, out, state)
    write_lines(out_history, history)
    log(
        None,
        {name: best[name] for name in ("validation_accuracy", "validation_nll")}
        | {"best_step": best["step"], "steps": steps},
    )


def fit(
    classifier: Classifier,
    pool: data.Pool,
    n_real: int,
    validation: Pack,
    cfg: dict,
    steps: int,
    seed: int,
    progress: Progress,
    log: Log,
) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Optimise, look at validation about ten times, and return the best weights and the history.

    Best: highest macro accuracy, then lowest negative log-likelihood, then earliest.
    """
    if not len(validation) or not n_real:
        raise TaxaforgeError(
            "Training needs real and validation images and one of the packs is empty. See results/collection."
        )
    data.Pool([pool.packs[0], validation])  # raises where the classes differ
    device, net, batch = classifier.device, classifier.net, cfg["batch_size"]
    decayed = [p for p in net.parameters() if p.ndim > 1]
    other = [p for p in net.parameters() if p.ndim <= 1]  # biases and norms are not decayed
    groups = [{"params": decayed, "weight_decay": cfg["weight_decay"]}, {"params": other, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=cfg["learning_rate"], fused=True)
    sequence = data.order(n_real, len(pool) - n_real, steps * batch, seed_of(seed, "order")).reshape(steps, batch)
    looks = {max(1, round(steps * k / EVALUATIONS)) for k in range(1, EVALUATIONS + 1)}
    history, losses = [], []
    state: dict[str, torch.Tensor] = {}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for step in range(1, steps + 1):
            net.train()
            torch.manual_seed(seed_of(seed, "layers", step))  # dropout and the like, inside the fork
            rate = cfg["learning_rate"] * schedule(step, steps)
            for group in optimiser.param_groups:
                group["lr"] = rate
            indices = sequence[step - 1]
            x = classifier.resized(pool.pixels(indices))
            if cfg["augmentation"] == "standard":
                x = data.augment(x, torch.Generator().manual_seed(seed_of(seed, "augmentation", step)))
            target = pool.target(indices).to(device)
            loss = F.cross_entropy(net(classifier.normalised(x)), target, label_smoothing=cfg["label_smoothing"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
            if step not in looks:
                progress(step)
                continue
            line = _look(classifier, validation) | {"step": step, "images": step * batch, "learning_rate": rate}
            line["loss"] = torch.stack(losses).mean().item()
            if not np.isfinite(line["loss"]):
                raise TaxaforgeError(
                    f"The training loss is not finite by step {step}. Lower classification.learning_rate "
                    f"(now {cfg['learning_rate']:g})."
                )
            losses = []
            line["best"] = not history or _rank(line) > max(map(_rank, history))
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


def _rank(line: dict) -> tuple[float, float]:
    return line["validation_accuracy"], -line["validation_nll"]


def _look(classifier: Classifier, validation: Pack) -> dict[str, float]:
    """Macro accuracy (mean recall of the classes present) and mean negative log-likelihood on validation."""
    probability, label = predict(classifier, validation.pixels), validation.label
    right = probability.argmax(1) == label
    recall = [right[label == c].mean() for c in np.unique(label)]
    nll = -np.log(np.maximum(probability[np.arange(len(label)), label], 1e-12))
    return {"validation_accuracy": float(np.mean(recall)), "validation_nll": float(nll.mean())}
