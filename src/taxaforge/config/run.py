"""Section `run`: what the run is called and where its randomness starts."""

from pydantic import Field

from taxaforge.config.base import Section


class Run(Section):
    """The run as a whole."""

    name: str = Field("taxaforge", description="Title of the report and name of the run in tracking.")
    seed: int = Field(
        0,
        ge=0,
        description="Root of every seed: another value is another replicate of the whole run. Reruns everything.",
    )
