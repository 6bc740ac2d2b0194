"""Arms: which images a compared classifier is trained on, and for how many steps.

An arm is named in `classification.arms`: `real`, `real-equal-steps`, `real+<method>`, or
`random-drop+<method>`, which adds as many images a species as the filter kept, drawn at random, and
so tells what choosing them was worth. All arms but `real` make the same number of steps, whatever a
filter dropped, so that a difference between them cannot come from longer training.
"""

from dataclasses import dataclass
from math import ceil

from taxaforge.errors import TaxaforgeError

PACKS = {"real": "kept", "random-drop": "control"}
"""What stands before the + of an arm -> name of the pack of the method's images that joins the real ones."""


@dataclass(frozen=True)
class Arm:
    """method: whose synthetic images join the real ones, None for real alone. pack: which of them, `kept` or `control`,
    None for real alone. long: the common, longer training."""

    name: str
    method: str | None
    pack: str | None
    long: bool


def parse(name: str) -> Arm:
    """The arm behind a name.

    >>> parse("real+cfg").method
    'cfg'
    >>> parse("random-drop+cfg").pack
    'control'
    """
    if name == "real":
        return Arm(name, None, None, long=False)
    if name == "real-equal-steps":
        return Arm(name, None, None, long=True)
    prefix, _, method = name.partition("+")
    if prefix in PACKS and method:
        return Arm(name, method, PACKS[prefix], long=True)
    raise TaxaforgeError(
        f"{name!r} is no arm. Use real, real-equal-steps, real+<method> or random-drop+<method> in classification.arms."
    )


def steps(arm: Arm, n_real: int, n_classes: int, budget: int | None, epochs: int, batch_size: int) -> int:
    """Optimiser steps of an arm.

    Args:
        n_real: real training images.
        budget: synthetic images *asked for* a species (not: kept by the filter); only `real` needs none.
    Returns: epochs x batches of the real images, or of real and asked-for synthetic images.

    >>> steps(parse("real"), 288, 12, None, 10, 32), steps(parse("real-equal-steps"), 288, 12, 24, 10, 32)
    (90, 180)
    """
    if not arm.long:
        return epochs * ceil(n_real / batch_size)
    if budget is None:
        raise TaxaforgeError(
            f"Arm {arm.name!r} needs the number of synthetic images asked for a species; give guidance.images_per_species."
        )
    return epochs * ceil((n_real + budget * n_classes) / batch_size)
