"""Section `split`: which images may be used for what."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Split(Section):
    """Sizes a species, filled in the order test, validation, training, reserve with whole observation groups.

    Where training takes what is left (protocols `full` and `long_tail`), it comes last.
    Where the last group does not fit, the rest of it is left unused, so that sizes are met exactly.
    """

    unit: Literal["event", "observer", "occurrence", "time", "spatial", "official", "image"] = Field(
        "event",
        description="What must not lie in two splits, besides near-duplicates and pictures of one occurrence. `event`: a species "
        "by one observer on one day. `observer`: everything by one observer. `occurrence`: nothing more. `time`: as `event`, and "
        "test is what was seen from `cut` on. `spatial`: as `event`, and everything in one square of `block_km`. `official`: the "
        "dataset's own test images, and training images tied to one of them are left unused. `image`: no ties at all, only "
        "for benchmarks that define it so; leakage.csv then counts what leaks.",
    )
    cut: str = Field("", description="For `time`: ISO date of the first day of test, such as 2023-01-01.")
    block_km: float = Field(50.0, gt=0, description="For `spatial`: side of a square in km.")
    previous: str = Field(
        "",
        description="An earlier run's splits.parquet or published metadata.csv, whose images keep their split while the "
        "collection grows: a test set that has been reported stays the test set.",
    )
    short: Literal["stop", "train"] = Field(
        "stop",
        description="A species that cannot fill its splits: `stop` the run, or give all its images to `train` and leave it out "
        "of every test; tail.csv lists it.",
    )
    validation: int = Field(10, ge=1, description="Images a species for early stopping and tuning; never reported.")
    test: int = Field(30, ge=1, description="Images a species in the sealed test split; more gives narrower intervals.")
    reserve: int = Field(
        150,
        ge=0,
        description="Real images a species that no generator or compared classifier sees: they train the judge that names "
        "generated images and give the real-against-real floor. May be smaller where images are few.",
    )
