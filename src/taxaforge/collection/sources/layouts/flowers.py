"""Layout `flowers`: Oxford 102 Flowers as it is distributed: jpg/, imagelabels.mat, setid.mat.

From torchvision's reader (datasets/flowers102.py): imagelabels.mat holds `labels`, one number from 1 to 102 for
each picture; the picture of number n is jpg/image_<n, five digits>.jpg; setid.mat holds the numbers of the
pictures of each official split as `trnid`, `valid` and `tstid`. What a label means is not in the files.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from taxaforge.collection.sources.layouts import Picture, UnreadableTable, root_with

SPLITS = {"trnid": "train", "valid": "validation", "tstid": "test"}


def root(base: Path) -> Path:
    """The folder that holds jpg/ and the two .mat files; torchvision puts them into flowers-102."""
    return root_with(base, ("jpg", "imagelabels.mat", "setid.mat"), "flowers-102", "Oxford 102 Flowers")


def pictures(base: Path, cfg: Mapping) -> Iterator[Picture]:
    """In the order of the picture numbers. Raises: UnreadableTable, also where nothing says what the labels mean."""
    if not cfg.get("names"):
        raise UnreadableTable(
            "The labels of Oxford 102 Flowers are numbers. Set `collection.folder.names` to a CSV with the columns "
            "`label` (1 to 102) and `scientificName`."
        )
    labels = _numbers(base / "imagelabels.mat", "labels")
    split_of = {number: split for name, split in SPLITS.items() for number in _numbers(base / "setid.mat", name)}
    for number, label in enumerate(labels, 1):
        known = {"datasetKey": "Oxford 102 Flowers", "occurrenceID": str(number), "officialSplit": split_of.get(number)}
        yield Picture(f"jpg/image_{number:05d}.jpg", (str(label),), known, f"imagelabels.mat:{number}")


def _numbers(file: Path, name: str) -> list[int]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return [int(value) for value in loadmat(file)[name].ravel()]
    except (OSError, ValueError, TypeError, KeyError, MatReadError) as error:
        raise UnreadableTable(
            f"{file} has no readable {name!r} ({error}). Fetch it anew from its distributor."
        ) from None
