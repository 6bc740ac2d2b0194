"""One training run as a value that advances, can be saved and goes on exactly where it was."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from taxaforge.diffusion import devices
from taxaforge.diffusion.data import Batches, places_of
from taxaforge.diffusion.tally import Tally
from taxaforge.errors import TaxaforgeError
from taxaforge.seeds import seed_of

LEVELS_RATE = 0.1
"""Learning rate of the level modules as a share of the denoiser's, where the whole denoiser trains from scratch.
At the full rate these post-norm transformers collapse within 50 steps: all names give the same tokens, and the
condition is lost."""

MOMENTS = ("exp_avg", "exp_avg_sq")

Source = Callable[[Tensor, Tensor], Tensor]
"""(chosen (B,), mirrored (B,)) -> clean latents (B, c, h, w)."""


class BatchTooSmall(TaxaforgeError):
    """There are more processes than images in a batch."""


class Diverged(TaxaforgeError):
    """The loss is no longer a finite number."""


def learning_rate(step: int, steps: int, peak: float, course: str, warm_up: float) -> float:
    """The rate of a step: linear warm-up over `warm_up` of the steps, then constant or a half cosine towards 0.

    The warm-up belongs to both courses; in the released code of TaxaDiffusion it has no effect [checked].
    """
    warm = round(warm_up * steps)
    if step < warm:
        return peak * (step + 1) / warm
    if course == "constant":
        return peak
    return peak * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2


def ema_decay(step: int, longest: float) -> float:
    """Decay of the average after a step: short memory first, so that a short run forgets its random start.

    (1 + step) / (10 + step) up to `longest`, as in TensorFlow's ExponentialMovingAverage(num_updates).
    """
    return min(longest, (1 + step) / (10 + step))


class Run:
    """A stage in training.

    Args:
        objective: (z0, batch, mine) -> (b,) losses; prepared and on its device.
        trainable: what is trained, by name: parameters of `objective`, float32.
        batches, source: what a step sees, and the latents of its images.
        cfg: steps, learning_rate, schedule, warm_up, weight_decay, clip, ema. seed, stage: name its randomness.
        levels: for the tally. rate_of: share of the learning rate of a parameter, by its name.
        micro_batch: images at once in a process; 0: all of its part of a batch.
    Attributes:
        step: number of steps done. history: lines of history.jsonl so far. best: (loss, weights) of the
            best validation, or None.
    """

    def __init__(
        self,
        objective: nn.Module,
        trainable: dict[str, nn.Parameter],
        batches: Batches,
        source: Source,
        cfg: dict,
        *,
        stage: str,
        seed: int,
        levels: list[str],
        accelerator: Accelerator,
        micro_batch: int = 0,
        rate_of: Callable[[str], float] = lambda name: 1.0,
    ):
        self.batches, self.source, self.cfg, self.stage, self.seed = batches, source, cfg, stage, seed
        self.accelerator, self.objective, self.micro_batch = accelerator, objective, micro_batch
        self.names, self.values = list(trainable), list(trainable.values())
        self.steps, self.size = cfg["steps"], batches.size
        if self.size < accelerator.num_processes:
            raise BatchTooSmall(
                f"diffusion.batch_size is {self.size}, too few images for {accelerator.num_processes} processes. Raise it, or "
                "lower runtime.gpus or runtime.processes."
            )
        rates: dict[float, list] = {}
        for name, value in trainable.items():
            rates.setdefault(rate_of(name), []).append(value)
        self.optimiser = torch.optim.AdamW(
            [{"params": values, "share": share} for share, values in rates.items()],
            lr=cfg["learning_rate"],
            weight_decay=cfg["weight_decay"],
            fused=True,
        )
        self.model, self.stepper = accelerator.prepare(objective, self.optimiser)
        self.averaged = [value.detach().clone() for value in self.values]
        self.tally = Tally(levels, batches.timesteps, accelerator)
        self.best: tuple[float, list[Tensor]] | None = None
        self.stale = 0
        self.step, self.rate, self.history, self.seconds = 0, 0.0, [], 0.0

    def advance(self) -> None:
        """One optimiser step over the whole batch, in as many pieces and processes as there are."""
        began = time.monotonic()
        batch = self.batches(self.step)
        rate = learning_rate(
            self.step, self.steps, self.cfg["learning_rate"], self.cfg["schedule"], self.cfg["warm_up"]
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        mine = places_of(self.accelerator.process_index, self.accelerator.num_processes, self.size)
        pieces = mine.split(self.micro_batch or self.size)
        share = self.accelerator.num_processes / self.size  # processes are averaged, images are not
        device = self.accelerator.device
        for number, piece in enumerate(pieces, 1):
            z0 = self.source(batch.chosen[piece], batch.mirrored[piece]).to(device)
            apart = nullcontext() if number == len(pieces) else self.accelerator.no_sync(self.model)
            with apart, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                torch.manual_seed(seed_of(self.seed, self.stage, "dropout", self.step))
                losses = self.model(z0, batch, piece)
                self.accelerator.backward(losses.sum() * share)
            self.tally.add(batch, piece, losses)
        self.accelerator.clip_grad_norm_(self.values, self.cfg["clip"])
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        decay = ema_decay(self.step, self.cfg["ema"])
        torch._foreach_lerp_(self.averaged, [value.detach() for value in self.values], 1 - decay)
        self.step += 1
        self.rate = rate
        self.seconds += time.monotonic() - began

    def line(self, validation_loss: float | None = None) -> dict:
        """Closes the tally into a line of the history. Raises Diverged."""
        means = self.tally.close()
        if not math.isfinite(means["loss"]):
            raise Diverged(
                f"Stage {self.stage} diverged: its loss at step {self.step} is {means['loss']}. Lower "
                f"diffusion.learning_rate (now {self.cfg['learning_rate']:g}) or lengthen diffusion.warm_up."
            )
        before = self.history[-1] if self.history else {"images": 0, "seconds": 0.0}
        images, seconds = self.step * self.size, round(self.seconds, 3)
        line = {
            "step": self.step,
            "images": images,
            **means,
            "learning_rate": self.rate,
            "seconds": seconds,
            "images_per_second": round((images - before["images"]) / max(seconds - before["seconds"], 1e-3), 1),
            "memory_mib": round(devices.peak_mib(self.accelerator.device), 1),
        }
        if validation_loss is not None:
            line["validation_loss"] = validation_loss
        self.history.append(line)
        return line

    def judge(self, loss: float, patience: int) -> bool:
        """Takes note of a validation loss; True when the last `patience` of them were no better than the best."""
        if self.best is None or loss < self.best[0]:
            self.stale = 0
            self.best = (loss, [value.clone() for value in self.averaged] if patience else [])
        else:
            self.stale += 1
        return bool(patience) and self.stale >= patience

    @contextmanager
    def averaged_in_place(self) -> Iterator[None]:
        """The objective computes with the averaged weights, and without dropout, inside the block."""
        training = [module for module in self.objective.modules() if module.training]
        self.objective.eval()
        self._swap()
        try:
            yield
        finally:
            self._swap()
            for module in training:
                module.training = True

    @torch.no_grad()
    def _swap(self) -> None:
        for value, average in zip(self.values, self.averaged, strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)

    def result(self, patience: int) -> dict[str, Tensor]:
        """The weights that the stage hands on, by name: averaged, of the best validation where that decides."""
        chosen = self.best[1] if patience and self.best else self.averaged
        return dict(zip(self.names, chosen, strict=True))

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, plain values): all that the coming steps depend on. Randomness follows from the step."""
        groups = {"weight": self.values, "average": self.averaged, "best": self.best[1] if self.best else []}
        tensors = {
            f"{kind}/{name}": value.detach()
            for kind, values in groups.items()
            for name, value in zip(self.names, values, strict=False)
        }
        for name, value in zip(self.names, self.values, strict=True):
            tensors |= {f"optimiser/{what}/{name}": part for what, part in self.optimiser.state.get(value, {}).items()}
        facts = {
            "history": self.history,
            "seconds": self.seconds,
            "best": self.best[0] if self.best else None,
            "stale": self.stale,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
        }
        tensors["tally"] = self.tally.sums
        return tensors, facts

    @torch.no_grad()
    def restore(self, step: int, tensors: dict[str, Tensor], facts: dict) -> None:
        """Goes back to what `state` returned after `step` steps."""
        for name, value, average in zip(self.names, self.values, self.averaged, strict=True):
            value.copy_(tensors[f"weight/{name}"])
            average.copy_(tensors[f"average/{name}"])
            if f"optimiser/step/{name}" in tensors:  # a parameter that no step has reached has no state
                self.optimiser.state[value] = {
                    "step": tensors[f"optimiser/step/{name}"],
                    # In the parameter's own memory layout, which a file does not know: the fused optimiser goes
                    # through the three of them side by side.
                    **{what: torch.empty_like(value).copy_(tensors[f"optimiser/{what}/{name}"]) for what in MOMENTS},
                }
        if facts["best"] is not None:
            best = [tensors[f"best/{name}"] for name in self.names if f"best/{name}" in tensors]
            self.best = (facts["best"], best)
        self.step, self.seconds, self.stale = step, facts["seconds"], facts["stale"]
        self.history = list(facts["history"])
        self.tally.sums.copy_(tensors["tally"])
        if facts["scaler"]:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
