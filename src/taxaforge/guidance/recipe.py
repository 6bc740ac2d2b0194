"""What a method asks of the sampler for one batch, and what it may use to know it.

A method is a module under `methods/`, with

    EVIDENCE                                what the implementation rests on
    recipe(backbone, items, cfg, aids)      how these images are drawn
    notes(item, cfg, aids)                  what is known of an image before it is drawn
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.contour import Contour
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.prompts import Prompts
from taxaforge.guidance.terms import Correction, Outline, Term
from taxaforge.guidance.worklist import Item
from taxaforge.packs import Pack

if TYPE_CHECKING:  # most methods ask no classifier, and timm takes seconds to import
    from taxaforge.classification.model import Classifier


class CannotDraw(TaxaforgeError):
    """A method lacks what it needs for a species, or at all."""


@dataclass(frozen=True)
class Aids:
    """What a method may use beside the generator; None where its settings ask for no such thing.

    classes: records of classes.json. train: real training images. prompts: sentences of its own.
    contour: the generator's contour adapter. guide: a classifier of the training split.
    """

    classes: list[dict]
    train: Pack | None = None
    prompts: Prompts | None = None
    contour: Contour | None = None
    guide: "Classifier | None" = None

    @property
    def species(self) -> list[str]:
        """Class order of the run."""
        return [record["species"] for record in self.classes]


@dataclass(frozen=True)
class Start:
    """Images to start from instead of noise (SDEdit, arXiv:2108.01073): pixels (B, H, W, 3) uint8, strength (B,) in 0..1."""

    pixels: np.ndarray
    strength: Tensor


@dataclass(frozen=True)
class Recipe:
    """How a batch is drawn.

    trace: asked once the batch is drawn; of each image plain facts, such as its strengths step by step.
    """

    term: Term
    start: Start | None = None
    outline: Outline | None = None
    correction: Correction | None = None
    trace: Callable[[], list[dict]] | None = None


class Method(Protocol):
    """A module under `methods/`.

    EVIDENCE says what the implementation rests on and is printed beside every result: `code` (the
    authors' code was read), `note` (a third party's note of the paper), `standard` (textbook),
    `reconstruction` (ours; a result says nothing about the published method).

    `notes` gives columns of guidance.schema.IMAGES: prompt, scale, strength, source, other, share; what it
    leaves out stays empty, a prompt is the lineage.
    """

    EVIDENCE: str

    def recipe(self, backbone: Backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe: ...

    def notes(self, item: Item, cfg: dict, aids: Aids) -> dict: ...
