"""The Inception network by which FID is usually computed, with weights in the layout of pytorch-fid.

It is Inception v3 (arXiv:1512.00567) as TensorFlow's graph of 2015-12-05 has it: average pools leave padding out
of the mean, and the last block pools by maximum. Other Inception weights give other values.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 299
WIDTH = 2048

Size = int | tuple[int, int]
Step = tuple[str, int, Size, int]
"""A convolution: name, channels out, kernel, stride. With stride 1 it keeps the size, else it pads nothing."""


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, kernel: Size, stride: int = 1, padding: Size = 0):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Chains of convolutions side by side, and a pool; all results behind each other along the channels.

    Args:
        channels: that come in. chains: each a sequence of steps; where its last entry is a pair of steps, both
            take what comes before and both results count.
        pool: "mean" or "max" of 3 x 3 around each place, then a convolution to `pooled` channels; "reduce": the
            maximum with stride 2 and nothing behind it.
    """

    def __init__(self, channels: int, chains: Sequence[Sequence], pool: str, pooled: int = 0):
        super().__init__()
        self.pool, self.chains = pool, []
        for chain in chains:
            width, names = channels, []
            for step in chain:
                pair = step if isinstance(step[0], tuple) else (step,)
                for name, out, kernel, stride in pair:
                    padding = tuple((side - 1) // 2 for side in _both(kernel)) if stride == 1 else 0
                    self.add_module(name, Convolution(width, out, kernel, stride, padding))
                names.append([name for name, *_ in pair])
                width = pair[-1][1]
            self.chains.append(names)
        if pooled:
            self.branch_pool = Convolution(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for *before, last in self.chains:
            y = x
            for (name,) in before:
                y = self.get_submodule(name)(y)
            found += [self.get_submodule(name)(y) for name in last]
        return torch.cat([*found, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "reduce":
            return F.max_pool2d(x, 3, 2)
        mean = self.pool == "mean"
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) if mean else F.max_pool2d(x, 3, 1, 1)
        return self.branch_pool(pooled)


def _both(kernel: Size) -> tuple[int, int]:
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def _to_35(channels: int, pooled: int) -> Mixed:
    """At 35 x 35 places."""
    five = [("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)]
    double = [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 1)]
    return Mixed(channels, [[("branch1x1", 64, 1, 1)], five, double], "mean", pooled)


def _to_17(inner: int) -> Mixed:
    """At 17 x 17 places: kernels of 7 x 7 as 1 x 7 and 7 x 1."""
    wide, tall = (1, 7), (7, 1)
    seven = [("branch7x7_1", inner, 1, 1), ("branch7x7_2", inner, wide, 1), ("branch7x7_3", 192, tall, 1)]
    kernels = [1, tall, wide, tall, wide]
    double = [(f"branch7x7dbl_{i}", 192 if i == 5 else inner, kernel, 1) for i, kernel in enumerate(kernels, 1)]
    return Mixed(768, [[("branch1x1", 192, 1, 1)], seven, double], "mean", 192)


def _to_8(channels: int, pool: str) -> Mixed:
    """At 8 x 8 places."""

    def pair(name: str) -> tuple[Step, Step]:
        return (f"{name}a", 384, (1, 3), 1), (f"{name}b", 384, (3, 1), 1)

    three = [("branch3x3_1", 384, 1, 1), pair("branch3x3_2")]
    double = [("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 1), pair("branch3x3dbl_3")]
    return Mixed(channels, [[("branch1x1", 320, 1, 1)], three, double], pool, 192)


class Inception(nn.Module):
    """(B, 3, 299, 299) in -1..1 -> (B, 2048), the last pool. Other sizes from 75 px up work, too."""

    def __init__(self):
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _to_35(192, 32), _to_35(256, 64), _to_35(288, 64)
        double = [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)]
        self.Mixed_6a = Mixed(288, [[("branch3x3", 384, 3, 2)], double], "reduce")
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_to_17, (128, 160, 160, 192))
        three = [("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)]
        seven = [(f"branch7x7x3_{i}", 192, kernel, 1) for i, kernel in enumerate((1, (1, 7), (7, 1)), 1)]
        self.Mixed_7a = Mixed(768, [three, [*seven, ("branch7x7x3_4", 192, 3, 2)]], "reduce")
        self.Mixed_7b, self.Mixed_7c = _to_8(1280, "mean"), _to_8(2048, "max")

    def forward(self, x: Tensor) -> Tensor:
        for name, block in self.named_children():
            x = block(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
        return x.mean((2, 3))
