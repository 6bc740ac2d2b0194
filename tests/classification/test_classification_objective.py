"""The loss against float64, worked out by hand."""

import numpy as np
import pytest
import torch

from taxaforge.classification import objective

LABEL = np.array([0] * 90 + [1] * 9 + [2] * 1)


def reference(logits, rows, offset=0.0):
    """Mean of -sum(row * log softmax(logits + offset)), in float64."""
    z = np.asarray(logits, np.float64) + np.asarray(offset, np.float64)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    return -(np.asarray(rows, np.float64) * log_p).sum(1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logit_adjustment_adds_the_log_of_each_species_share(smoothing):
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 2, 1, 0])
    rows = np.eye(3)[target] * (1 - smoothing) + smoothing / 3
    found = objective.loss(logits, target, smoothing, objective.TAU * objective.log_prior(LABEL, 3))
    assert found.item() == pytest.approx(reference(logits, rows, np.log([0.9, 0.09, 0.01])), rel=1e-6)
    assert objective.loss(logits, target, smoothing).item() == pytest.approx(reference(logits, rows), rel=1e-6)


def test_the_adjusted_loss_is_least_where_a_rare_species_scores_as_high_as_a_common_one():
    """With pictures that tell nothing, the best constant logits are equal: no species is preferred for being common."""
    logits = torch.zeros(3, requires_grad=True)
    offset = objective.log_prior(LABEL, 3)
    target = torch.from_numpy(LABEL)
    (gradient,) = torch.autograd.grad(objective.loss(logits.expand(100, 3), target, 0.0, offset), logits)
    assert torch.allclose(gradient, torch.zeros(3), atol=1e-6)
    (plain,) = torch.autograd.grad(objective.loss(logits.expand(100, 3), target, 0.0), logits)
    assert plain.abs().max() > 0.2


def test_a_species_without_images_leaves_the_loss_finite():
    assert objective.log_prior(LABEL, 5).isfinite().all()


@pytest.mark.parametrize("soft", [False, True])
def test_weights_of_images_multiply_their_losses(soft):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    target = torch.tensor([0, 1, 2, 1])
    rows = np.eye(3)[target]
    if soft:
        rows = 0.6 * rows + 0.4 * np.eye(3)[[1, 2, 0, 0]]
        target = torch.from_numpy(rows).float()
    weight = np.array([1.0, 0.25, 1.0, 0.0])
    want = np.mean([w * reference(logits[i : i + 1], rows[i : i + 1] * 0.9 + 0.1 / 3) for i, w in enumerate(weight)])
    found = objective.loss(logits, objective.dense(target, 3, 0.1, torch.from_numpy(weight).float()), 0.1)
    assert found.item() == pytest.approx(want, rel=1e-6)


def test_dense_targets_without_weights_are_the_same_loss():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(2))
    target = torch.tensor([0, 1, 2, 1, 0])
    dense = objective.loss(logits, objective.dense(target, 3, 0.1), 0.1)
    assert dense.item() == pytest.approx(objective.loss(logits, target, 0.1).item(), rel=1e-6)
