"""Encodes the level strings of a run once, with the frozen text tower of the backbone."""

import sys
from pathlib import Path

import torch
from torch import Tensor

from taxaforge.diffusion import pretrained as pipelines
from taxaforge.diffusion.lineages import BadTexts, Lineages, strings_of
from taxaforge.files import read_json
from taxaforge.semantics import model as semantic_model


def encode(
    *,
    classes: str | Path,
    levels: list[str],
    backbone: str,
    out: str | Path,
    semantics: str | Path | None = None,
    pretrained: str = "",
    revision: str = "main",
) -> None:
    """Frozen token sequences h of every distinct level string, as `out` and the .json beside it.

    Args:
        classes: classes.json of the run. levels: rank names, coarse to fine.
        backbone: "small" reads with the text tower in `semantics`; "stable-diffusion" with the text
            encoders of the pipeline `pretrained` at `revision`, whose weights the .json names by their hashes.
    Each string is encoded alone and padded to the encoder's length.
    Raises: BadTexts; pretrained.BadGenerator where the pipeline cannot be used.
    """
    records = read_json(classes)
    strings, rows = strings_of(records, levels)
    if idle := idle_levels(records, levels):
        print(
            f"All species have one name at level {', '.join(idle)}, so what is learned there tells none from another. "
            "It may be left out of diffusion.levels.",
            file=sys.stderr,
        )
    pooled = source = None
    if backbone == "small":
        if semantics is None:
            raise BadTexts("The small backbone reads names with the run's own text tower; give `semantics`.")
        tokens = centred(semantic_model.load(semantics).tokens(strings))
    else:
        pipeline = pipelines.opened(pretrained, revision)
        (tokens, pooled), source = pipeline.text(strings), pipeline.facts()
    index = {name: torch.tensor(value, dtype=torch.long) for name, value in rows.items()}
    Lineages(levels, strings, tokens, **index, pooled=pooled, source=source).save(out)


def idle_levels(records: list[dict], levels: list[str]) -> list[str]:
    """Levels at which all of several species have the same name; the coarsest may be one, as what is common to all."""
    return [level for level in levels[1:] if len(records) > 1 and len({record.get(level) for record in records}) == 1]


def centred(tokens: Tensor) -> Tensor:
    """(S, n, d) less the mean over all strings at each place, at unit variance overall.

    [ext] States of a tower this small have a large part in common, which hides the names from a denoiser
    that is trained briefly. Pipelines get their tokens as published.
    """
    apart = tokens - tokens.mean(0)
    return apart / apart.std()
