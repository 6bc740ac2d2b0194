"""Arms: which images a compared classifier is trained on, and for how many steps.

An arm is named in `classification.arms`. Real images alone: `real`, and its controls, each of which says what
longer or other training with the same images is worth. With a method's images: `real+<method>`, and two controls of
the method's own: `random-drop+<method>` has as many images a species as the filter kept, drawn at random, and so
tells what choosing them was worth; `label-shuffled+<method>` has the very images that were kept under each other's
labels, and must not help. `synthetic+<method>` learns from a method's images alone and is tested on real ones.

All arms but `real` make the same number of steps, whatever a filter dropped, so that a difference between them
cannot come from longer training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from taxaforge.errors import TaxaforgeError

ALONE = ("real", "real-equal-steps", "strong-augmentation", "real-duplicated", "balanced", "logit-adjusted")
"""Arms that look at real images alone."""
PACKS = {"real": "kept", "random-drop": "control", "label-shuffled": "kept", "synthetic": "kept"}
"""What stands before the + of an arm -> name of the pack of the method's images that it takes."""
ARMS = ", ".join([*ALONE, *(f"{kind}+<method>" for kind in PACKS)])
"""All that `classification.arms` may name, in words."""


@dataclass(frozen=True)
class Arm:
    """method: whose synthetic images it takes, None for real ones alone. pack: which of them, `kept` or `control`,
    None for real ones alone. long: the common, longer training."""

    name: str
    method: str | None
    pack: str | None
    long: bool

    @property
    def kind(self) -> str:
        """The name without its method: one of ALONE, or of PACKS."""
        return self.name.partition("+")[0]

    @property
    def mixed(self) -> bool:
        """Whether real and synthetic images are learned together, so that there is something to mix."""
        return self.method is not None and self.kind != "synthetic"


def parse(name: str) -> Arm:
    """The arm behind a name.

    >>> parse("real+cfg").method
    'cfg'
    >>> parse("random-drop+cfg").pack
    'control'
    """
    kind, _, method = name.partition("+")
    if name in ALONE:
        return Arm(name, None, None, long=name != "real")
    if kind in PACKS and method:
        return Arm(name, method, PACKS[kind], long=True)
    raise TaxaforgeError(f"{name!r} is no arm. Use {ARMS} in classification.arms.")


def steps(arm: Arm, n_real: int, budget: Mapping[str, int] | None, epochs: int, batch_size: int) -> int:
    """Optimiser steps of an arm.

    Args:
        n_real: real training images.
        budget: species -> synthetic images *asked for* (not: kept by the filter); only `real` needs none.
    Returns: epochs x batches of the real images, or of real and asked-for synthetic images.

    >>> steps(parse("real"), 64, None, 10, 32), steps(parse("real-equal-steps"), 64, {"a": 96, "b": 0}, 10, 32)
    (20, 50)
    """
    if not arm.long:
        return epochs * ceil(n_real / batch_size)
    if budget is None:
        raise TaxaforgeError(
            f"Arm {arm.name!r} needs the synthetic images asked for of each species; give results/images/allocation.json."
        )
    return epochs * ceil((n_real + sum(budget.values())) / batch_size)
