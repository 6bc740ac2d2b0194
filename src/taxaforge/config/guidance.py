"""Section `guidance`: which methods draw how many images, and how strongly each follows its condition."""

from typing import Literal

from pydantic import Field, model_validator

from taxaforge.config.base import Section


class Cfg(Section):
    """Classifier-free guidance: the species' lineage against the null lineage (arXiv:2207.12598)."""

    scale: float = Field(
        3.0, ge=0, description="1 is the condition alone; higher follows the species more and varies less."
    )


class TaxaDiffusion(Section):
    """The species' lineage against a coarser one (TaxaDiffusion, arXiv:2506.01923)."""

    scale: float = Field(3.0, ge=0, description="1 is the condition alone; the paper's w is scale - 1.")
    weak: Literal["coarsest", "parent"] = Field(
        "coarsest", description="Guide away from the coarsest level, as published, or from the species' parent level."
    )
    interval: tuple[float, float] = Field(
        (0.0, 1.0),
        description="Part of the denoising, 0 noise to 1 image, in which guidance acts; outside it the condition alone.",
    )

    @model_validator(mode="after")
    def _interval_runs_forward(self):
        first, last = self.interval
        if not 0 <= first < last <= 1:
            raise ValueError(f"interval must satisfy 0 <= first < last <= 1, got {list(self.interval)}")
        return self


METHODS = {"cfg": Cfg, "taxadiffusion": TaxaDiffusion}
"""Every guidance method by name; a method's settings are the section of the same name."""


class Guidance(Section):
    """Generation."""

    methods: list[str] = Field(
        ["cfg", "taxadiffusion"], description=f"Which methods draw: any of {', '.join(METHODS)}."
    )
    images_per_species: int = Field(24, ge=1, description="Images each method draws a species.")
    steps: int = Field(25, ge=1, le=1000, description="Denoising steps an image; fewer is faster and coarser.")
    shards: int = Field(
        2,
        ge=1,
        description="Jobs a method is cut into. Changing it regenerates, but not other images. More than 8 help only "
        "beyond 2048 images a method; fewer images leave some without work.",
    )
    cfg: Cfg = Cfg()
    taxadiffusion: TaxaDiffusion = TaxaDiffusion()

    @model_validator(mode="after")
    def _methods_are_known(self):
        wrong = [name for name in self.methods if name not in METHODS]
        if wrong:
            raise ValueError(f"methods: {', '.join(map(repr, wrong))} is no method; choose from {', '.join(METHODS)}")
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"methods must not repeat, got {self.methods}")
        return self
