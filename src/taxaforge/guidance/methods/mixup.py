"""Diff-Mix: a real image of one species, drawn part of the way towards another; the label is shared between them.

Wang et al. 2024 (arXiv:2403.19600) from its released code; the label's formula is as recalled from there. Of an
image at strength s the species it was drawn towards gets s**gamma, the one it was drawn from the rest. Not here:
the fine-tuned tokens that the paper names classes with; our generator reads lineages.
"""

from collections.abc import Sequence

import torch

from taxaforge.guidance.methods.shared import constant, labels
from taxaforge.guidance.recipe import Aids, Recipe, Start
from taxaforge.guidance.sources import another, strengths
from taxaforge.guidance.terms import contrast
from taxaforge.guidance.worklist import Item

EVIDENCE = "code"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale`, `strength` (a list of 0..1), `gamma`, `partner` (any | sibling), `name`."""
    target = backbone.condition(labels(items, backbone), len(backbone.levels) - 1)
    start = Start(
        aids.train.pixels[another(items, aids, cfg)],
        torch.tensor(strengths(items, cfg["strength"]), dtype=torch.float64),
    )
    return Recipe(contrast(target, backbone.null(len(items)), constant(cfg["scale"], target)), start)


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    place, strength = another([item], aids, cfg)[0], strengths([item], cfg["strength"])[0]
    return {
        "scale": cfg["scale"],
        "strength": strength,
        "source": aids.train.identifier[place],
        "other": aids.species[aids.train.label[place]],
        "share": strength ** cfg["gamma"],
    }
