"""SGID, reconstructed: variants of a real image, drawn under its label and caption, as strongly as the two agree.

arXiv:2302.02070; no code was found, and equations are ours [recon]: what is known is that the prompt is label plus
caption, that drawing starts from the real image, and that a similarity drives the guidance. A result says nothing
about the published method. Prompts and scales are made by `rating`, before anything is drawn.
"""

from collections.abc import Sequence

import torch

from taxaforge.guidance.methods.shared import labels
from taxaforge.guidance.prompts import conditions
from taxaforge.guidance.recipe import Aids, Recipe, Start
from taxaforge.guidance.sources import own
from taxaforge.guidance.terms import contrast
from taxaforge.guidance.worklist import Item

EVIDENCE = "reconstruction"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `strength` (0..1), `seed`, `name`. aids: `train`, and `prompts` by identifier of a training image.

    Raises: CannotDraw, a species without images; NoPrompt, an image that was not rated.
    """
    places = own(items, aids, cfg)
    sources = [aids.train.identifier[place] for place in places]
    towards = conditions(backbone, labels(items, backbone), aids.prompts, sources)
    scale = torch.tensor([aids.prompts.facts[source]["scale"] for source in sources], device=towards.device)
    start = Start(aids.train.pixels[places], torch.full((len(items),), cfg["strength"], dtype=torch.float64))
    return Recipe(contrast(towards, backbone.null(len(items)), scale), start)


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    source = aids.train.identifier[own([item], aids, cfg)[0]]
    rated = aids.prompts.facts[source]
    return {"prompt": rated["prompt"], "scale": rated["scale"], "strength": cfg["strength"], "source": source}
