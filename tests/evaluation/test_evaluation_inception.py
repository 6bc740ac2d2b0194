"""The FID Inception against torchvision's Inception v3 with the three changes that pytorch-fid names."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import inception_v3

from taxaforge.evaluation.inception import WIDTH, Inception


@pytest.fixture(scope="module")
def pair():
    """Ours, and torchvision's with the same weights, which are drawn so that no activation dies or grows."""
    ours = Inception().eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for name, value in ours.state_dict().items():
            if name.endswith("conv.weight"):
                torch.nn.init.kaiming_normal_(value)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point():
                value.normal_(0, 0.1) if "running_mean" in name or "bias" in name else value.uniform_(0.8, 1.2)
    theirs = inception_v3(
        weights=None, aux_logits=False, num_classes=1008, init_weights=False, transform_input=False
    ).eval()
    lacking, surplus = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert lacking == ["fc.weight", "fc.bias"] and surplus == []  # the same names and shapes as the published file
    theirs.fc = torch.nn.Identity()
    return ours, theirs


@pytest.mark.parametrize("side", [139, 299])
def test_features_are_those_of_torchvision_s_network_with_tensorflow_s_pools(pair, side, monkeypatch):
    ours, theirs = pair
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(side)) * 2 - 1
    mean = F.avg_pool2d
    with torch.inference_mode():
        other = theirs(x)
        seen = {"last": False}

        def pool(value, kernel_size, stride, padding):
            if seen["last"]:
                return F.max_pool2d(value, kernel_size, stride, padding)
            return mean(value, kernel_size, stride, padding, count_include_pad=False)

        theirs.Mixed_7c.register_forward_pre_hook(lambda *_: seen.update(last=True))
        monkeypatch.setattr(F, "avg_pool2d", pool)
        want = theirs(x)
        monkeypatch.setattr(F, "avg_pool2d", mean)
        got = ours(x)
    assert got.shape == (1, WIDTH)
    assert (got - want).abs().max() < 1e-4 * want.abs().max()
    assert (got - other).abs().max() > 1e-2 * want.abs().max()  # plain Inception v3 is another network
