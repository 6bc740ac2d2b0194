"""The frozen text of every name on every level: what the level modules read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json

UNKNOWN = "unknown"
"""The name of a rank that a class has no name on; trained like any other name."""
NULL = "None"
"""The name that stands for "no condition", the weak side of classifier-free guidance. Not the same as unknown."""


class BadTexts(TaxaforgeError):
    """The text file does not fit the run."""


@dataclass(frozen=True)
class Lineages:
    """Token sequences h of all level strings, and which of them each class has on each level.

    levels: L names, coarse to fine. strings: S distinct texts `"<level>: <name>"`. tokens: (S, n, d)
    float32, frozen encoder states. index: (C, L) rows of `tokens`, class order of the run. unknown,
    null: (L,) rows of `"<level>: unknown"` and `"<level>: None"`. pooled: (S, p) sentence vectors, of
    SDXL alone. source: which pipeline's weights said all this (`pretrained.Pipeline.facts`), None for the
    run's own text tower.
    """

    levels: list[str]
    strings: list[str]
    tokens: Tensor
    index: Tensor
    unknown: Tensor
    null: Tensor
    pooled: Tensor | None = None
    source: dict | None = None

    @property
    def width(self) -> int:
        return self.tokens.shape[-1]

    @property
    def pooled_width(self) -> int:
        """p, 0 where there are no sentence vectors."""
        return 0 if self.pooled is None else self.pooled.shape[-1]

    def to(self, device: str | torch.device) -> "Lineages":
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "index", "unknown", "null")}
        pooled = None if self.pooled is None else self.pooled.to(device)
        return replace(self, **moved, pooled=pooled)

    def save(self, path: str | Path) -> None:
        """Writes `path` (.safetensors) and the .json beside it."""
        tensors = {"tokens": self.tokens} if self.pooled is None else {"tokens": self.tokens, "pooled": self.pooled}
        with atomic(path) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}))
        rows = {name: getattr(self, name).tolist() for name in ("index", "unknown", "null")}
        table = {"levels": self.levels, "strings": self.strings, "source": self.source, **rows}
        write_json(Path(path).with_suffix(".json"), table)

    @classmethod
    def load(cls, path: str | Path) -> "Lineages":
        """Reads what `save` wrote; raises BadTexts where the two files do not belong together."""
        table = read_json(Path(path).with_suffix(".json"))
        tensors = load_file(path)
        rows = {name: torch.tensor(table[name], dtype=torch.long) for name in ("index", "unknown", "null")}
        strings = {len(values) for values in (table["strings"], *tensors.values())}
        if len(strings) != 1 or rows["index"].shape[1:] != (len(table["levels"]),):
            raise BadTexts(f"{path} and the .json beside it do not belong together. Delete both and run again.")
        return cls(table["levels"], table["strings"], **tensors, **rows, source=table["source"])


def strings_of(classes: Sequence[dict], levels: Sequence[str]) -> tuple[list[str], dict[str, list]]:
    """The distinct level strings of the classes, and the rows of each class, of unknown and of null.

    Args:
        classes: records of classes.json; a missing or empty rank becomes `unknown`.
        levels: rank names, coarse to fine.
    Returns:
        strings, sorted within a level; {"index": (C, L), "unknown": (L), "null": (L)} as lists.
    """
    strings: list[str] = []
    for level in levels:
        names = {record.get(level) or UNKNOWN for record in classes} - {UNKNOWN, NULL}
        strings += [f"{level}: {name}" for name in (*sorted(names), UNKNOWN, NULL)]
    row = {text: position for position, text in enumerate(strings)}
    return strings, {
        "index": [[row[f"{level}: {record.get(level) or UNKNOWN}"] for level in levels] for record in classes],
        "unknown": [row[f"{level}: {UNKNOWN}"] for level in levels],
        "null": [row[f"{level}: {NULL}"] for level in levels],
    }
