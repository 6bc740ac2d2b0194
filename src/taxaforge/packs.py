"""Packs: what a training or scoring job reads. Pixels in one memory-mapped array, labels beside them.

A pack is two files with one stem: `<stem>.npy`, uint8 (N, size, size, 3) RGB, and `<stem>.json`:
`{"classes": [species...], "identifier": [N], "label": [N], "group": [N], "caption": [N]}`.
Plain numpy and JSON, so that jobs that compute need neither pandas nor pyarrow.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json


@dataclass(frozen=True)
class Pack:
    """Images of one split or of one method.

    pixels: (N, size, size, 3) uint8 RGB. classes: accepted species names, the order of all class
    indices of the run. identifier: (N) unique ids. label: (N) int64 indices into classes. group:
    (N) observation group, images of one group never lie in two splits. caption: (N) text, "" where
    there is none.
    """

    pixels: np.ndarray
    classes: list[str]
    identifier: list[str]
    label: np.ndarray
    group: list[str]
    caption: list[str]

    def __post_init__(self):
        sizes = {len(self.pixels), len(self.identifier), len(self.label), len(self.group), len(self.caption)}
        if len(sizes) != 1:
            raise TaxaforgeError(f"A pack's columns differ in length: {sorted(sizes)}. Remake the pack.")

    def __len__(self) -> int:
        return len(self.pixels)

    def save(self, pixels_path: str | Path) -> None:
        """Writes `pixels_path` (.npy) and the .json beside it."""
        pixels_path = Path(pixels_path)
        with atomic(pixels_path) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(self.pixels, dtype=np.uint8), allow_pickle=False)
        columns = {"identifier": self.identifier, "group": self.group, "caption": self.caption}
        label = [int(value) for value in self.label]
        write_json(pixels_path.with_suffix(".json"), {"classes": self.classes, "label": label, **columns})

    @classmethod
    def load(cls, pixels_path: str | Path) -> "Pack":
        """Opens the pixels memory-mapped; raises where the two files do not belong together."""
        pixels_path = Path(pixels_path)
        columns = read_json(pixels_path.with_suffix(".json"))
        columns["label"] = np.asarray(columns["label"], dtype=np.int64)
        return cls(pixels=np.load(pixels_path, mmap_mode="r", allow_pickle=False), **columns)
