"""Distances between pictures against the formula, a pair at a time on torchvision's networks."""

import pytest
import torch
from torchvision import models

from taxaforge.evaluation.perceptual import NETWORKS, Lpips, apart

ENDS = {"alex": (models.alexnet, [1, 4, 7, 9, 11]), "vgg": (models.vgg16, [3, 8, 15, 22, 29])}
"""Network and the places of the ReLUs whose outputs LPIPS compares."""


def network(name):
    """(torchvision's layers with random weights, the state of an LPIPS with them)."""
    make, ends = ENDS[name]
    with torch.device("meta"):  # the classifier on top would be large
        layers = make(weights=None).features
    layers, source = layers.to_empty(device="cpu").eval(), torch.Generator().manual_seed(0)
    state = {}
    for number, layer in enumerate(layers):
        if isinstance(layer, torch.nn.Conv2d):
            with torch.no_grad():
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=source)
                layer.bias.normal_(0, 0.1, generator=source)
            part = next(i for i, end in enumerate(ends, 1) if number <= end)
            state |= {f"net.slice{part}.{number}.{key}": value for key, value in layer.state_dict().items()}
    widths = [layers[end - 1].out_channels for end in ends]
    return layers, state | {
        f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1, generator=source) for i, width in enumerate(widths)
    }


def by_pair(layers, ends, state, one, two):
    """LPIPS 0.1 of two pictures (3, h, w) in 0..1, written out."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    a, b = ((2 * x[None] - 1 - shift) / scale for x in (one, two))
    total = 0.0
    for number, layer in enumerate(layers[: ends[-1] + 1]):
        a, b = layer(a), layer(b)
        if number in ends:
            w = state[f"lin{ends.index(number)}.model.1.weight"].view(1, -1, 1, 1)
            difference = a / a.square().sum(1, keepdim=True).sqrt() - b / b.square().sum(1, keepdim=True).sqrt()
            total += (w * difference.square()).sum(1).mean().item()
    return total


@pytest.mark.parametrize("name", ENDS)
@torch.inference_mode()
def test_lpips_is_its_formula_pair_by_pair(name):
    layers, state = network(name)
    net = Lpips(name, state)
    x = torch.rand(3, 3, 67, 64, generator=torch.Generator().manual_seed(1))
    got = apart(net(x), net.weights)
    assert torch.equal(got, got.T) and got.diag().eq(0).all()
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        assert got[i, j].item() == pytest.approx(by_pair(layers, ENDS[name][1], state, x[i], x[j]), rel=1e-4)


@torch.inference_mode()
def test_small_pictures_are_enlarged_rather_than_lost():
    assert set(NETWORKS) == set(ENDS)
    net, source = Lpips("alex", network("alex")[1]), torch.Generator().manual_seed(2)
    small, large = (net(torch.rand(2, 3, *size, generator=source)) for size in ((16, 24), (64, 96)))
    assert [x.shape for x in small] == [x.shape for x in large]
    assert apart(small, net.weights)[0, 1] > 0


def test_without_learned_weights_it_is_the_mean_over_layers():
    """Two layers of one place each: orthogonal features are 2 apart, equal ones 0."""
    one, two = torch.eye(2).view(2, 2, 1, 1), torch.ones(2, 2, 1, 1)
    assert apart([one, two])[0, 1].item() == pytest.approx(1)
    assert apart([one])[0, 1].item() == pytest.approx(2)
    assert apart([5 * one])[0, 1].item() == pytest.approx(2)  # length does not count, direction does


def test_a_place_without_any_activation_is_no_division_by_zero():
    assert torch.isfinite(apart([torch.zeros(2, 3, 2, 2)])).all()
