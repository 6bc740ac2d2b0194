"""TaxaDiffusion: towards a fine level of the lineage, away from a coarser part of it ("TaxaGuide").

arXiv:2506.01923, whose w is our scale - 1; equations from the released code and a note on the
paper. There the fine level is the finest and the coarser part the coarsest level. Ours beyond the paper: any pair
of levels, and `weak: parent`, the level above the fine one, so that what pushes is only what sets the species
apart in its genus.
"""

from collections.abc import Sequence

from taxaforge.guidance.methods.shared import constant, labels, within
from taxaforge.guidance.recipe import Aids, CannotDraw, Recipe
from taxaforge.guidance.terms import contrast, paced
from taxaforge.guidance.worklist import Item

EVIDENCE = "code"


def recipe(backbone, items: Sequence[Item], cfg: dict, aids: Aids) -> Recipe:
    """cfg: `scale`, `fine` (a level, "" the finest), `weak` (coarsest | parent | a level), `interval`, `course`.

    Raises: CannotDraw where a level is unknown or the weak one is not coarser.
    """
    strong, weak = pair(backbone.levels, cfg)
    label = labels(items, backbone)
    fine = backbone.condition(label, strong)
    scale = paced(constant(cfg["scale"], fine), cfg["course"])
    return Recipe(within(cfg["interval"], contrast(fine, backbone.condition(label, weak), scale), fine))


def pair(levels: Sequence[str], cfg: dict) -> tuple[int, int]:
    """Places of the fine and of the coarser level."""
    strong = _place(levels, cfg["fine"] or levels[-1], cfg)
    weak = {"coarsest": 0, "parent": strong - 1}.get(cfg["weak"])
    weak = _place(levels, cfg["weak"], cfg) if weak is None else weak
    if not 0 <= weak < strong:
        raise CannotDraw(
            f"Method {cfg['name']} guides {levels[strong]!r} against a coarser level, and {cfg['weak']!r} is none: the "
            f"generator knows {', '.join(levels)}. Correct guidance.recipes.{cfg['name']}, add a level to "
            f"diffusion.levels, or take {cfg['name']} out of guidance.methods."
        )
    return strong, weak


def _place(levels: Sequence[str], name: str, cfg: dict) -> int:
    if name not in levels:
        raise CannotDraw(
            f"Method {cfg['name']} names the level {name!r}, and the generator knows {', '.join(levels)}. Correct "
            f"guidance.recipes.{cfg['name']}, or add the level to diffusion.levels."
        )
    return list(levels).index(name)


def notes(item: Item, cfg: dict, aids: Aids) -> dict:
    return {"scale": cfg["scale"]}
