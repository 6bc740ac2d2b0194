"""Section `protocol`: how much the learner is given, and of which species."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section


class Protocol(Section):
    """The training support."""

    kind: Literal["few_shot", "full", "long_tail", "zero_shot"] = Field(
        "few_shot",
        description="`few_shot`: `shots` training images a species; `full`: all that the other splits leave; `long_tail`: from "
        "many to few, by `imbalance`, with test, validation and reserve as even as ever; `zero_shot`: some "
        "species have no training image at all (unseen), and how well they are named is measured beside the others.",
    )
    shots: int = Field(
        24,
        ge=1,
        description="Training images a species for generator and classifiers, in `few_shot` and for `seen: few_shot`; those of the "
        "first species for `long_tail`.",
    )
    draw: int = Field(
        0,
        ge=0,
        description="Which draw of the training images, among those that test, validation and reserve leave and which are the "
        "same in every draw. Runs of several draws, each with its own generator, are joined by `evaluation.beside`: what "
        "holds over them holds for more than one support. A large `split.reserve` leaves draws little to differ in.",
    )
    imbalance: float = Field(
        50.0,
        ge=1,
        description="For `long_tail`: training images of the first species over those of the last; between them the "
        "number falls by the same factor from species to species. At least one each.",
    )
    order: Literal["drawn", "natural"] = Field(
        "drawn",
        description="For `long_tail`: the order of the species, `drawn` by the seed or `natural`: most images first. The latter "
        "keeps the tail that there is, the former tells rare from hard to tell apart.",
    )
    head: Literal["shots", "all"] = Field(
        "shots",
        description="For `long_tail`: training images of the first species, `shots` or all that it has left. Species with fewer "
        "than their place asks for train on what they have; tail.csv lists them.",
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
    def _there_is_something_to_draw(self):
        kind = self.seen if self.kind == "zero_shot" else self.kind
        if self.draw and kind == "full":
            raise ValueError(
                f"protocol.draw is {self.draw}, but 'full' trains on every image that the other splits leave, so all draws are "
                "the same. Set protocol.kind (or protocol.seen) to 'few_shot', or protocol.draw to 0."
            )
        return self

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
