"""What several methods say in the same way."""

from collections.abc import Sequence

import torch
from torch import Tensor

from taxaforge.guidance.terms import Term, conditional, during
from taxaforge.guidance.worklist import Item


def labels(items: Sequence[Item], backbone) -> Tensor:
    """(B,) class indices on the generator's device."""
    return torch.tensor([item.label for item in items], device=backbone.device)


def constant(value: float, tokens: Tensor) -> Tensor:
    """(B,) the same number for every image of tokens (B, n, d)."""
    return torch.full((len(tokens),), value, device=tokens.device)


def within(interval: Sequence[float], term: Term, tokens: Tensor) -> Term:
    """`term` in the interval of u, the condition `tokens` alone outside it."""
    return during(*interval, term, conditional(tokens))
