"""Classifier-free guidance: towards the species' lineage, away from the null lineage.

Ho & Salimans 2022 (arXiv:2207.12598). The null lineage goes through the level modules and is
trained with `diffusion.null_probability`; at probability 0 this method guides away from noise.
"""

from collections.abc import Sequence

from taxaforge.guidance.methods.shared import constant, labels, within
from taxaforge.guidance.recipe import Aids, Recipe
from taxaforge.guidance.terms import contrast, paced
from taxaforge.guidance.worklist import Item

EVIDENCE = "standard"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale`, `interval` (first, last) in u, `course`."""
    fine = backbone.condition(labels(items, backbone), len(backbone.levels) - 1)
    scale = paced(constant(cfg["scale"], fine), cfg["course"])
    return Recipe(within(cfg["interval"], contrast(fine, backbone.null(len(items)), scale), fine))


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    return {"scale": cfg["scale"]}
