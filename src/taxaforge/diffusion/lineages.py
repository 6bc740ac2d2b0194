"""The frozen text of every name on every level: what the level modules read."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    null: (L,) rows of `"<level>: unknown"` and `"<level>: None"`.
    """

    levels: list[str]
    strings: list[str]
    tokens: Tensor
    index: Tensor
    unknown: Tensor
    null: Tensor

    @property
    def width(self) -> int:
        return self.tokens.shape[-1]

    def to(self, device: str | torch.device) -> "Lineages":
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "index", "unknown", "null")}
        return Lineages(self.levels, self.strings, **moved)

    def save(self, path: str | Path) -> None:
        """Writes `path` (.safetensors) and the .json beside it."""
        with atomic(path) as temporary:
            temporary.write_bytes(save({"tokens": self.tokens.contiguous()}))
        rows = {name: getattr(self, name).tolist() for name in ("index", "unknown", "null")}
        write_json(Path(path).with_suffix(".json"), {"levels": self.levels, "strings": self.strings, **rows})

    @classmethod
    def load(cls, path: str | Path) -> "Lineages":
        """Reads what `save` wrote; raises BadTexts where the two files do not belong together."""
        table = read_json(Path(path).with_suffix(".json"))
        tokens = load_file(path)["tokens"]
        rows = {name: torch.tensor(table[name], dtype=torch.long) for name in ("index", "unknown", "null")}
        if len(tokens) != len(table["strings"]) or rows["index"].shape[1:] != (len(table["levels"]),):
            raise BadTexts(f"{path} and the .json beside it do not belong together. Delete both and run again.")
        return cls(table["levels"], table["strings"], tokens, **rows)


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
