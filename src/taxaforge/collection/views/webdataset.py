"""View `webdataset`: tar shards <split>-00000-of-00007.tar with <sha256>.<suffix> and <sha256>.json a picture.

Pictures lie in the order of their digests, which mixes the species, so that a shard read from end to end is already
shuffled. Format: https://github.com/webdataset/webdataset
"""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from taxaforge.collection.attribution import credit, licence_url
from taxaforge.collection.views import SPLITS, Picture
from taxaforge.files import write_json
from taxaforge.progress import Progress

MOST_PICTURES, MOST_BYTES = 1_000, 500_000_000
"""Of one shard: small enough to fetch at once, large enough to read in one go."""


def write(pictures: Sequence[Picture], classes: Sequence[dict], folder: Path, progress: Progress) -> list[str]:
    """Fills the folder; see `views.Writer`. A picture's place is `<shard>/<name>`."""
    where: dict[str, str] = {}
    for split in SPLITS:
        shards = _shards(sorted((picture for picture in pictures if picture.split == split), key=lambda p: p.key))
        for number, shard in enumerate(shards):
            name = f"{split}-{number:05d}-of-{len(shards):05d}.tar"
            with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
                for picture in shard:
                    _add(tar, picture)
                    where[picture.key] = f"{name}/{picture.name}"
                    progress(len(where))
    write_json(folder / "classes.json", list(classes))
    (folder / "README.md").write_text(_README, "utf-8")
    return [where[picture.key] for picture in pictures]


def _shards(pictures: Sequence[Picture]) -> list[list[Picture]]:
    shards: list[list[Picture]] = []
    held = 0
    for picture in pictures:
        size = picture.file.stat().st_size
        if not shards or len(shards[-1]) == MOST_PICTURES or held + size > MOST_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(picture)
        held += size
    return shards


def _add(tar: tarfile.TarFile, picture: Picture) -> None:
    """The picture's bytes and its row; no owner, no time, so that equal pictures give equal shards."""
    row = {name: value for name, value in picture.row.items() if value is not None}
    row |= {"attribution": credit(picture.row), "license_url": licence_url(picture.row["license"])}
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    with picture.file.open("rb") as file:
        tar.addfile(_member(picture.name, picture.file.stat().st_size), file)
    tar.addfile(_member(f"{picture.key}.json", len(text)), io.BytesIO(text))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


_README = """# WebDataset shards

Tar files of at most 1,000 pictures, in random order. Each picture has its file and a `.json` with everything the
collection's table says about it: `label`, `scientificName`, lineage, `license`, `attribution` and more.
`classes.json` lists the species in the order of their labels. Pictures have the format in which they were received,
so name every suffix that occurs.

```python
from pathlib import Path

import webdataset

shards = sorted(map(str, Path(".").glob("train-*.tar")))
pictures = webdataset.WebDataset(shards, shardshuffle=False).decode("pil").to_tuple("jpg;png;webp;tif;gif;bmp", "json")
image, row = next(iter(pictures))
print(row["label"], row["scientificName"], image.size)
```
"""
