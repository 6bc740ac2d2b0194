"""Section `protocol`: how much the learner is given."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Protocol(Section):
    """The training support."""

    kind: Literal["few_shot", "full"] = Field(
        "few_shot",
        description="`few_shot`: `shots` training images a species; `full`: all that the other splits leave.",
    )
    shots: int = Field(24, ge=1, description="Training images a species for generator and classifiers in `few_shot`.")
