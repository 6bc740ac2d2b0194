"""Section `classification`: the classifiers that are compared."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section


class Judge(Section):
    """The classifier that names generated images: trained on the reserve split, used for nothing else."""

    epochs: int = Field(20, ge=1, description="Passes over the reserve split.")


class Classification(Section):
    """Arms x seeds. An arm is a training set: `real`, `real-equal-steps`, `real+<method>` or `random-drop+<method>`."""

    model: str = Field(
        "test_resnet",
        description="Any timm model. `test_resnet` is timm's smallest ResNet (0.4 million weights); `resnet10t` has 5 million "
        "and takes six times as long at 32 px; a pretrained model wants `weights` and a larger `image_size`.",
    )
    weights: str = Field("", description="Local .safetensors for the model, in timm layout; empty trains from scratch.")
    arms: list[str] = Field(
        ["real", "real-equal-steps", "real+cfg", "real+taxadiffusion", "real+higfa", "real+dig_zsl", "real+sgid"],
        description="Training sets. Every arm but `real` makes the same number of steps; `real-equal-steps` is the control. "
        "`random-drop+<method>` drops as many images a species as the filter did, at random.",
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
    augmentation: Literal["none", "standard"] = Field(
        "standard", description="`standard`: flip, shift, scale and brightness."
    )
    judge: Judge = Judge()

    @model_validator(mode="after")
    def _arms_are_well_formed(self):
        for arm in self.arms:
            prefix, plus, method = arm.partition("+")
            if arm not in ("real", "real-equal-steps") and not (prefix in ("real", "random-drop") and plus and method):
                raise ValueError(
                    f"arms: {arm!r} is no arm; use real, real-equal-steps, real+<method> or random-drop+<method>"
                )
        if len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms must not repeat, got {self.arms}")
        return self
