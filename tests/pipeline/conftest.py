"""A search for traces of images in whatever files a run leaves."""

import io
import re
import zipfile
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

PICTURES = {".png", ".jpg", ".jpeg"}


@pytest.fixture(scope="session")
def traces():
    """traces(folder, images, others, allowed): see `find`."""
    return find


def find(folder: Path, images: Mapping[str, np.ndarray], others: np.ndarray, allowed: str) -> set[tuple[str, str]]:
    """(path in the folder, "name" or "pixels") of every file in which one of the images left a trace.

    A trace is its identifier, or one of its rows of pixels that no other image has: as bytes, as floats from -1 to 1, rows
    of colours or of one colour after the other, in the file as it stands, in a picture that it encodes, or in an archive.

    Args:
        images: identifier -> (S, S, 3) uint8. others: (N, S, S, 3) uint8, images that may be anywhere.
        allowed: pattern of paths that are not searched.
    """
    names = {name.encode() for name in images}
    start = "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*images, strict=False))
    ).encode()
    token = (
        re.compile(re.escape(start) + rb"[\w:./+-]*")
        if len(start) > 2
        else re.compile(b"|".join(map(re.escape, names)))
    )
    patterns = [pattern for image in images.values() for pattern in written(own_row(image, others))]
    found = set()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and not re.search(allowed, place):
            for data in contents(path.name, path.read_bytes()):
                if any(word.rstrip(b".:/") in names for word in set(token.findall(data))):
                    found.add((place, "name"))
                if any(pattern in data for pattern in patterns):
                    found.add((place, "pixels"))
    return found


def own_row(image: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(S, 3) the row nearest the middle that no other image has and that is not one colour."""
    middle = len(image) // 2
    for row in sorted(range(len(image)), key=lambda row: abs(row - middle)):
        alike = (others == image[row]).all((2, 3)).any() if len(others) else False
        if not alike and len(np.unique(image[row])) > 4:
            return image[row]
    raise AssertionError("an image without a row of its own cannot be looked for")


def written(row: np.ndarray) -> list[bytes]:
    """A row in the ways in which pixels are written down; mirrored, too."""
    found = []
    for one in (row, row[::-1]):
        unit = one.astype(np.float32) / 127.5 - 1
        found += [one.tobytes(), unit.tobytes(), unit[:, 0].tobytes(), np.ascontiguousarray(one[:, 0]).tobytes()]
    return found


def contents(name: str, data: bytes) -> list[bytes]:
    """The bytes of a file, and what is packed in them: members of an archive, pixels of a picture, cells of a table."""
    found, suffix = [data], Path(name).suffix
    if suffix in PICTURES:
        from PIL import Image

        found.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes())
    elif suffix == ".parquet":
        import pyarrow.parquet as pq

        columns = pq.read_table(io.BytesIO(data)).to_pydict().values()
        found.append("\n".join(str(cell) for cells in columns for cell in cells).encode())
    elif suffix in (".zip", ".npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.namelist():
                found += [member.encode(), *contents(member, archive.read(member))]
    return found
