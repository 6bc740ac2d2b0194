"""Layout `fishnet`: FishNet (Khan et al., ICCV 2023).

From github.com/faixan-khan/FishNet @b76b1b5, file anns/test.csv and main.py: anns/train.csv and anns/test.csv
have, among others, the columns `species`, `image`, `Genus`, `Family`, `source` and `Folder`. `image` is a file
name or, where the source is fishbase, the address the picture came from; the picture lies at
<Folder>/<last part of image>. The pictures unpack into Image_Library/ (samuelstevens/biobench, fishnet/download.py).

In test.csv `species` is filled for the 8,495 pictures from FishBase and empty for the 10,406 from iNaturalist,
which are named to the genus. A table `collection.folder.names` with the file name as `label` can name them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from taxaforge.collection.sources.layouts import Picture, UnreadableTable, tabular

COLUMNS = ("species", "image", "Folder")
SETTING = "A FishNet table"


def root(base: Path) -> Path:
    """`base` itself: the tables lie in it or in its anns/, the pictures in it or in its Image_Library/."""
    if _table(base, "train") is None and _table(base, "test") is None:
        raise UnreadableTable(
            f"{base} is no FishNet dataset: neither it nor its anns/ has train.csv or test.csv. Put the tables of the "
            "FishNet repository there, and the pictures beside them."
        )
    return base


def pictures(base: Path, cfg: Mapping) -> Iterator[Picture]:
    """In the order of the tables, train first. Labels: the species, where there is one, and the file name."""
    library = "Image_Library/" if (base / "Image_Library").is_dir() else ""
    for split in ("train", "test"):
        table = _table(base, split)
        if table is None:
            print(f"{base} has no {split}.csv: its pictures are left out")
            continue
        for number, row in tabular.rows(table, COLUMNS, SETTING):
            name = row["image"].rpartition("/")[2]
            known = {
                "datasetKey": "FishNet",
                "officialSplit": split,
                "publisher": {"fishbase": "FishBase", "inat": "iNaturalist"}.get(row.get("source", "")),
                "references": row["image"] if row["image"].startswith("http") else None,
            }
            labels = tuple(filter(None, (" ".join(row["species"].split()), name)))
            yield Picture(f"{library}{row['Folder']}/{name}" if name else "", labels, known, f"{table.name}:{number}")


def _table(base: Path, split: str) -> Path | None:
    places = (base / "anns" / f"{split}.csv", base / f"{split}.csv")
    return next((place for place in places if place.is_file()), None)
