"""Section `filter`: which generated images are kept. Each check stands alone and 0 turns it off."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section

REPLACED = {"method": "semantics.top_k (0 is off)", "top_k": "semantics.top_k"}
"""Keys of earlier versions -> what says the same today."""


class SemanticCheck(Section):
    """The run's image-text model must find the species."""

    top_k: int = Field(
        0,
        ge=0,
        description="Ranks that count as agreement, 0 is off. Lower keeps fewer images; as many as there are species "
        "scores all and drops none. With `siblings` a species has few rivals, so only 1 or 2 ask for something.",
    )
    among: Literal["all", "siblings"] = Field(
        "all",
        description="Names that an image may be taken for: of all species, or of those in the same genus, or the next "
        "coarser rank in which there are others.",
    )


class ClassifierCheck(Section):
    """The guiding classifier, trained on the training split, must find the species. It is never the judge."""

    top_k: int = Field(0, ge=0, description="Ranks that count as agreement, 0 is off. Lower keeps fewer images.")


class Filter(Section):
    """Scores of the checks that are on, and a decision, for every image, kept or not. The first check that fails is its reason."""

    min_contrast: float = Field(
        4.0, ge=0, description="Standard deviation of grey values below which an image is blank and dropped, 0 is off."
    )
    max_clipped: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of colour values at 0 or 255 above which an image is burnt out and dropped, 0 is off. "
        "Guidance that is too strong does this; so does a white background, so look at real images first.",
    )
    near_copy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Cosine similarity to the nearest training image, in the image-text model's space, above which an "
        "image is a copy and dropped; 0 drops only what equals a training image in every pixel. Models differ: choose it "
        "so that the logged `near_copy_real`, the share of real photographs that it would drop, stays small.",
    )
    near_repeat: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Cosine similarity, in the same space, to an earlier image of the same species and method above "
        "which an image adds nothing and is dropped, 0 is off.",
    )
    semantics: SemanticCheck = SemanticCheck()
    classifier: ClassifierCheck = ClassifierCheck()

    @model_validator(mode="before")
    @classmethod
    def _earlier_keys_are_answered(cls, given):
        old = [f"{key} is now {new}" for key, new in REPLACED.items() if isinstance(given, dict) and key in given]
        if old:
            raise ValueError(
                f"{'; '.join(old)}. `method: semantics, top_k: 3` reads `semantics: {{top_k: 3}}`; for `method: none` "
                "leave both out"
            )
        return given
