"""One training run as a value that advances, can be saved and goes on exactly where it was."""

import math
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.data import Batch, Latents, batch_at
from taxaforge.seeds import seed_of

BASE = "base"
FINEST_SHARE = 0.7
"""Of the base stage's images, the share conditioned down to the finest level; the others stop evenly above it."""
LEVELS_RATE = 0.1
"""In the base stage, the level modules' learning rate as a share of the denoiser's. At the full rate these
post-norm transformers collapse within 50 steps: all names give the same tokens, and the condition is lost."""
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""
LINES = 100
"""Lines of history.jsonl, at most about."""


def level_share(stage: str, levels: list[str]) -> list[float]:
    """How often a training image of this stage stops at each level, coarse to fine; sums to 1."""
    if stage != BASE:
        return [float(level == stage) for level in levels]
    coarser = len(levels) - 1
    return [(1 - FINEST_SHARE) / coarser] * coarser + [FINEST_SHARE] if coarser else [1.0]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over WARM_UP of the steps, then a half cosine towards 0."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def ema_decay(step: int, longest: float) -> float:
    """Decay of the average after a step: short memory first, so that a short run forgets its random start.

    (1 + step) / (10 + step) up to `longest`, as in TensorFlow's ExponentialMovingAverage(num_updates).
    """
    return min(longest, (1 + step) / (10 + step))


def loss_of(backbone: Backbone, z0: Tensor, batch: Batch) -> Tensor:
    """Mean squared error of the native prediction, one number.

    Args:
        z0: (B, c, h, w) clean latents of batch.chosen. Source: Ho et al. 2020, Eq. 14; for v Salimans & Ho
            2022 (arXiv:2202.00512).
    """
    device = z0.device
    t, eps = batch.t.to(device), batch.eps.to(device)
    abar = schedule.signal_share(backbone.schedule, t, z0)
    tokens = backbone.tokens(batch.label.to(device), batch.upto.to(device))
    said = backbone.predict(schedule.noised(z0, eps, abar), t, tokens)
    return mse_loss(said, schedule.target(backbone.native, z0, eps, abar))


class Run:
    """A stage in training.

    Args:
        backbone: prepared for the stage. trainable: its trained parameters by name.
        cfg: steps, batch_size, learning_rate, weight_decay, null_probability, ema, flip, levels.
    Attributes: step, number of steps done. loss, of the last one. history, lines of history.jsonl so far.
    """

    def __init__(self, backbone: Backbone, trainable: dict[str, nn.Parameter], stage: str, cfg: dict, seed: int):
        self.backbone, self.stage, self.cfg, self.seed = backbone, stage, cfg, seed
        self.names, self.values = list(trainable), list(trainable.values())
        self.steps, self.size = cfg["steps"], cfg["batch_size"]
        levels = [value for name, value in trainable.items() if name.startswith("conditioning.")]
        others = [value for name, value in trainable.items() if not name.startswith("conditioning.")]
        share = LEVELS_RATE if stage == BASE else 1.0
        groups = [{"params": levels, "share": share}, {"params": others, "share": 1.0}]
        self.optimiser = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=cfg["learning_rate"],
            weight_decay=cfg["weight_decay"],
            fused=True,
        )
        self.averaged = [value.detach().clone() for value in self.values]
        self.step, self.loss, self.history, self.losses, self.seconds = 0, math.nan, [], [], 0.0

    def advance(self, latents: Latents, labels: Tensor) -> dict | None:
        """One optimiser step; a line for the history, where one is due, also returned."""
        began = time.monotonic()
        batch = batch_at(
            seed=self.seed,
            stage=self.stage,
            step=self.step,
            size=self.size,
            labels=labels,
            flip=self.cfg["flip"],
            null_probability=self.cfg["null_probability"],
            level_share=level_share(self.stage, self.cfg["levels"]),
            timesteps=len(self.backbone.schedule.alphas_cumprod),
            places=schedule.towards_the_middle if self.cfg["backbone"] == "small" else schedule.evenly,
            shape=self.backbone.latent_shape,
        )
        z0 = latents(batch.chosen, batch.mirrored)
        rate = learning_rate(self.step, self.steps, self.cfg["learning_rate"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        with torch.random.fork_rng(devices=[z0.device] if z0.device.type == "cuda" else []):
            torch.manual_seed(seed_of(self.seed, self.stage, "dropout", self.step))
            loss = loss_of(self.backbone, z0, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.values, 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        decay = ema_decay(self.step, self.cfg["ema"])
        torch._foreach_lerp_(self.averaged, [value.detach() for value in self.values], 1 - decay)
        self.step += 1
        self.loss = loss.item()
        self.losses.append(self.loss)
        self.seconds += time.monotonic() - began
        if self.step % max(1, self.steps // LINES) and self.step < self.steps:
            return None
        mean = sum(self.losses) / len(self.losses)
        line = {"step": self.step, "images": self.step * self.size, "loss": mean, "learning_rate": rate}
        self.history.append({**line, "seconds": round(self.seconds, 3)})
        self.losses.clear()
        return self.history[-1]

    def averages(self) -> dict[str, Tensor]:
        """The weights that the stage hands on, by name."""
        return dict(zip(self.names, self.averaged, strict=True))

    def state(self) -> dict:
        """Everything that the coming steps depend on; randomness is not among it, it follows from the step."""
        return {
            "step": self.step,
            "history": self.history,
            "losses": self.losses,
            "seconds": self.seconds,
            "weights": {name: value.detach() for name, value in zip(self.names, self.values, strict=True)},
            "averaged": self.averages(),
            "optimiser": self.optimiser.state_dict(),
        }

    @torch.no_grad()
    def restore(self, saved: dict) -> None:
        """Goes back to what `state` returned."""
        self.step, self.seconds = saved["step"], saved["seconds"]
        self.history, self.losses = list(saved["history"]), list(saved["losses"])
        for name, value, average in zip(self.names, self.values, self.averaged, strict=True):
            value.copy_(saved["weights"][name])
            average.copy_(saved["averaged"][name])
        self.optimiser.load_state_dict(saved["optimiser"])
