"""Section `diffusion`: the generator and its taxonomic stages."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import RANKS, Section

Trainable = Literal["published", "modules", "lora", "full"]


class Base(Section):
    """The foundation of the `small` backbone: the whole denoiser, trained on random levels of the lineage."""

    steps: int = Field(
        1000,
        ge=0,
        description="Optimiser steps of the base stage; most of the run's time. Too few: species look alike. 0: no base stage; "
        "the first stage then has to train the whole denoiser (`trainable: full`).",
    )
    learning_rate: float = Field(
        2e-3, gt=0, description="Peak of AdamW's rate, warmed up, then cosine; the level modules get a tenth."
    )


class Stage(Section):
    """What one stage changes against the shared values; empty fields keep them."""

    steps: int | None = Field(None, ge=1, description="Optimiser steps of this stage.")
    learning_rate: float | None = Field(None, gt=0, description="Learning rate of this stage.")
    trainable: Trainable | None = Field(None, description="What this stage trains.")


class Watch(Section):
    """What is looked at while a stage trains."""

    samples_every: int = Field(
        500, ge=0, description="Steps between sample grids, drawn from the same noise each time; 0: none."
    )
    validate_every: int = Field(
        100, ge=0, description="Steps between denoising losses on held-out validation images; 0: none."
    )
    validation_images: int = Field(64, ge=1, description="Held-out images looked at each time, the same ones.")
    patience: int = Field(
        0,
        ge=0,
        description="Stop a stage after so many validations without a new best, and hand on the best weights; 0: never. "
        "Wants `schedule: constant`: a cosine reaches its best at its end.",
    )

    @model_validator(mode="after")
    def _patience_needs_validation(self):
        if self.patience and not self.validate_every:
            raise ValueError("patience needs validate_every above 0: without validation nothing can be waited for")
        return self


class Contour(Section):
    """A ControlNet that draws along given contours, trained on edges of the training images (`snakemake contour`)."""

    pretrained: str = Field(
        "",
        description="Hub id or local folder of a ready-made ControlNet for `stable-diffusion`, used instead of training one.",
    )
    revision: str = Field("main", description="Pinned revision of that hub id.")
    steps: int = Field(
        100,
        ge=1,
        description="Optimiser steps. So few leave pictures nearly as they were without a contour; give `small` at least 1000, "
        "`stable-diffusion` thousands.",
    )
    learning_rate: float = Field(2e-3, gt=0, description="Peak learning rate; for `stable-diffusion` rather 1.0e-5.")
    low: int = Field(
        60,
        ge=0,
        le=255,
        description="Lower threshold of the Canny edges, in 3 x 3 Sobel units of the strongest colour channel; lower keeps "
        "fainter edges. Give a ready-made adapter the thresholds that it was taught with.",
    )
    high: int = Field(150, ge=0, le=255, description="Upper threshold, same units: an edge must reach it somewhere.")
    blur: float = Field(
        0.7,
        ge=0,
        description="Standard deviation in px of the blur before edges are sought; 0: none.",
    )


class Diffusion(Section):
    """Staged training: one stage a level, coarse to fine, each starting from the one before."""

    backbone: Literal["small", "stable-diffusion"] = Field(
        "small",
        description="`small`: pixel-space UNet from scratch, CPU in minutes; `stable-diffusion`: a pipeline of the family, "
        "SD 1.x, 2.x or SDXL, given in `pretrained`.",
    )
    pretrained: str = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="Hub id or local folder of the pipeline, for `stable-diffusion`. `runtime.hub_offline` asks no hub.",
    )
    revision: str = Field("main", description="Pinned revision (commit) of the hub id, for `stable-diffusion`.")
    channels: list[int] = Field(
        [48, 64, 96],
        min_length=2,
        description="UNet channels, fine to coarse, multiples of 8, for `small`; the finest stands on blocks of 2 x 2 px. "
        "More channels draw better for the same images and cost time.",
    )
    levels: list[str] = Field(
        ["order", "family", "genus", "species"],
        min_length=1,
        description="Levels of the lineage, coarse to fine, any subset; a species without a name on one gets `unknown` there.",
    )
    variant: Literal["progressive", "random_level", "joint", "flat"] = Field(
        "progressive",
        description="`progressive`: a stage a level, as TaxaDiffusion. `random_level`: one stage, each image up to a random "
        "level. `joint`: one stage, always all levels. `flat`: one stage that knows the finest level only.",
    )
    trainable: Trainable = Field(
        "published",
        description="What a stage trains beside its level modules. `published`: LoRA in the first stage, nothing later. "
        "`modules`: nothing. `lora`, `full`: adapters, or the whole denoiser, in every stage.",
    )
    base: Base = Base()
    stages: dict[str, Stage] = Field(
        {}, description="Settings of single stages, by their name: `stages: {species: {learning_rate: 3.0e-5}}`."
    )
    steps: int = Field(
        20,
        ge=1,
        description="Optimiser steps of a stage that does not set its own. `small` only refines what its base has learned; "
        "`stable-diffusion` has no base and wants thousands.",
    )
    learning_rate: float = Field(
        1e-4,
        gt=0,
        description="Peak learning rate of a stage that does not set its own; too high unlearns the stages before.",
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="Course of the learning rate after the warm-up: half a cosine towards 0, or constant."
    )
    warm_up: float = Field(
        0.05, ge=0, le=1, description="Share of a stage's steps in which the learning rate rises, for both courses."
    )
    batch_size: int = Field(
        24,
        ge=1,
        description="Images an optimiser step, over all devices; `runtime.training_micro_batch` says how many at once.",
    )
    weight_decay: float = Field(1e-2, ge=0, description="AdamW weight decay.")
    clip: float = Field(1.0, gt=0, description="Longest gradient; a longer one is shortened to it.")
    null_probability: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of training images whose condition is the null lineage; needed by `cfg`. Lower weakens it.",
    )
    level_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of an image's levels, each on its own, whose name is replaced by the null name.",
    )
    prediction: Literal["auto", "epsilon", "v_prediction"] = Field(
        "auto",
        description="What the denoiser predicts. `auto`: v for `small`, the pipeline's own for `stable-diffusion`. "
        "epsilon on `small` comes with betas that keep some signal at the last step.",
    )
    min_snr_gamma: float = Field(
        0.0, ge=0, description="Cap of the loss weight of nearly clean images (Min-SNR; the paper's 5); 0: off."
    )
    noise_offset: float = Field(
        0.0,
        ge=0,
        description="Noise common to an image's whole channel, lets brightness be learned; 0: off, often 0.05.",
    )
    zero_gate: bool = Field(
        False, description="Let every level module start at nothing, behind a learned gate, instead of with a jump."
    )
    ema: float = Field(
        0.995, ge=0, lt=1, description="Decay of the averaged weights that are saved; 0 saves the last ones."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32",
        description="Arithmetic of the frozen parts and of activations; what is trained stays in fp32. fp16 needs a GPU.",
    )
    lora_rank: int = Field(4, ge=1, description="Rank of the LoRA on all attention projections.")
    flip: bool = Field(True, description="Mirror training images at random; switch off where left and right matter.")
    checkpoint_every: int = Field(400, ge=1, description="Steps between checkpoints that a killed stage resumes from.")
    watch: Watch = Watch()
    contour: Contour = Contour()

    @property
    def used_levels(self) -> list[str]:
        """The levels that conditions are made of."""
        return self.levels[-1:] if self.variant == "flat" else self.levels

    @property
    def stage_names(self) -> list[str]:
        """The stages in the order in which they are trained; a foundation model needs no base stage."""
        base = ["base"] if self.backbone == "small" and self.base.steps else []
        return base + ([self.variant] if self.variant in ("random_level", "joint") else self.used_levels)

    @model_validator(mode="after")
    def _levels_are_ranks_in_order(self):
        wrong = [level for level in self.levels if level not in RANKS]
        if wrong:
            raise ValueError(f"levels: {', '.join(wrong)} is no level; choose from {', '.join(RANKS)}")
        if self.levels != sorted(set(self.levels), key=RANKS.index):
            raise ValueError(f"levels must run from coarse to fine without repeats, got {self.levels}")
        stray = [name for name in self.stages if name not in self.stage_names or name == "base"]
        if stray:
            raise ValueError(
                f"stages: {', '.join(map(repr, stray))} is no stage of this run; its stages are "
                f"{', '.join(name for name in self.stage_names if name != 'base')}. Correct the name, or diffusion.levels and "
                "diffusion.variant."
            )
        return self

    @model_validator(mode="after")
    def _something_learns_to_draw(self):
        if self.backbone == "small" and not self.base.steps:
            first = self.stage_names[0]
            own = self.stages.get(first)
            if ((own and own.trainable) or self.trainable) != "full":
                raise ValueError(
                    f"base.steps is 0, so that stage {first!r} starts from a random denoiser, and has to train it whole: "
                    "set trainable to full, or give the base some steps"
                )
        return self
