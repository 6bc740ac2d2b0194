"""What each stage trains, and which part of the lineage its images are conditioned on.

    progressive   level by level; every stage stops at its own level and trains that level's module
    random_level  one stage; each image stops at a random level, all modules train
    joint         one stage; always the whole lineage, all modules train
    flat          progressive with the finest level alone

Source: TaxaDiffusion (arXiv:2506.01923) [code]; the other three are its ablations, their details ours.
"""

from dataclasses import dataclass
from typing import Literal

from taxaforge.errors import TaxaforgeError

BASE = "base"
ONE_STAGE = ("random_level", "joint")
FINEST_SHARE = 0.7
"""Of the base stage's images, the share conditioned down to the finest level; the others stop evenly above it."""


class BadStage(TaxaforgeError):
    """A stage that this run does not have, or that comes out of order."""


@dataclass(frozen=True)
class Recipe:
    """denoiser: what of it trains. modules: the level modules that train, by position. share: (L,) how
    often an image stops at each level, coarse to fine, sums to 1. before: stages that it may start from."""

    denoiser: Literal["full", "lora", "frozen"]
    modules: tuple[int, ...]
    share: tuple[float, ...]
    before: tuple[str | None, ...]

    @property
    def finest(self) -> int:
        """The finest level that any image reaches."""
        return max(level for level, share in enumerate(self.share) if share > 0)


def recipe(stage: str, cfg: dict) -> Recipe:
    """The recipe of a stage. cfg: levels, backbone, variant, trainable. Raises BadStage."""
    levels, variant = cfg["levels"], cfg["variant"]
    everything, last = tuple(range(len(levels))), len(levels) - 1
    if stage == BASE and cfg["backbone"] == "small":
        shares = [(1 - FINEST_SHARE) / last] * last + [FINEST_SHARE] if last else [1.0]
        return Recipe("full", everything, tuple(shares), (None,))
    names = [variant] if variant in ONE_STAGE else levels
    if stage not in names:
        known = ([BASE] if cfg["backbone"] == "small" else []) + names
        raise BadStage(f"There is no stage {stage!r}; this generator has {', '.join(known)}.")
    first = stage == names[0]
    denoiser = {"published": "lora" if first else "frozen", "modules": "frozen"}.get(cfg["trainable"], cfg["trainable"])
    before = (names[names.index(stage) - 1],) if not first else _foundations(cfg["backbone"], denoiser)
    if variant == "random_level":
        return Recipe(denoiser, everything, (1 / len(levels),) * len(levels), before)
    level = last if variant == "joint" else levels.index(stage)
    modules = everything if variant == "joint" else (level,)
    return Recipe(denoiser, modules, tuple(float(i == level) for i in everything), before)


def _foundations(backbone: str, denoiser: str) -> tuple[str | None, ...]:
    """What a first stage may start from: a pipeline, or a base, or nothing where the whole denoiser learns."""
    if backbone != "small":
        return (None,)
    return (BASE, None) if denoiser == "full" else (BASE,)


def learned(stage: str, cfg: dict) -> int:
    """How many level modules, coarse to fine, this stage leaves trained, counting those of the stages before it."""
    return max(recipe(stage, cfg).modules) + 1
