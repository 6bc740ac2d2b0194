"""HiGFA: lineage and contour shape the picture, then a classifier finishes it, the harder the less sure it is.

arXiv:2511.12547, of which only the abstract is known: text and transformed contour guide early at fixed strength;
at the end a fine-grained classifier guides as well, and its confidence modulates all strengths. Every formula here
is our reconstruction (methods.md 3), so that a result says nothing about the published method.

    u < K    w = W,  a = A,  S = 0
    u >= K   w = w_min + (W - w_min) m,  a = A m,  S = S (1 - p)^kappa;  m is p, 1 - p or 1 after `modulation`

w is the scale of the lineage against the null lineage, a the strength of the contour, p the guide's confidence in
the image's species. m knows the p of the step before, and is 1 in the first step that has none.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from taxaforge.guidance.confidence import Confidence, Pull
from taxaforge.guidance.methods.shared import labels
from taxaforge.guidance.outlines import classmates, outlines
from taxaforge.guidance.recipe import Aids, CannotDraw, Recipe
from taxaforge.guidance.sources import own
from taxaforge.guidance.terms import Outline, Step, contrast
from taxaforge.guidance.worklist import Item
from taxaforge.seeds import seed_of

EVIDENCE = "reconstruction"

REMEDIES = {
    "train": ("real training images, whose contours it follows", "Collect images of the species"),
    "contour": (
        "a contour adapter",
        "Let the run train one (diffusion.contour.steps), or name one (diffusion.contour.pretrained)",
    ),
    "guide": ("a guiding classifier", "Let the run train one (guidance.guide.epochs)"),
}
"""What it cannot do without, by field of Aids."""


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale` (W), `least_scale` (w_min), `contour` (A), `transform` (see `outlines`), what `confidence.Pull`
    takes, `guide_target` ("own", or "wrong": another species' p and gradient, a control that must do harm),
    `name`, `seed`.

    Raises: CannotDraw: an aid is missing, a species has no training image, or the guide does not know it.
    """
    for name, (what, remedy) in REMEDIES.items():
        if getattr(aids, name) is None:
            raise CannotDraw(
                f"Method {cfg['name']} needs {what}, and got none. {remedy}, or take {cfg['name']} out of guidance.methods."
            )
    fine = backbone.condition(labels(items, backbone), len(backbone.levels) - 1)
    sure = Confidence(len(items), cfg["modulation"], backbone.device)

    def scale(u: float) -> Tensor:
        return cfg["least_scale"] + (cfg["scale"] - cfg["least_scale"]) * sure.factor

    def strength(u: float) -> Tensor:
        return cfg["contour"] * sure.factor

    steps: list[dict[str, Tensor]] = []

    def watch(step: Step, pull: Tensor, p: Tensor | None) -> None:
        unknown = torch.full_like(pull, torch.nan) if p is None else p
        values = {"rows": step.rows, "w": scale(step.u)[step.rows], "a": strength(step.u)[step.rows]}
        steps.append({**values, "S": pull, "p": unknown})

    pull = Pull(
        backbone,
        aids.guide,
        torch.tensor([_target(item, cfg, aids) for item in items]),
        cfg,
        [item.identifier for item in items],
        [item.species for item in items],
        sure,
        watch,
    )
    pixels = aids.train.pixels[_sources(items, cfg, aids)]
    edge = outlines(pixels, [item.seed for item in items], cfg["transform"], aids.contour.edges)
    return Recipe(
        term=contrast(fine, backbone.null(len(items)), scale),
        outline=Outline(aids.contour, torch.from_numpy(edge).to(backbone.device), strength),
        correction=pull,
        trace=lambda: _trace(steps, len(items)),
    )


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    return {"scale": cfg["scale"], "source": aids.train.identifier[_sources([item], cfg, aids)[0]]}


def _sources(items: Sequence[Item], cfg: dict, aids: Aids) -> np.ndarray:
    """(B,) places of the training images whose contours are followed."""
    seeds = [item.seed for item in items]
    return classmates(own(items, aids, cfg), aids.train, seeds, cfg["transform"]["classmate"])


def _target(item: Item, cfg: dict, aids: Aids) -> int:
    """The class, among the guide's, that an image is pulled towards."""
    classes, others = aids.guide.classes, [name for name in aids.guide.classes if name != item.species]
    if len(others) == len(classes):
        raise CannotDraw(
            f"Method {cfg['name']} guides towards {item.species}, which its classifier does not know: it was trained on "
            "other species. Delete the guide and run again."
        )
    if cfg["guide_target"] == "own" or not others:
        return classes.index(item.species)
    return classes.index(others[seed_of(item.seed, "wrong") % len(others)])


def _trace(steps: Sequence[dict[str, Tensor]], images: int) -> list[dict]:
    """Of each image the lists w, a, S and p over the steps it took part in; p is null where the guide was not asked."""
    told: list[dict] = [{"w": [], "a": [], "S": [], "p": []} for _ in range(images)]
    for step in steps:
        rows = step["rows"].tolist()
        for name in ("w", "a", "S", "p"):
            for row, value in zip(rows, step[name].tolist(), strict=True):
                told[row][name].append(round(value, 6) if value == value else None)
    return told
