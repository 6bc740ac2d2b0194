"""Section `semantics`: the image-text model."""

from typing import Literal

from pydantic import Field

from taxaforge.config.base import Section


class Semantics(Section):
    """An open_clip model, trained in the run on the training split or loaded."""

    source: Literal["trained", "pretrained"] = Field(
        "trained",
        description="`trained`: small, on the training split and its taxonomic captions; `pretrained`: the model below.",
    )
    pretrained: str = Field(
        "",
        description="open_clip model: `hf-hub:<id>` or `local-dir:<folder>`, e.g. hf-hub:imageomics/bioclip. For `pretrained`.",
    )
    width: int = Field(
        128, ge=16, multiple_of=16, description="Width of the text tower and of the joint space, when trained."
    )
    layers: int = Field(2, ge=1, description="Layers of the text tower, when trained.")
    context_length: int = Field(
        12,
        ge=8,
        le=77,
        description="Tokens a caption, when trained; longer captions are cut. Each costs the generator time.",
    )
    steps: int = Field(150, ge=1, description="Training steps. Too few: the filter's scores are noise.")
    batch_size: int = Field(64, ge=2, description="Images a step; the contrastive loss compares them with each other.")
    learning_rate: float = Field(1e-3, gt=0, description="AdamW.")
