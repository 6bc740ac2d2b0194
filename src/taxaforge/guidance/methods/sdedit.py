"""SDEdit: a real image of the species, noised part of the way and drawn anew under its lineage.

Meng et al. 2022 (arXiv:2108.01073). Several strengths are drawn from image by image, as in DA-Fusion
(arXiv:2302.07944). At strength 0.3 a variant is nearly the original, at 1 only its broad layout is left.
"""

from collections.abc import Sequence

import torch

from taxaforge.guidance.methods.shared import constant, labels
from taxaforge.guidance.recipe import Aids, Recipe, Start
from taxaforge.guidance.sources import own, strengths
from taxaforge.guidance.terms import contrast
from taxaforge.guidance.worklist import Item

EVIDENCE = "standard"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale`, `strength` (a list of 0..1), `seed`, `name`. Raises: CannotDraw, a species without images."""
    fine = backbone.condition(labels(items, backbone), len(backbone.levels) - 1)
    start = Start(
        aids.train.pixels[own(items, aids, cfg)], torch.tensor(strengths(items, cfg["strength"]), dtype=torch.float64)
    )
    return Recipe(contrast(fine, backbone.null(len(items)), constant(cfg["scale"], fine)), start)


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    source = aids.train.identifier[own([item], aids, cfg)[0]]
    return {"scale": cfg["scale"], "strength": strengths([item], cfg["strength"])[0], "source": source}
