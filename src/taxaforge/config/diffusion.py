"""Section `diffusion`: the generator and its taxonomic stages."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import RANKS, Section


class Base(Section):
    """The foundation of the `small` backbone: the whole denoiser, trained on random levels of the lineage."""

    steps: int = Field(
        1000,
        ge=1,
        description="Optimiser steps of the base stage; most of the run's time. Too few: species look alike.",
    )
    learning_rate: float = Field(
        2e-3, gt=0, description="Peak of AdamW's rate, warmed up, then cosine; the level modules get a tenth."
    )


class Stage(Section):
    """What one taxonomic stage changes against the shared values; empty fields keep them."""

    steps: int | None = Field(None, ge=1, description="Optimiser steps of this stage.")
    learning_rate: float | None = Field(None, gt=0, description="Learning rate of this stage.")


class Diffusion(Section):
    """Staged training: one stage a level, coarse to fine, each starting from the one before."""

    backbone: Literal["small", "stable-diffusion"] = Field(
        "small",
        description="`small`: pixel-space UNet from scratch, CPU in minutes; `stable-diffusion`: LoRA on `pretrained`.",
    )
    pretrained: str = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="Hub id or local folder of the pipeline, for `stable-diffusion`.",
    )
    revision: str = Field("main", description="Pinned revision of the hub id, for `stable-diffusion`.")
    channels: list[int] = Field(
        [48, 64, 96],
        min_length=2,
        description="UNet channels, fine to coarse, multiples of 8, for `small`; the finest stands on blocks of 2 x 2 px. "
        "More channels draw better for the same images and cost time.",
    )
    levels: list[str] = Field(
        ["order", "family", "genus", "species"],
        min_length=1,
        description="Levels of the lineage, coarse to fine: one stage each.",
    )
    base: Base = Base()
    stages: dict[str, Stage] = Field(
        {}, description="Settings of single stages, by level name: `stages: {species: {learning_rate: 3.0e-5}}`."
    )
    steps: int = Field(
        30,
        ge=1,
        description="Optimiser steps of a stage that does not set its own. `small` only refines what its base has learned; "
        "`stable-diffusion` has no base and wants thousands.",
    )
    learning_rate: float = Field(
        1e-4,
        gt=0,
        description="Peak learning rate of a stage that does not set its own; too high unlearns the stages before.",
    )
    batch_size: int = Field(32, ge=1, description="Images a step.")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW weight decay.")
    null_probability: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of training images whose condition is the null lineage; needed by `cfg`. Lower weakens it.",
    )
    ema: float = Field(
        0.995, ge=0, lt=1, description="Decay of the averaged weights that are saved; 0 saves the last ones."
    )
    lora_rank: int = Field(4, ge=1, description="Rank of the LoRA on all attention projections.")
    flip: bool = Field(True, description="Mirror training images at random; switch off where left and right matter.")
    checkpoint_every: int = Field(400, ge=1, description="Steps between checkpoints that a killed stage resumes from.")

    @model_validator(mode="after")
    def _levels_are_ranks_in_order(self):
        wrong = [level for level in self.levels if level not in RANKS]
        if wrong:
            raise ValueError(f"levels: {', '.join(wrong)} is no level; choose from {', '.join(RANKS)}")
        if self.levels != sorted(set(self.levels), key=RANKS.index):
            raise ValueError(f"levels must run from coarse to fine without repeats, got {self.levels}")
        stray = [name for name in self.stages if name not in self.levels]
        if stray:
            raise ValueError(
                f"stages: {', '.join(map(repr, stray))} is not a level of this run; levels are {', '.join(self.levels)}. "
                "Add it to diffusion.levels or remove the stage."
            )
        return self
