"""Sentences beyond the run's lineages: captions, learned tokens. Encoded once, read by the level modules."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from taxaforge.diffusion import pretrained as pipelines
from taxaforge.diffusion.backbone import Backbone
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json

if TYPE_CHECKING:
    from taxaforge.semantics.model import Semantics

WEIGHTS, TABLE = "prompts.safetensors", "prompts.json"


class NoPrompt(TaxaforgeError):
    """A method has no sentence for an image."""


@dataclass(frozen=True)
class Prompts:
    """Encoded sentences and whose they are.

    strings: S texts. tokens: (S, n, d) float32, as the level modules read them. pooled: (S, p), of SDXL alone.
    row: a species or the identifier of a training image -> its sentence. facts: the same keys -> plain values.
    """

    strings: list[str]
    tokens: Tensor
    row: dict[str, int]
    pooled: Tensor | None = None
    facts: dict[str, dict] = field(default_factory=dict)

    def save(self, folder: str | Path) -> None:
        """Writes prompts.safetensors and prompts.json into `folder`, which is made if need be."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"tokens": self.tokens} if self.pooled is None else {"tokens": self.tokens, "pooled": self.pooled}
        with atomic(folder / WEIGHTS) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}))
        write_json(folder / TABLE, {"strings": self.strings, "row": self.row, "facts": self.facts})

    @classmethod
    def load(cls, folder: str | Path) -> "Prompts":
        """Raises NoPrompt where the two files are missing or do not belong together."""
        folder = Path(folder)
        if not (folder / WEIGHTS).is_file() or not (folder / TABLE).is_file():
            raise NoPrompt(f"{folder} holds no encoded sentences. Delete it and run again.")
        table, tensors = read_json(folder / TABLE), load_file(folder / WEIGHTS)
        if {len(tensor) for tensor in tensors.values()} != {len(table["strings"])}:
            raise NoPrompt(f"{WEIGHTS} and {TABLE} in {folder} do not belong together. Delete it and run again.")
        return cls(table["strings"], row=table["row"], facts=table["facts"], **tensors)

    def at(self, keys: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(B, n, d) tokens and (B, p) sentence vectors of keys. Raises NoPrompt naming the first that has none."""
        for key in keys:
            if key not in self.row:
                raise NoPrompt(
                    f"There is no sentence for {key!r}: the sentences were made for other images or species."
                )
        rows = [self.row[key] for key in keys]
        return self.tokens[rows], None if self.pooled is None else self.pooled[rows]


def conditions(backbone: Backbone, label: Tensor, prompts: Prompts, keys: Sequence[str]) -> Tensor:
    """(B, n, d): the whole lineage of classes (B,), with the keys' sentences in the place of the finest names."""
    tokens, pooled = prompts.at(keys)
    return backbone.prompted(label, tokens.to(backbone.text_tokens.dtype), pooled)


@dataclass(frozen=True)
class Encoder:
    """The frozen text encoder of a run, giving tokens as its level modules were trained on.

    affine: (mean (n, d), deviation): tokens = (states - mean) / deviation. Of the small backbone the centring of the
    run's own lineages (`diffusion.texts.centred`); mean 0 and deviation 1 for pipelines.
    """

    affine: tuple[Tensor, float]
    tower: "Semantics | pipelines.Pipeline"

    @classmethod
    def opened(
        cls,
        texts: str | Path,
        backbone: str,
        semantics: str | Path | None = None,
        pretrained: str = "",
        revision: str = "main",
    ) -> "Encoder":
        """
        Args:
            texts: texts.safetensors of the run; the .json beside it says what was centred.
            backbone: "small" reads with `semantics`, "stable-diffusion" with the pipeline.
        """
        if backbone != "small":
            return cls((torch.zeros(()), 1.0), pipelines.opened(pretrained, revision))
        from taxaforge.semantics.model import load  # open_clip; drawing only reads what was encoded

        tower = load(semantics)
        states = tower.tokens(read_json(Path(texts).with_suffix(".json"))["strings"])
        mean = states.mean(0)
        return cls((mean, (states - mean).std().item()), tower)

    def encode(self, strings: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(S, n, d) tokens, and (S, p) sentence vectors of SDXL."""
        if isinstance(self.tower, pipelines.Pipeline):
            return self.tower.text(list(strings))
        mean, deviation = self.affine
        return (self.tower.tokens(list(strings)) - mean) / deviation, None
