"""The taxonomic condition: one trainable module a level, summed from the coarsest level down.

    c^(i) = sum_{l=0..i} E_l(h_l)        h_l: frozen tokens of "level_l: name_l"

Source: TaxaDiffusion (arXiv:2506.01923), Sec. 3, and its released code [code]; written anew.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
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


def picked(table: Tensor, rows: Tensor) -> Tensor:
    """table[rows], whose gradient is the same every time; that of indexing is added up in the order in which threads come.

    table: (S, n, d). rows: (B,) long, repeats and all. Returns (B, n, d).
    """
    return F.embedding(rows, table.flatten(1)).unflatten(1, table.shape[1:])


class Conditioning(nn.Module):
    """All level modules of a run, coarse to fine.

    Args:
        levels: L level names; the parameters of level l live under `encoders.<l>.`.
        width: d of the tokens.
        zero_gate: [ext] multiplies level l by a learned number `gates.<l>`, 1 for the coarsest level and 0
            for the finer ones at first. Without it a fresh level is a jump: its post-norm output is as long
            as all of c^(l-1), which frozen adapters have never seen.
    """

    def __init__(self, levels: Sequence[str], width: int, zero_gate: bool = False):
        super().__init__()
        self.levels = list(levels)
        self.encoders = nn.ModuleList(level_module(width) for _ in self.levels)
        gates = [nn.Parameter(torch.full((), float(level == 0))) for level in range(len(self.levels))]
        self.gates = nn.ParameterList(gates if zero_gate else [])

    def forward(self, tokens: Tensor, rows: Tensor, upto: Tensor, mine: Tensor | None = None) -> Tensor:
        """c^(upto) of each item of a batch; items may stop at different levels.

        Args:
            tokens: (S, n, d), the frozen text of all strings.
            rows: (B, L) long, each item's string on each level.
            upto: (B,) long in 0..L-1, the finest level that each item uses.
            mine: (b,) long, the items asked for; None: all. Dropout is that of the whole batch.
        Returns:
            (b, n, d). Levels finer than every item's `upto` are not run at all, so that their gradient
            stays None and the optimiser leaves them alone. Items that share a string share its dropout.
        """
        levels, rest = [], slice(None) if mine is None else mine
        for level in range(int(upto.max()) + 1):
            used, back = rows[:, level].unique(return_inverse=True)
            said = self.encoders[level](tokens[used])
            if len(self.gates):
                said = self.gates[level] * said
            levels.append(picked(said, back[rest]))
        sums = torch.stack(levels).cumsum(0)
        upto = upto[rest]
        return sums[upto, torch.arange(len(upto), device=upto.device)]
