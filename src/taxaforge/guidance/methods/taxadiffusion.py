"""TaxaDiffusion: towards the species' whole lineage, away from a coarser part of it ("TaxaGuide").

arXiv:2506.01923, whose w is our scale - 1; equations from the released code and a note on the
paper. There the coarser part is the coarsest level. Ours beyond the paper: `weak: parent` takes
the level above the finest, so that what pushes is only what sets the species apart in its genus.
"""

import torch
from torch import Tensor

from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.terms import Term, conditional, contrast, during

EVIDENCE = "code"


def recipe(backbone, label: Tensor, cfg: dict) -> Term:
    """label: (B,) class indices. cfg: `scale`, `weak` (coarsest | parent), `interval` (first, last) in u.

    Raises: TaxaforgeError where the model has a single level, so that nothing is coarser.
    """
    finest = len(backbone.levels) - 1
    if finest == 0:
        raise TaxaforgeError(
            f"taxadiffusion guides a fine level against a coarser one, and this model knows only "
            f"{backbone.levels[0]!r}. Add a level to diffusion.levels or take taxadiffusion out of guidance.methods."
        )
    fine = backbone.condition(label, finest)
    coarse = backbone.condition(label, {"coarsest": 0, "parent": finest - 1}[cfg["weak"]])
    scale = torch.full((len(label),), cfg["scale"], device=fine.device)
    first, last = cfg["interval"]
    return during(first, last, contrast(fine, coarse, scale), conditional(fine))
