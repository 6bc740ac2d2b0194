"""What a training minimises: cross-entropy, with weights of images and a prior of species where an arm asks for them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TAU = 1.0
"""Strength of the logit adjustment; at 1 the balanced error is what the adjusted loss is consistent with."""


def log_prior(label: np.ndarray, classes: int) -> Tensor:
    """Logarithm of each species' share of the training images.

    A species without an image counts as if it had one, so that the loss stays finite.

    Args:
        label: (N,) int64 in 0..classes-1.
    Returns: (classes,) float32.

    >>> log_prior(np.array([0, 0, 0, 1]), 2).exp().tolist()
    [0.75, 0.25]
    """
    count = np.maximum(np.bincount(label, minlength=classes), 1)
    return torch.from_numpy(np.log(count / count.sum())).float()


def loss(logits: Tensor, target: Tensor, smoothing: float, offset: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of a batch.

    Args:
        logits: (B, C). target: (B,) int64 classes, or (B, C) weights that `dense` has made, smoothed already.
        smoothing: share of a hard target that is spread over all classes.
        offset: (C,), added to the logits in training alone: tau times `log_prior`.
    Source: logit adjustment, Menon et al. 2021 (arXiv:2007.07314), Eq. 10.
    """
    if offset is not None:
        logits = logits + offset
    if target.ndim == 2:
        return F.cross_entropy(logits, target)
    return F.cross_entropy(logits, target, label_smoothing=smoothing)


def dense(target: Tensor, classes: int, smoothing: float, weight: Tensor | None = None) -> Tensor:
    """Targets as weights of classes, smoothed, and each row times the weight of its image.

    In this form images can be blended: the blend of two rows is the blend of two losses, weights included.

    Args:
        target: (B,) int64, or (B, C) rows that sum to 1. weight: (B,), at least 0; left out, 1.
    Returns: (B, C) float32; rows sum to their weight.

    >>> dense(torch.tensor([1]), 2, 0.5, torch.tensor([2.0])).tolist()
    [[0.5, 1.5]]
    """
    rows = F.one_hot(target, classes).float() if target.ndim == 1 else target
    rows = rows * (1 - smoothing) + smoothing / classes
    return rows if weight is None else rows * weight[:, None]
