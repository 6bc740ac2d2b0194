"""Section `classification`: the classifiers that are compared."""

from math import inf
from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section

HUB = "hub"
"""`weights` of a model that is to have those that timm publishes."""
OPEN_CLIP = "open_clip:"


def check_model(model: str, weights: str, training: str) -> None:
    """Raises ValueError where a model's weights are given twice, or not at all and yet it is not to be trained."""
    if ":" in model and weights:
        raise ValueError(f"model {model!r} brings its weights, and weights are {weights!r}; leave them empty")
    if training == "probe" and not weights and ":" not in model:
        raise ValueError(
            f"training 'probe' trains the head alone, and model {model!r} without weights has random ones; give weights "
            f"({HUB!r} or a file), a model that brings them (hf-hub:, local-dir:, open_clip:), or training 'full'"
        )
    if training == "zero_shot" and not model.startswith(OPEN_CLIP):
        raise ValueError(
            f"training 'zero_shot' asks an image-text model, and model {model!r} is none; name one as open_clip:<model>"
        )


class Own(Section):
    """A classifier beside the compared ones: like them, unless it has a model of its own."""

    model: str = Field(
        "",
        description="A model of its own, so that it stays what it is whatever is compared; empty: that of the compared "
        "classifiers, with all their settings. What is not said here, as augmentation and weight decay, then is the default of "
        "section classification, whatever is set there.",
    )
    weights: str = Field("", description="Of `model`, where it is given, as in section classification.")
    image_size: int = Field(32, ge=16, description="Of `model`, where it is given.")
    training: Literal["full", "probe"] = Field("full", description="Of `model`, where it is given.")
    learning_rate: float = Field(
        4e-3, gt=0, description="Of `model`, where it is given; a pretrained one that is trained in `full` wants less."
    )

    @model_validator(mode="after")
    def _all_is_said_of_a_model(self):
        if self.model:
            check_model(self.model, self.weights, self.training)
            return self
        for name in OWN:
            value = getattr(self, name)
            if value != Own.model_fields[name].default:
                raise ValueError(
                    f"{name} is {value!r} and model is empty; name the model that it is of, or leave it out to have that "
                    "of section classification"
                )
        return self


OWN = ("weights", "image_size", "training", "learning_rate")
"""What is said of a model of its own, beside its name."""


class Judge(Own):
    """The classifier that names generated images: trained on the reserve split, used for nothing else."""

    epochs: int = Field(20, ge=1, description="Passes over the reserve split.")


ALONE = ("real", "real-equal-steps", "strong-augmentation", "real-duplicated", "balanced", "logit-adjusted")
WITH_METHOD = ("real", "random-drop", "label-shuffled", "synthetic")
"""Arms of real images alone, and what may stand before the + of the others."""


class Strong(Section):
    """What `augmentation: strong`, and the arm `strong-augmentation`, do beside `standard`."""

    operations: int = Field(
        2, ge=0, description="Operations of RandAugment an image, each done with probability 1/2; 0 is none."
    )
    magnitude: int = Field(9, ge=0, le=9, description="Strength of these operations. Higher spoils small pictures.")
    mixup_alpha: float = Field(
        0.2, ge=0, description="MixUp: both parameters of the Beta distribution of a blend's share; 0 is no MixUp."
    )
    cutmix_alpha: float = Field(1.0, ge=0, description="CutMix: the same of the area that is pasted; 0 is no CutMix.")
    blend_probability: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the steps whose images are blended, by MixUp or CutMix, each as likely. Short trainings from "
        "scratch want it low.",
    )


class Mixing(Section):
    """How arms with a method's images beside the real ones mix the two. The number of steps is the same for all."""

    policy: Literal["add", "replace", "weight", "pretrain", "auto"] = Field(
        "add",
        description="`add`: all in one pool. `replace`: a real image gives way to a synthetic one of its species with "
        "`probability`. `weight`: as `add`, synthetic images having this `weight` in the loss. `pretrain`: a `share` of the "
        "steps on synthetic images alone, then real ones alone. `auto`: each of `candidates`, and validation chooses.",
    )
    ratio: float = Field(
        0.0, ge=0, description="`add`: synthetic images a pass for each real one, at most; 0 takes all."
    )
    probability: float = Field(
        0.3, ge=0, le=1, description="`replace`: 0 is real images alone, 1 synthetic ones alone where there are any."
    )
    weight: float = Field(0.5, gt=0, description="`weight`: of a synthetic image, where a real one weighs 1.")
    share: float = Field(
        0.5, gt=0, lt=1, description="`pretrain`: of the steps. Both parts warm up and decay on their own."
    )
    candidates: list[str] = Field(
        ["add:0", "replace:0.3", "weight:0.5", "pretrain:0.5"],
        min_length=1,
        description="`auto`: what is tried, each a policy and its number. An arm takes as many times as long as there are.",
    )
    learning_rate_factors: list[float] = Field(
        [1.0, 0.5, 2.0, 0.25],
        min_length=1,
        description="`auto`: what arms that have nothing to mix try instead, as many as there are `candidates`, so that all "
        "arms have the same number of trials.",
    )

    @model_validator(mode="after")
    def _candidates_are_mixings(self):
        for candidate in self.candidates:
            policy, _, number = candidate.partition(":")
            fits = {
                "add": lambda x: 0 <= x < inf,
                "replace": lambda x: 0 <= x <= 1,
                "weight": lambda x: 0 < x < inf,
                "pretrain": lambda x: 0 < x < 1,
            }
            try:
                right = fits[policy](float(number))
            except (KeyError, ValueError):
                right = False
            if not right:
                raise ValueError(
                    f"candidates: {candidate!r} is no mixing; write add:<0 or more>, replace:<0 to 1>, weight:<above 0> "
                    "or pretrain:<between 0 and 1>"
                )
        for name in ("candidates", "learning_rate_factors"):
            if len(set(getattr(self, name))) != len(getattr(self, name)):
                raise ValueError(f"{name} must not repeat, got {getattr(self, name)}")
        if min(self.learning_rate_factors) <= 0:
            raise ValueError(f"learning_rate_factors must be above 0, got {self.learning_rate_factors}")
        if self.policy == "auto" and len(self.candidates) != len(self.learning_rate_factors):
            raise ValueError(
                f"{len(self.candidates)} candidates and {len(self.learning_rate_factors)} learning_rate_factors: every arm "
                "must have as many trials, so give as many of the one as of the other"
            )
        return self


