"""The image-text model of a run: one face for a tower trained here and for a pretrained one."""

from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
REFERENCE = "pretrained.json"
"""Stands in the place of weights: {"name": <open_clip name>} of a model that is loaded as published."""
BATCH = 64


class NoSemantics(TaxaforgeError):
    """The image-text model cannot be opened."""


class Semantics:
    """Images and sentences in one space, and the token states that generators read.

    Args:
        model: an open_clip CLIP or CustomTextCLIP. tokenizer: its tokenizer. device: where it computes.
    Attributes:
        width: d of the token states. context_length: tokens a sentence; longer ones are cut.
    """

    def __init__(self, model: nn.Module, tokenizer, device: str | torch.device = "cpu"):
        self.model = model.to(device).eval().requires_grad_(False)
        self.tokenizer, self.device = tokenizer, torch.device(device)
        self.tower = model.text if hasattr(model, "text") else model
        if not hasattr(self.tower, "token_embedding"):
            raise NoSemantics(
                f"The text tower {type(self.tower).__name__} is not open_clip's own, its token states cannot be read. "
                "Choose a model with a CLIP text tower in semantics.pretrained."
            )
        self.width = self.tower.token_embedding.embedding_dim
        self.context_length = tokenizer.context_length
        size = model.visual.image_size
        self.size = size if isinstance(size, int) else size[0]
        self.mean = torch.tensor(model.visual.image_mean, device=self.device).view(1, 3, 1, 1)
        self.std = torch.tensor(model.visual.image_std, device=self.device).view(1, 3, 1, 1)

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """uint8 (N, H, W, 3) square pictures -> the vision tower's input (N, 3, size, size)."""
        images = torch.tensor(np.asarray(pixels)).to(self.device).permute(0, 3, 1, 2).float() / 255
        if images.shape[-1] != self.size:
            images = interpolate(images, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (images - self.mean) / self.std

    @torch.inference_mode()
    def image(self, pixels: np.ndarray) -> Tensor:
        """(N, d) unit vectors of uint8 (N, H, W, 3) RGB pictures, on the CPU."""
        parts = [
            self.model.encode_image(self.prepare(pixels[first : first + BATCH]))
            for first in range(0, len(pixels), BATCH)
        ]
        return normalize(torch.cat(parts).float(), dim=-1).cpu()

    @torch.inference_mode()
    def text(self, sentences: list[str]) -> Tensor:
        """(N, d) unit vectors of sentences, on the CPU."""
        parts = [
            self.model.encode_text(self.tokenizer(sentences[first : first + BATCH]).to(self.device))
            for first in range(0, len(sentences), BATCH)
        ]
        return normalize(torch.cat(parts).float(), dim=-1).cpu()

    @torch.inference_mode()
    def tokens(self, sentences: list[str]) -> Tensor:
        """(N, n, width) states of the text tower after its final norm, before pooling, on the CPU."""
        parts = []
        for first in range(0, len(sentences), BATCH):
            ids = self.tokenizer(sentences[first : first + BATCH]).to(self.device)
            parts.append(token_states(self.tower, ids))
        return torch.cat(parts).float().cpu()


def token_states(tower: nn.Module, ids: Tensor) -> Tensor:
    """(N, n, width) of token ids (N, n): embed, add positions, transform under the causal mask, norm.

    The same operations as open_clip's `encode_text` up to pooling.
    """
    states = tower.token_embedding(ids) + tower.positional_embedding[: ids.shape[1]]
    mask = getattr(tower, "attn_mask", None)
    states = tower.transformer(states, attn_mask=None if mask is None else mask[: ids.shape[1], : ids.shape[1]])
    return tower.ln_final(states)


def load(dir: str | Path, device: str = "cpu") -> Semantics:
    """The image-text model in a folder as `semantics.train` writes it: of open_clip layout, or a reference.

    Raises: NoSemantics where the folder is neither, or an unsupported text tower is in it.
    """
    folder = Path(dir)
    if (folder / REFERENCE).is_file():
        return open_model(read_json(folder / REFERENCE)["name"], device)
    if not (folder / CONFIG).is_file():
        raise NoSemantics(
            f"{folder / CONFIG} is missing: the image-text model was not made. Delete {folder}, run again."
        )
    return open_model(f"local-dir:{folder}", device)


def open_model(name: str, device: str = "cpu") -> Semantics:
    """An open_clip model by `local-dir:<folder>` or `hf-hub:<id>`."""
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn before the saved ones are read
            model = open_clip.create_model(name, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(name)
    except (RuntimeError, FileNotFoundError, OSError, ValueError) as error:
        raise NoSemantics(
            f"The image-text model {name!r} cannot be opened: {error}. Check semantics.pretrained and, for hf-hub, "
            "the network or HF_HOME."
        ) from error
    return Semantics(model, tokenizer, device)
