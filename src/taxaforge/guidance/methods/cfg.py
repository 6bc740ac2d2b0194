"""Classifier-free guidance: towards the species' lineage, away from the null lineage.

Ho & Salimans 2022 (arXiv:2207.12598). The null lineage goes through the level modules and is
trained with `diffusion.null_probability`; at probability 0 this method guides away from noise.
"""

import torch
from torch import Tensor

from taxaforge.guidance.terms import Term, contrast

EVIDENCE = "standard"


def recipe(backbone, label: Tensor, cfg: dict) -> Term:
    """label: (B,) class indices. cfg: `scale`."""
    fine = backbone.condition(label, len(backbone.levels) - 1)
    return contrast(fine, backbone.null(len(label)), torch.full((len(label),), cfg["scale"], device=fine.device))
