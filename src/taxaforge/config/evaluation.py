"""Section `evaluation`: what counts as help."""

import re
from pathlib import PurePath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from taxaforge.config.base import Section

OWN_EXTRACTORS = ("judge", "semantics")
"""Models for image metrics that every run has."""


class Extractor(Section):
    """A further model for image metrics; its `kind` is `timm`, `inception` (that of FID), `open_clip` or `lpips`."""

    kind: Literal["timm", "inception", "open_clip", "lpips"]
    model: str = Field(
        "",
        description="timm: its name. open_clip: `hf-hub:<id>` or `local-dir:<folder>`. lpips: `alex` or `vgg`. inception: none.",
    )
    weights: str = Field(
        "",
        description="Local .safetensors, or `hf-hub:<owner>/<model>/<file>` for inception and lpips, which need one. Empty for "
        "timm takes what timm publishes. Pickles are refused.",
    )
    size: int = Field(0, ge=0, description="timm: side in px at which it looks; 0 is its own.")

    @model_validator(mode="after")
    def _is_complete(self):
        if self.kind in ("timm", "open_clip") and not self.model:
            raise ValueError(f"kind {self.kind!r} needs a model, as {self.kind} names it")
        if self.kind == "open_clip" and not self.model.startswith(("hf-hub:", "local-dir:")):
            raise ValueError(f"model {self.model!r} must be hf-hub:<id> or local-dir:<folder>")
        if self.kind == "lpips" and self.model not in ("alex", "vgg"):
            raise ValueError(f"model {self.model!r} must be alex or vgg, the network that LPIPS stands on")
        if self.kind in ("inception", "lpips") and not self.weights:
            raise ValueError(
                f"kind {self.kind!r} needs weights, a .safetensors file; docs/image-metrics.md says how to make it from "
                "what is published"
            )
        if self.weights and not self.weights.endswith(".safetensors"):
            raise ValueError(
                f"weights {self.weights!r} are no .safetensors file. Pickles can run code and are never loaded; "
                "docs/image-metrics.md has the line that converts them"
            )
        if self.weights and self.kind == "open_clip":
            raise ValueError("kind 'open_clip' finds its weights in its folder or on the hub; leave weights empty")
        return self


class Evaluation(Section):
    """Fixed before the run; anything else that is read off the results is exploratory."""

    delta_points: float = Field(
        1.0, gt=0, description="Smallest gain in macro accuracy, in percentage points, that is worth using."
    )
    delta_tier_points: float = Field(
        1.0,
        gt=0,
        description="The margin of a tier (species with many, a medium number of or few training images): the smallest gain "
        "worth using there, and the largest loss that a method may still hide there and be adopted. Tiers have fewer test "
        "images, so a small margin asks for many seeds.",
    )
    alpha: float = Field(
        0.05, gt=0, lt=0.5, description="Error rate of intervals (1 - alpha) and of Holm-corrected tests."
    )
    beside: list[str] = Field(
        [],
        description="`results` folders of finished runs that differ from this one in `protocol.draw` alone: accuracy and comparisons "
        "then count draws of the training images, each with its own generator, instead of repeats on one of them.",
    )
    resamples: int = Field(
        1000,
        ge=0,
        description="Of the crossed bootstrap beside the intervals, a cross-check that decides nothing; 0 leaves it out. Fewer "
        "than 500 make its ends unsteady.",
    )
    neighbours: int = Field(5, ge=1, description="k of precision, recall, density and coverage.")
    floor_splits: int = Field(
        20, ge=2, description="Random real-against-real splits behind the floor of every image metric."
    )
    kid_subset: int = Field(
        0,
        ge=0,
        description="Images a subset where KID is to be the mean over 100 random subsets, as most papers have it (they take 1000). "
        "0 takes all images at once, which varies less.",
    )
    features: list[str] = Field(
        ["judge"],
        description="Models through which images are measured. `judge`, always among them: the run's own; `semantics`: its "
        "image-text model, which also says whether images fit their names; others by their name in `extractors`.",
    )
    extractors: dict[str, Extractor] = Field(
        {},
        description="Models by names of your own: `{effnet: {kind: timm, model: tf_efficientnet_lite0, weights: ...}}`, see "
        "docs/image-metrics.md.",
    )

    @field_validator("beside")
    @classmethod
    def _other_runs(cls, folders: list[str]) -> list[str]:
        named = [PurePath(folder).as_posix() for folder in folders]
        if "results" in named:
            raise ValueError("names 'results', which is this run itself. Name the results of other runs.")
        if repeated := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"names {', '.join(repeated)} more than once. Name each run once.")
        return folders

    @model_validator(mode="after")
    def _features_are_known(self):
        for name in self.extractors:
            if name in OWN_EXTRACTORS or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
                raise ValueError(
                    f"extractors: {name!r} cannot name a model; take letters, digits, _ and -, a letter first, and "
                    f"neither of {', '.join(OWN_EXTRACTORS)}"
                )
        known = (*OWN_EXTRACTORS, *self.extractors)
        wrong = [name for name in self.features if name not in known]
        if wrong:
            raise ValueError(
                f"features: {', '.join(map(repr, wrong))} is no model; choose from {', '.join(known)}, or add it to "
                "evaluation.extractors"
            )
        if "judge" not in self.features:
            raise ValueError(f"features: 'judge' must be among them, since verdicts quote it; got {self.features}")
        if len(set(self.features)) != len(self.features):
            raise ValueError(f"features must not repeat, got {self.features}")
        return self
