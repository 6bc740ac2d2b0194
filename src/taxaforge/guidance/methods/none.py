"""No guidance: what the generator draws of a species' lineage on its own, one pass a step. The baseline of all guidance."""

from collections.abc import Sequence

from taxaforge.guidance.methods.shared import labels
from taxaforge.guidance.recipe import Aids, Recipe
from taxaforge.guidance.terms import conditional
from taxaforge.guidance.worklist import Item

EVIDENCE = "standard"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    return Recipe(conditional(backbone.condition(labels(items, backbone), len(backbone.levels) - 1)))


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    return {"scale": 1.0}
