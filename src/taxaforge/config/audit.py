"""Section `audit`: when images count as copied, and what is let pass."""

from pydantic import Field

from taxaforge.config.base import Section


class Audit(Section):
    """Leaks between splits, copies of training images among a method's images, and what those were made from.

    Whoever fails is not to be used. Fixed before the run, like the margins of `evaluation`.
    """

    enabled: bool = Field(True, description="Without audits a verdict says nothing about copies and leaks.")
    false_alarms: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability with which an audit may call clean images copies. Lower: fewer copies are found.",
    )
    replicas: float = Field(
        0.01, ge=0, lt=1, description="Share of a method's images that may be copies of training images of its species."
    )
    leaked: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of a set's images that may have a copy or crop in another split. Collections from the web hold "
        "some; leaked_pairs.csv names them, to be taken out. Identical pixels and shared occasions are never let pass.",
    )
