"""DIG-ZSL: a species is asked for by its name and a token of its own, learned so that its images are recognised.

arXiv:2412.17219, equations from a note on the paper [note]; loop details are ours [recon]: the condition is the whole
lineage with "<level>: S* <name>" on its finest level, guided away from the null lineage as the published generator is
from its empty prompt. Tokens are learned by `guidance.tokens`, before anything is drawn.
"""

from collections.abc import Sequence

from taxaforge.guidance.methods.shared import constant, labels
from taxaforge.guidance.prompts import conditions
from taxaforge.guidance.recipe import Aids, Recipe
from taxaforge.guidance.terms import contrast
from taxaforge.guidance.worklist import Item

EVIDENCE = "note"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale`, `species`. aids: `prompts` by species.

    With `species` "unseen" only those without training images have a token; the others are drawn from their plain
    lineage, so that the method still gives a whole set. Raises: NoPrompt for any other species without one.
    """
    label = labels(items, backbone)
    towards = backbone.condition(label, len(backbone.levels) - 1)
    own = [place for place, item in enumerate(items) if _has_token(item, cfg, aids)]
    if own:
        towards[own] = conditions(backbone, label[own], aids.prompts, [items[place].species for place in own])
    return Recipe(contrast(towards, backbone.null(len(items)), constant(cfg["scale"], towards)))


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    if not _has_token(item, cfg, aids):
        return {"scale": cfg["scale"]}
    return {"scale": cfg["scale"], "prompt": aids.prompts.facts[item.species]["prompt"]}


def _has_token(item: Item, cfg: dict, aids: Aids) -> bool:
    return cfg["species"] == "all" or item.species in aids.prompts.row
