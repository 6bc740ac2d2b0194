"""Guidance methods as small terms: which conditions pull on an image, and how hard, at each moment.

    conditional(tokens)                                 the condition alone
    contrast(tokens, null, s)                           classifier-free guidance
    during(.2, .8, contrast(...), conditional(...))     only in the middle of the denoising
    guided(backbone.predict, term)                      what `sampler.sample` asks at every step

Two things act beside the terms: an Outline, a contour that the denoiser is shown, and a Correction, which
changes the finished prediction, such as a classifier's gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from taxaforge.diffusion.contour import Contour
from taxaforge.diffusion.sampler import Predict


class Denoiser(Protocol):
    """What `guided` needs of a backbone: z (B, c, h, w), t, tokens (B, n, d) -> prediction like z."""

    def __call__(self, z: Tensor, t: Tensor, tokens: Tensor, **residuals) -> Tensor: ...


class Branch(NamedTuple):
    """One condition, tokens (B, n, d), and how much it counts for each image, weight (B,)."""

    tokens: Tensor
    weight: Tensor


Term = Callable[[float], list[Branch]]
"""u in [0, 1) -> the branches at that moment, the wanted one first. Over all branches the weights of an image sum
to 1."""


@dataclass(frozen=True)
class Outline:
    """A contour to draw along: edge (B, H, W) uint8, and u -> strength (B,), 0 none, 1 as the adapter was trained."""

    adapter: Contour
    edge: Tensor
    strength: Callable[[float], Tensor]


@dataclass(frozen=True)
class Step:
    """One denoising step as a Correction sees it; tensors hold the b images that have started, in the order of `rows`.

    z: (b, c, h, w). t: () long. u: place in the schedule, 0 noise. rows: (b,) places in the batch.
    prediction: the guided one, of the denoiser's type. outs: the denoiser's answer to every branch that
    counts. predict: z (b, c, h, w) -> the guided prediction there, with gradients where they are on.
    """

    z: Tensor
    t: Tensor
    u: float
    rows: Tensor
    prediction: Tensor
    outs: list[Tensor]
    predict: Callable[[Tensor], Tensor]


Correction = Callable[[Step], Tensor]
"""The prediction as it should be, in type and shape as it was."""


def conditional(tokens: Tensor) -> Term:
    """`tokens` (B, n, d) alone: one pass, no guidance."""
    branch = Branch(tokens, torch.ones(len(tokens), device=tokens.device))
    return lambda u: [branch]


def contrast(tokens: Tensor, reference: Tensor, scale: Tensor | Callable[[float], Tensor]) -> Term:
    """Towards `tokens` and away from `reference`, both (B, n, d); scale (B,), one an image, or u -> (B,).

    Scale 1 is `tokens` alone, 0 is `reference` alone; papers that write (1 + w) and -w mean
    w = scale - 1. Reference null lineage: classifier-free guidance (arXiv:2207.12598). Reference
    coarsest level: TaxaGuide (arXiv:2506.01923).
    """

    def branches(u: float) -> list[Branch]:
        now = scale(u) if callable(scale) else scale
        return [Branch(tokens, now), Branch(reference, 1 - now)]

    return branches


def during(first: float, last: float, term: Term, otherwise: Term) -> Term:
    """`term` while first <= u < last, else `otherwise` (cf. arXiv:2404.07724).

    Step i of N has u = i / N, so 30 steps with last 0.7 guide 21 of them.
    """
    return lambda u: term(u) if first <= u < last else otherwise(u)


COURSES: dict[str, Callable[[float], float]] = {
    "constant": lambda u: 1.0,
    "rising": lambda u: 2 * u,
    "falling": lambda u: 2 * (1 - u),
}
"""How guidance is spread over the denoising; all have mean 1, so that they compare at the same strength."""


def paced(scale: Tensor, course: str) -> Callable[[float], Tensor]:
    """What goes beyond the condition alone, scale - 1 (B,), spread over the denoising after COURSES."""
    return lambda u: 1 + (scale - 1) * COURSES[course](u)


def guided(
    denoiser: Denoiser, term: Term, outline: Outline | None = None, correction: Correction | None = None
) -> Predict:
    """The weighted sum of a term's branches, in one batched call of the denoiser.

    A branch whose weight is 0 for every image is not computed, nor is a contour of strength 0. Because weights
    sum to 1, the sum means the same for a backbone that predicts noise and for one that predicts v.

    Raises: ValueError where an image's weights do not sum to 1 (NaN included).
    """

    def combined(z: Tensor, t: Tensor, u: float, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        branches = [Branch(branch.tokens[rows], branch.weight[rows]) for branch in term(u)]
        weights = torch.stack([branch.weight for branch in branches])
        total, size = weights.sum(0), weights.abs().sum(0)
        if not ((total - 1).abs() <= 1e-5 * size).all():
            raise ValueError(f"guidance weights at u = {u:.2f} sum to {total.tolist()} for the images, not to 1")
        branches = [branch for branch in branches if branch.weight.any()]
        many, tokens = torch.cat([z] * len(branches)), torch.cat([branch.tokens for branch in branches])
        residuals = _along(outline, many, t, tokens, u, rows) if outline else {}
        outs = list(denoiser(many, t, tokens, **residuals).chunk(len(branches)))
        weighed = zip(branches, outs, strict=True)
        return sum(branch.weight.to(out.dtype).view(-1, 1, 1, 1) * out for branch, out in weighed), outs

    def predict(z: Tensor, t: Tensor, u: float, rows: Tensor) -> Tensor:
        prediction, outs = combined(z, t, u, rows)
        if correction is None:
            return prediction
        return correction(Step(z, t, u, rows, prediction, outs, lambda there: combined(there, t, u, rows)[0]))

    return predict


def _along(outline: Outline, z: Tensor, t: Tensor, tokens: Tensor, u: float, rows: Tensor) -> dict:
    """What the adapter adds inside the denoiser, for every branch; nothing where no image has any strength."""
    strength = outline.strength(u)[rows]
    if not strength.any():
        return {}
    times = len(z) // len(rows)
    edge = outline.edge[rows.to(outline.edge.device)].repeat(times, 1, 1)
    return outline.adapter.residuals(z, t, tokens, edge, strength.to(z.device).repeat(times))