class Probe(Section):
    """`training: probe`: the head alone is trained, on features of the frozen model that are computed once and kept."""

    views: int = Field(
        4,
        ge=0,
        description="Augmented looks at each training image besides the image itself; each costs one pass, once.",
    )
    weight_decay: list[float] = Field(
        [1.0, 0.1, 0.01, 0.001],
        min_length=1,
        description="Of the head, on standardised features; all above 0. Validation chooses.",
    )

    @model_validator(mode="after")
    def _decays_are_above_zero(self):
        if min(self.weight_decay) <= 0:
            raise ValueError(f"weight_decay must be above 0, got {self.weight_decay}")
        return self


class Classification(Section):
    """Arms x seeds. An arm is a training set, real images alone or with a method's, and how it is learned."""

    model: str = Field(
        "test_resnet",
        description="Any timm model by its name, `hf-hub:<owner>/<name>` or `local-dir:<folder>`; or `open_clip:<model>`, the image "
        "tower of one. `test_resnet` is timm's smallest ResNet (0.4 million weights); `resnet10t` has 5 million and takes six "
        "times as long at 32 px; a pretrained model wants `weights` and a larger `image_size`.",
    )
    weights: str = Field(
        "",
        description="Local .safetensors for the model, in timm layout; `hub` takes those that timm publishes; empty trains "
        "from scratch.",
    )
    training: Literal["full", "probe", "zero_shot"] = Field(
        "full",
        description="`full`: all weights. `probe`: the head alone, on features of the frozen model; wants a pretrained model "
        "and takes seconds. `zero_shot`: an open_clip model names images by sentences, untrained; arm `real` only.",
    )
    prompts: Literal["name", "taxonomic", "caption"] = Field(
        "taxonomic", description="`zero_shot`: what is said of a species. `taxonomic`: all its names, as for BioCLIP."
    )
    arms: list[str] = Field(
        [
            "real",
            "real-equal-steps",
            "real-duplicated",
            "strong-augmentation",
            "balanced",
            "real+*",
            "label-shuffled+*",
        ],
        description="Training sets; `*` stands for every one of `guidance.methods`. Every arm but `real` makes the same number of steps. Controls with real images alone: "
        "`real-equal-steps`; `strong-augmentation`, which is RandAugment and CutMix or MixUp; `real-duplicated`, real images "
        "in the place of as many synthetic ones; `balanced`, every species equally often; `logit-adjusted`, the loss "
        "balanced instead. With a method's images: `real+<method>`; `random-drop+<method>` drops as many images a species "
        "as the filter did, at random; `label-shuffled+<method>` has them under each other's labels, and must not help; "
        "`synthetic+<method>` has no real images.",
    )
    seeds: int = Field(
        3, ge=1, description="Repeats of every arm, paired across arms. Fewer than 5 rarely settles anything."
    )
    epochs: int = Field(
        15, ge=1, description="Passes of the `real` arm; the others make epochs x (real + synthetic) / batch steps."
    )
    batch_size: int = Field(32, ge=1, description="Images a step.")
    learning_rate: float = Field(4e-3, gt=0, description="AdamW, warmed up, then cosine.")
    weight_decay: float = Field(5e-2, ge=0, description="AdamW weight decay.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of the target spread over all classes.")
    image_size: int = Field(
        32, ge=16, description="Side in px at which the classifier looks; images are resized to it."
    )
    augmentation: Literal["none", "standard", "strong"] = Field(
        "standard",
        description="Of all arms. `standard`: flip, shift, scale and brightness. `strong`: RandAugment before, CutMix or MixUp "
        "after that, which takes longer and mostly helps long trainings.",
    )
    strong: Strong = Strong()
    mixing: Mixing = Mixing()
    probe: Probe = Probe()
    judge: Judge = Judge()

    @model_validator(mode="after")
    def _arms_are_well_formed(self):
        for arm in self.arms:
            kind, _, method = arm.partition("+")
            if arm not in ALONE and not (kind in WITH_METHOD and method and (method == "*" or "*" not in method)):
                grammar = ", ".join([*ALONE, *(f"{kind}+<method>" for kind in WITH_METHOD)])
                raise ValueError(f"arms: {arm!r} is no arm; use {grammar}")
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms must not repeat, got {self.arms}")
        if self.training == "zero_shot" and self.arms != ["real"]:
            raise ValueError(f"training 'zero_shot' learns from no images, so arms must be [real], got {self.arms}")
        check_model(self.model, self.weights, self.training)
        return self
