"""Section `protocol`: how much the learner is given, and of which species."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section


class Protocol(Section):
    """The training support."""

    kind: Literal["few_shot", "full", "zero_shot"] = Field(
        "few_shot",
        description="`few_shot`: `shots` training images a species; `full`: all that the other splits leave; `zero_shot`: some "
        "species have no training image at all (unseen), and how well they are named is measured beside the others.",
    )
    shots: int = Field(
        24,
        ge=1,
        description="Training images a species for generator and classifiers, in `few_shot` and for `seen: few_shot`.",
    )
    seen: Literal["few_shot", "full"] = Field(
        "few_shot",
        description="For `zero_shot`: training images of the seen species, `shots` each or all that are left.",
    )
    unseen: list[str] = Field(
        [],
        description="For `zero_shot`: accepted names of the species that are only tested. Empty: `unseen_share` of them is drawn.",
    )
    unseen_share: float = Field(
        0.25, gt=0, lt=1, description="For `zero_shot`: share of the species to draw as unseen; at least two are."
    )
    unseen_block: Literal["species", "genus", "family", "order"] = Field(
        "species",
        description="For `zero_shot`: what is drawn whole. With `genus` or `family` an unseen species has no near relative among "
        "the seen ones, which is harder; a careful report shows both.",
    )
    trial_share: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="For `zero_shot`: share of the other species that play unseen on validation images and so choose the calibration; "
        "at least two where there are enough species, else one. They are neither trained on nor tested.",
    )

    @model_validator(mode="after")
    def _unseen_species_fit_the_protocol(self):
        if self.unseen and self.kind != "zero_shot":
            raise ValueError(
                f"protocol.unseen names species, but protocol.kind is {self.kind!r}, which trains on every species. "
                "Set protocol.kind to 'zero_shot', or leave protocol.unseen empty."
            )
        if repeated := sorted({name for name in self.unseen if self.unseen.count(name) > 1}):
            raise ValueError(f"protocol.unseen names {', '.join(repeated)} more than once. Name each species once.")
        if len(self.unseen) == 1:
            raise ValueError(
                "protocol.unseen names one species; among one there is nothing to tell apart. Name two or more."
            )
        return self
