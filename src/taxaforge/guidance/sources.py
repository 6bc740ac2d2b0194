"""Which real training image an image starts from. It follows from the image alone, never from its batch."""

from collections.abc import Sequence

import numpy as np

from taxaforge.guidance.recipe import Aids, CannotDraw
from taxaforge.guidance.worklist import Item
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of
from taxaforge.semantics.relatives import siblings


def own(items: Sequence[Item], aids: Aids, cfg: dict) -> np.ndarray:
    """(B,) a training image of each item's own species: item i takes the i-th of a permutation, again and again.

    Args: cfg: `seed` of the run, and `name` of the method for the sentence.
    Raises: CannotDraw where a species has no training image.
    """
    return np.array([_ith(aids.train, item.label, item.index, item.species, cfg) for item in items])


def another(items: Sequence[Item], aids: Aids, cfg: dict) -> np.ndarray:
    """(B,) a training image of another species, drawn by the item's seed: first the species, then its image.

    Args: cfg: `partner`: "any" other species, or a "sibling" (`relatives.siblings`) where one has images.
    """
    filled = set(aids.train.label.tolist())
    picks = []
    for item in items:
        near = siblings(aids.classes, item.label) if cfg["partner"] == "sibling" else range(len(aids.classes))
        others = [c for c in near if c != item.label and c in filled] or sorted(filled - {item.label})
        if not others:
            raise CannotDraw(
                f"Method {cfg['name']} starts from an image of another species, and none but {item.species} has training "
                f"images. Take {cfg['name']} out of guidance.methods, or collect images of more species."
            )
        rng = np.random.default_rng(seed_of(item.seed, "partner"))
        picks.append(int(rng.choice(_of(aids.train, others[int(rng.integers(len(others)))]))))
    return np.array(picks)


def strengths(items: Sequence[Item], choices: Sequence[float]) -> list[float]:
    """Of each item one of the choices, drawn by its seed."""
    return [choices[seed_of(item.seed, "strength") % len(choices)] for item in items]


def _ith(train: Pack, label: int, index: int, species: str, cfg: dict) -> int:
    mine = _of(train, label)
    if not len(mine):
        raise CannotDraw(
            f"Method {cfg['name']} starts from real images, and {species} has no training image. Take {species} out of "
            f"the species list, take {cfg['name']} out of guidance.methods, or collect images of the species."
        )
    order = np.random.default_rng(seed_of(cfg["seed"], "sources", species)).permutation(mine)
    return int(order[index % len(order)])


def _of(train: Pack, label: int) -> np.ndarray:
    return np.flatnonzero(train.label == label)
