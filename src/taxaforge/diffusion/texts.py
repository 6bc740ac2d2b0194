"""Encodes the level strings of a run once, with the frozen text tower of the backbone."""

from pathlib import Path

import torch
from torch import Tensor

from taxaforge.diffusion.lineages import BadTexts, Lineages, strings_of
from taxaforge.files import read_json
from taxaforge.semantics import model as semantic_model

BATCH = 64


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
            encoder of the pipeline `pretrained` at `revision`.
    Each string is encoded alone and padded to the encoder's length, states after the final norm.
    """
    strings, rows = strings_of(read_json(classes), levels)
    if backbone == "small":
        if semantics is None:
            raise BadTexts("The small backbone reads names with the run's own text tower; give `semantics`.")
        tokens = centred(semantic_model.load(semantics).tokens(strings))
    else:
        tokens = pipeline_tokens(strings, pretrained, revision)
    index = {name: torch.tensor(value, dtype=torch.long) for name, value in rows.items()}
    Lineages(levels, strings, tokens, **index).save(out)


def centred(tokens: Tensor) -> Tensor:
    """(S, n, d) less the mean over all strings at each place, at unit variance overall.

    [ext] States of a tower this small have a large part in common, which hides the names from a denoiser
    that is trained briefly. Pipelines get their tokens as published.
    """
    apart = tokens - tokens.mean(0)
    return apart / apart.std()


@torch.inference_mode()
def pipeline_tokens(strings: list[str], pretrained: str, revision: str) -> Tensor:
    """(N, n, d) `last_hidden_state` of the CLIP text encoder of a Stable Diffusion pipeline."""
    from transformers import CLIPTextModel, CLIPTokenizer

    where = {"pretrained_model_name_or_path": pretrained, "revision": revision}
    tokenizer = CLIPTokenizer.from_pretrained(**where, subfolder="tokenizer")
    encoder = CLIPTextModel.from_pretrained(**where, subfolder="text_encoder").eval()
    length = encoder.config.max_position_embeddings
    parts = []
    for first in range(0, len(strings), BATCH):
        batch = strings[first : first + BATCH]
        ids = tokenizer(batch, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        parts.append(encoder(ids)[0])
    return torch.cat(parts)
