"""Packs: what a training or scoring job reads. Pixels in one memory-mapped array, labels beside them.

A pack is two files with one stem: `<stem>.npy`, uint8 (N, size, size, 3) RGB, and `<stem>.json`:
`{"classes": [species...], "identifier": [N], "label": [N], "group": [N], "caption": [N]}`, and, where an
image is of two classes at once, `"other": [N], "share": [N]`. A sealed pack has all of these but the classes one level
deeper, under `"sealed"`, so that nothing finds a label where it looks for labels, and opens for OPENERS alone.
Plain numpy and JSON, so that jobs that compute need neither pandas nor pyarrow.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json

OPENERS = frozenset({"score_classifier"})
"""The rules that may open a sealed pack: the one that names test images, once, with classifiers that are finished."""


class Sealed(TaxaforgeError):
    """A sealed pack was asked for by somebody who may not open it."""


@dataclass(frozen=True)
class Pack:
    """Images of one split or of one method.

    pixels: (N, size, size, 3) uint8 RGB. classes: accepted species names, the order of all class
    indices of the run. identifier: (N) unique ids. label: (N) int64 indices into classes. group:
    (N) observation group, images of one group never lie in two splits. caption: (N) text, "" where
    there is none. other: (N,) int64, the class that an image also shows, -1 where there is none; left
    out, no image has one. share: (N,) float64 in 0..1, the weight of `label`, `other` having the
    rest; 1 where there is no other.
    Raises: TaxaforgeError where the columns do not fit each other.
    """

    pixels: np.ndarray
    classes: list[str]
    identifier: list[str]
    label: np.ndarray
    group: list[str]
    caption: list[str]
    other: np.ndarray | None = None
    share: np.ndarray | None = None

    def __post_init__(self):
        n = len(self.pixels)
        if (self.other is None) != (self.share is None):
            raise TaxaforgeError("A pack's columns 'other' and 'share' come together or not at all. Remake the pack.")
        if self.other is None:
            object.__setattr__(self, "other", np.full(n, -1, dtype=np.int64))
            object.__setattr__(self, "share", np.ones(n))
        columns = (self.identifier, self.label, self.group, self.caption, self.other, self.share)
        sizes = {n, *map(len, columns)}
        if len(sizes) != 1:
            raise TaxaforgeError(f"A pack's columns differ in length: {sorted(sizes)}. Remake the pack.")
        alone = self.other == -1
        within = (self.share >= 0) & (self.share <= 1) & (self.other >= -1) & (self.other < len(self.classes))
        wrong = np.flatnonzero(~within | (alone & (self.share != 1)))
        if len(wrong):
            i = wrong[0]
            raise TaxaforgeError(
                f"{self.identifier[i]} has share {self.share[i]} and other class {self.other[i]} of {len(self.classes)}: "
                "a share lies in 0..1 and is 1 where there is no other class. Remake the pack."
            )

    @property
    def soft(self) -> bool:
        """Whether any image is of two classes."""
        return bool((self.other >= 0).any())

    def __len__(self) -> int:
        return len(self.pixels)

    def save(self, pixels_path: str | Path, sealed: bool = False) -> None:
        """Writes `pixels_path` (.npy) and the .json beside it. sealed: for OPENERS alone."""
        pixels_path = Path(pixels_path)
        with atomic(pixels_path) as temporary, temporary.open("wb") as file:
            np.save(file, np.ascontiguousarray(self.pixels, dtype=np.uint8), allow_pickle=False)
        columns = {"identifier": self.identifier, "group": self.group, "caption": self.caption}
        if self.soft:
            columns |= {"other": [int(value) for value in self.other], "share": [float(value) for value in self.share]}
        columns["label"] = [int(value) for value in self.label]
        columns = {"sealed": columns} if sealed else columns
        write_json(pixels_path.with_suffix(".json"), {"classes": self.classes, **columns})

    @classmethod
    def load(cls, pixels_path: str | Path, opened_by: str = "") -> "Pack":
        """Opens the pixels memory-mapped.

        Args: opened_by: the rule that opens it; a pack that is not sealed opens for any.
        Raises: Sealed; TaxaforgeError where the two files do not belong together.
        """
        pixels_path = Path(pixels_path)
        columns = read_json(pixels_path.with_suffix(".json"))
        if "sealed" in columns:
            if opened_by not in OPENERS:
                raise Sealed(
                    f"{pixels_path} is sealed: of all jobs only {', '.join(OPENERS)} may open it, so that nothing is learnt or "
                    f"chosen from what it is measured on{f'; {opened_by} may not' if opened_by else ''}. Use the validation pack."
                )
            columns = {"classes": columns["classes"], **columns["sealed"]}
        types = {"label": np.int64, "other": np.int64, "share": np.float64}
        columns |= {name: np.asarray(columns[name], dtype=kind) for name, kind in types.items() if name in columns}
        return cls(pixels=np.load(pixels_path, mmap_mode="r", allow_pickle=False), **columns)
