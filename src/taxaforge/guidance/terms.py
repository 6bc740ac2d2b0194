"""Guidance methods as small terms: which conditions pull on an image, and how hard, at each moment.

    conditional(tokens)                                 the condition alone
    contrast(tokens, null, s)                           classifier-free guidance
    during(.2, .8, contrast(...), conditional(...))     only in the middle of the denoising
    guided(backbone, term)                              what `sampler.sample` asks at every step

A new method is a new term. Two later kinds fit without a change here: what changes the finished
prediction (a classifier's gradient) wraps the Predict that `guided` returns; what the denoiser
needs beside its tokens (a contour) travels as a further field of Branch.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from taxaforge.diffusion.sampler import Predict


class Denoiser(Protocol):
    """What `guided` needs of a backbone: z (B, c, h, w), t, tokens (B, n, d) -> prediction like z."""

    def __call__(self, z: Tensor, t: Tensor, tokens: Tensor) -> Tensor: ...


class Branch(NamedTuple):
    """One condition, tokens (B, n, d), and how much it counts for each image, weight (B,)."""

    tokens: Tensor
    weight: Tensor


Term = Callable[[float], list[Branch]]
"""u in [0, 1) -> the branches at that moment. Over all branches the weights of an image sum to 1."""


def conditional(tokens: Tensor) -> Term:
    """`tokens` (B, n, d) alone: one pass, no guidance."""
    branch = Branch(tokens, torch.ones(len(tokens), device=tokens.device))
    return lambda u: [branch]


def contrast(tokens: Tensor, reference: Tensor, scale: Tensor) -> Term:
    """Towards `tokens` and away from `reference`, both (B, n, d); scale (B,), one an image.

    Scale 1 is `tokens` alone, 0 is `reference` alone; papers that write (1 + w) and -w mean
    w = scale - 1. Reference null lineage: classifier-free guidance (arXiv:2207.12598). Reference
    coarsest level: TaxaGuide (arXiv:2506.01923).
    """
    branches = [Branch(tokens, scale), Branch(reference, 1 - scale)]
    return lambda u: branches


def during(first: float, last: float, term: Term, otherwise: Term) -> Term:
    """`term` while first <= u < last, else `otherwise` (cf. arXiv:2404.07724).

    Step i of N has u = i / N, so 30 steps with last 0.7 guide 21 of them.
    """
    return lambda u: term(u) if first <= u < last else otherwise(u)


def guided(backbone: Denoiser, term: Term) -> Predict:
    """The weighted sum of a term's branches, in one batched call of the backbone.

    A branch whose weight is 0 for every image is not computed. Because weights sum to 1, the sum
    means the same for a backbone that predicts noise and for one that predicts v.

    Raises: ValueError where an image's weights do not sum to 1 (NaN included).
    """

    def predict(z: Tensor, t: Tensor, u: float) -> Tensor:
        branches = term(u)
        weights = torch.stack([branch.weight for branch in branches])
        total, size = weights.sum(0), weights.abs().sum(0)
        if not ((total - 1).abs() <= 1e-5 * size).all():
            raise ValueError(f"guidance weights at u = {u:.2f} sum to {total.tolist()} for the images, not to 1")
        branches = [branch for branch in branches if branch.weight.any()]
        tokens = torch.cat([branch.tokens for branch in branches])
        outs = backbone(torch.cat([z] * len(branches)), t, tokens).chunk(len(branches))
        return sum(
            branch.weight.to(out.dtype).view(-1, 1, 1, 1) * out for branch, out in zip(branches, outs, strict=True)
        )

    return predict
