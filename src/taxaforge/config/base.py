"""What every section of the configuration shares."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Strict: an unknown key, a NaN or a wrong type is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""Darwin Core ranks, coarse to fine: the levels that a diffusion stage can stand on."""
