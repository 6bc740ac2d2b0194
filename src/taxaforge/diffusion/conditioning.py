"""The taxonomic condition: one trainable module a level, summed from the coarsest level down.

    c^(i) = sum_{l=0..i} E_l(h_l)        h_l: frozen tokens of "level_l: name_l"

Source: TaxaDiffusion (arXiv:2506.01923), Sec. 3, and its released code [code]; written anew.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def level_module(width: int, heads: int = 8, dropout: float = 0.1) -> nn.TransformerEncoder:
    """E_l: two post-norm transformer layers over the tokens of one level.

    Args:
        width: d of the frozen text tokens, divisible by `heads`; 768 for Stable Diffusion 1.x.
        heads, dropout: as published [code].
    Returns:
        (B, n, d) -> (B, n, d); feed-forward width 8/3 d, which is the published 2048 at d = 768, where
        the module has 11,027,968 parameters.
    """
    layer = nn.TransformerEncoderLayer(width, heads, round(width * 8 / 3), dropout, batch_first=True)
    return nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)


class Conditioning(nn.Module):
    """All level modules of a run, coarse to fine.

    Args:
        levels: L level names; the parameters of level l live under `encoders.<l>.`.
        width: d of the tokens.
    """

    def __init__(self, levels: Sequence[str], width: int):
        super().__init__()
        self.levels = list(levels)
        self.encoders = nn.ModuleList(level_module(width) for _ in self.levels)

    def forward(self, tokens: Tensor, rows: Tensor, upto: Tensor) -> Tensor:
        """c^(upto) of each item of a batch; items may stop at different levels.

        Args:
            tokens: (S, n, d), the frozen text of all strings.
            rows: (B, L) long, each item's string on each level.
            upto: (B,) long in 0..L-1, the finest level that each item uses.
        Returns:
            (B, n, d). Levels finer than every item's `upto` are not run at all, so that their gradient
            stays None and the optimiser leaves them alone. Items that share a string share its dropout.
        """
        levels = []
        for level in range(int(upto.max()) + 1):
            used, back = rows[:, level].unique(return_inverse=True)
            levels.append(self.encoders[level](tokens[used])[back])
        sums = torch.stack(levels).cumsum(0)
        return sums[upto, torch.arange(len(rows), device=rows.device)]
