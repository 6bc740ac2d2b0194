"""Section `split`: which images may be used for what."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Split(Section):
    """Sizes a species, filled in the order test, validation, training, reserve with whole observation groups.

    Where the last group does not fit, the rest of it is left unused, so that sizes are met exactly.
    """

    unit: Literal["group", "image"] = Field(
        "group",
        description="`group`: images of a species by one observer on one day, or near-duplicates, never lie in two splits. "
        "`image`: only for benchmarks that define it so; leakage.csv then counts what leaks.",
    )
    validation: int = Field(10, ge=1, description="Images a species for early stopping and tuning; never reported.")
    test: int = Field(30, ge=1, description="Images a species in the sealed test split; more gives narrower intervals.")
    reserve: int = Field(
        150,
        ge=0,
        description="Real images a species that no generator or compared classifier sees: they train the judge that names "
        "generated images and give the real-against-real floor. May be smaller where images are few.",
    )
