"""How far pictures are apart for a network: LPIPS where its weights are at hand, else the same on any network's layers.

d(a, b) = sum or mean over layers of the mean over places of sum_c w_c (a_c - b_c)^2, each place's channels
scaled to length 1 before. LPIPS sums over five layers with learned w; without learned weights w is 1 and the mean
over layers is taken, so that networks of more layers do not give larger values. These are two metrics with two
names: `lpips`, `layer_diversity`. Source: Zhang et al. 2018 (arXiv:1801.03924).
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

SMALLEST = 64
"""Side in px below which pictures are enlarged: AlexNet leaves nothing of smaller ones."""
POOL = "pool"
NETWORKS = {
    "alex": (
        (3, 2),
        [
            [(64, 11, 4, 2)],
            [POOL, (192, 5, 1, 2)],
            [POOL, (384, 3, 1, 1)],
            [(256, 3, 1, 1)],
            [(256, 3, 1, 1)],
        ],
    ),
    "vgg": (
        (2, 2),
        [
            [(64, 3, 1, 1)] * 2,
            [POOL, *[(128, 3, 1, 1)] * 2],
            [POOL, *[(256, 3, 1, 1)] * 3],
            [POOL, *[(512, 3, 1, 1)] * 3],
            [POOL, *[(512, 3, 1, 1)] * 3],
        ],
    ),
}
"""name -> (kernel and stride of its pools, its five slices; a convolution is channels out, kernel, stride, padding)."""


class Lpips(nn.Module):
    """The layers that LPIPS 0.1 compares, and its learned weights.

    Args: name: a key of NETWORKS. state: tensors as the lpips package names them.
    Raises: ValueError where a tensor is missing, of another shape, or a learned weight is negative.
    """

    def __init__(self, name: str, state: dict[str, Tensor]):
        super().__init__()
        self.slices = nn.ModuleDict(_slices(*NETWORKS[name]))
        own = {key.removeprefix("net."): value for key, value in state.items() if key.startswith("net.")}
        try:
            self.slices.load_state_dict(own)
            self.weights = [state[f"lin{i}.model.1.weight"].flatten() for i in range(len(self.slices))]
        except (RuntimeError, KeyError) as error:
            raise ValueError(" ".join(str(error).split())) from error
        if any((w < 0).any() for w in self.weights):
            raise ValueError("a learned weight is negative")
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in 0..1 -> five maps (B, c, h, w)."""
        small = min(x.shape[-2:])
        if small < SMALLEST:
            size = [round(side * SMALLEST / small) for side in x.shape[-2:]]
            x = interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
        x, maps = (2 * x - 1 - self.shift) / self.scale, []
        for part in self.slices.values():
            x = part(x)
            maps.append(x)
        return maps


def _slices(pool: tuple[int, int], plan: Sequence[Sequence]) -> dict[str, nn.Sequential]:
    """Slices whose modules carry the numbers that they have in the whole network, as the weights' names do."""
    channels, number, found = 3, 0, {}
    for place, part in enumerate(plan, 1):
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for step in part:
            made = [nn.MaxPool2d(*pool)] if step is POOL else [nn.Conv2d(channels, *step), nn.ReLU()]
            channels = channels if step is POOL else step[0]
            for module in made:
                modules[str(number)] = module
                number += 1
        found[f"slice{place}"] = nn.Sequential(modules)
    return found


def apart(layers: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
    """(n, n) distances between n pictures.

    Args:
        layers: maps (n, c, h, w). weights: of each layer (c,), not negative; None: w = 1 and the mean over layers.
    """
    total = torch.zeros(len(layers[0]), len(layers[0]))
    for i, x in enumerate(layers):
        x = x.float() / (x.float().norm(dim=1, keepdim=True) + 1e-10)
        if weights is not None:
            x = x * weights[i].to(x.device).sqrt().view(1, -1, 1, 1)
        flat = x.flatten(1) / (x.shape[-2] * x.shape[-1]) ** 0.5
        total += torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").cpu() ** 2
    return total if weights is not None else total / len(layers)
