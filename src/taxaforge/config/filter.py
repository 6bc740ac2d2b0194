"""Section `filter`: which generated images are kept."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Filter(Section):
    """Every image keeps its scores and its decision, kept or not."""

    method: Literal["none", "semantics"] = Field(
        "none",
        description="`none`: only blank images are dropped; `semantics`: also those whose species is not among the "
        "top_k names that the image-text model finds.",
    )
    top_k: int = Field(3, ge=1, description="Ranks that count as agreement, for `semantics`. Lower keeps fewer images.")
    min_contrast: float = Field(
        4.0, ge=0, description="Standard deviation of grey values below which an image is blank and dropped."
    )
