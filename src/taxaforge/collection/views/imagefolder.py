"""View `imagefolder`: <split>/<label>_<species>/<sha256>.<suffix>, with a metadata.csv a split.

For the Hugging Face `datasets` library, torchvision's ImageFolder, and Croissant with pixels.
Layout: https://huggingface.co/docs/datasets/image_dataset
"""

from collections.abc import Sequence
from pathlib import Path

from taxaforge import tables
from taxaforge.collection.attribution import credit, licence_name
from taxaforge.collection.card import hub_licences
from taxaforge.collection.croissant import describe_folders
from taxaforge.collection.manifest import PUBLISHED, RANKS
from taxaforge.collection.markdown import front_matter
from taxaforge.collection.views import SPLITS, Picture, folder_of, place
from taxaforge.files import write_json
from taxaforge.progress import Progress
from taxaforge.tables import Column, Schema

ALWAYS = {
    "file_name": Column("string", "path relative to the folder of the split"),
    "label": PUBLISHED.columns["label"],
    "scientificName": PUBLISHED.columns["scientificName"],
    "identifier": PUBLISHED.columns["identifier"],
    "licence": Column("string", "licence of the picture, as people write it"),
    "attribution": Column("string", "the line that a use of the picture must carry"),
}
IF_COMPLETE = (*RANKS, "vernacularName", "caption")
"""Columns written only where no picture lacks them: to a loader, one that is empty in one split has another type."""


def write(pictures: Sequence[Picture], classes: Sequence[dict], folder: Path, progress: Progress) -> list[str]:
    """Fills the folder; see `views.Writer`."""
    complete = [name for name in IF_COMPLETE if all(picture.row[name] for picture in pictures)]
    schema = Schema("imagefolder", ("identifier",), ALWAYS | {name: PUBLISHED.columns[name] for name in complete})
    lines: dict[str, list[dict]] = {}
    places = []
    for number, picture in enumerate(pictures, 1):
        row = picture.row
        name = f"{folder_of(row['label'], classes[row['label']])}/{picture.name}"
        place(picture.file, folder / picture.split / name)
        places.append(f"{picture.split}/{name}")
        line = {"file_name": name, "licence": licence_name(row["license"]), "attribution": credit(row)}
        lines.setdefault(picture.split, []).append({**{column: row.get(column) for column in schema.columns}, **line})
        progress(number)
    for split, rows in lines.items():
        tables.write(schema, rows, folder / split / "metadata.csv")
    write_json(folder / "croissant.json", describe_folders([picture.row for picture in pictures], classes))
    header = hub_licences([picture.row for picture in pictures]) | _header(list(lines), schema, classes)
    (folder / "README.md").write_text(f"{front_matter(header)}\n\n{_README}", "utf-8")
    return places


def _header(splits: Sequence[str], schema: Schema, classes: Sequence[dict]) -> dict:
    """For the Hugging Face hub: which files are which split, and the names of the labels."""
    names = {str(number): record["species"] for number, record in enumerate(classes)}
    types = {"file_name": {"name": "image", "dtype": "image"}}
    types["label"] = {"name": "label", "dtype": {"class_label": {"names": names}}}
    config = {
        "config_name": "default",
        "data_files": [{"split": split, "path": f"{split}/**"} for split in SPLITS if split in splits],
        "features": [types.get(name, {"name": name, "dtype": "string"}) for name in schema.columns],
    }
    return {"task_categories": ["image-classification"], "configs": [config]}


_README = """# Images in folders

One folder a split, in it one a species; files are named by the digest of their content. `metadata.csv` in each
split has species, licence and attribution of each picture; `ATTRIBUTION.csv` has the parts of every attribution on
their own.

```python
from pathlib import Path

from datasets import load_dataset

pictures = load_dataset(str(Path(".").resolve()))  # the full path of this folder
print(pictures["train"].features["label"].names)
```

`croissant.json` describes the same pictures for other programs:

```python
from pathlib import Path

import mlcroissant

images = mlcroissant.Dataset(Path("croissant.json").resolve())
for record in images.records("images", filters={"images/split": "train"}):
    print(record["images/label"], record["images/image"].size)
    break
```
"""
