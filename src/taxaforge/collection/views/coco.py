"""View `coco`: the layout of the iNaturalist 2021 competition, which is COCO without boxes.

train.json, val.json, test.json and reserve.json beside <split>/<category>/<sha256>.<suffix>.
Layout: https://github.com/visipedia/inat_comp/tree/master/2021
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from taxaforge import __version__
from taxaforge.collection.attribution import credit, licence_name, licence_url, strictness
from taxaforge.collection.manifest import RANKS
from taxaforge.collection.views import SPLITS, Picture, place
from taxaforge.files import write_json
from taxaforge.progress import Progress

FILES = {"train": "train", "validation": "val", "test": "test", "reserve": "reserve"}
"""Split -> name of its JSON file and of its folder, as the competition has them."""


def write(pictures: Sequence[Picture], classes: Sequence[dict], folder: Path, progress: Progress) -> list[str]:
    """Fills the folder; see `views.Writer`. Ids of pictures run through all splits."""
    categories = [_category(label, taxon) for label, taxon in enumerate(classes)]
    licences = sorted({picture.row["license"] for picture in pictures}, key=strictness)
    documents = {
        split: {
            "info": {"description": f"Split {split}. Made with taxaforge {__version__}.", "version": "1.0"},
            "licenses": [
                {"id": number, "name": licence_name(licence), "url": licence_url(licence) or ""}
                for number, licence in enumerate(licences)
            ],
            "categories": categories,
            "images": [],
            "annotations": [],
        }
        for split in SPLITS
        if any(picture.split == split for picture in pictures)
    }
    places = []
    for number, picture in enumerate(pictures):
        label = picture.row["label"]
        name = f"{FILES[picture.split]}/{categories[label]['image_dir_name']}/{picture.name}"
        place(picture.file, folder / name)
        places.append(name)
        document = documents[picture.split]
        document["images"].append(_image(number, name, picture.row, licences.index(picture.row["license"])))
        document["annotations"].append({"id": number, "image_id": number, "category_id": label})
        progress(number + 1)
    for split, document in documents.items():
        write_json(folder / f"{FILES[split]}.json", document)
    (folder / "README.md").write_text(_README, "utf-8")
    return places


def _category(label: int, taxon: Mapping) -> dict:
    genus, _, epithet = taxon["species"].partition(" ")
    ranks = {rank: taxon.get(rank) or "" for rank in RANKS}
    return {
        "id": label,
        "name": taxon["species"],
        "common_name": taxon.get("vernacularName") or "",
        "supercategory": ranks["class"] or ranks["kingdom"] or "life",
        **ranks,
        "genus": ranks["genus"] or genus,
        "specific_epithet": epithet,
        "image_dir_name": _folder(label, [*ranks.values()][:-1], ranks["genus"] or genus, epithet),
        "taxon_id": taxon.get("taxonID") or "",
    }


def _folder(label: int, above: Sequence[str], genus: str, epithet: str) -> str:
    parts = [f"{label:05d}", *above, genus, *epithet.split()]
    return "_".join(
        "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in part) for part in parts if part
    )


def _image(number: int, name: str, row: Mapping, licence: int) -> dict:
    return {
        "id": number,
        "file_name": name,
        "width": row["img_width"],
        "height": row["img_height"],
        "license": licence,
        "rights_holder": row["rightsHolder"] or row["creator"] or "",
        "date": row["eventDate"],
        "latitude": row["decimalLatitude"],
        "longitude": row["decimalLongitude"],
        "location_uncertainty": row["coordinateUncertaintyInMeters"],
        "identifier": row["identifier"],
        "attribution": credit(row),
    }


_README = """# COCO, in the layout of iNaturalist 2021

A JSON file and a folder of pictures a split: `train`, `val`, `test` and, where the collection has one, `reserve`.
Pictures have no boxes; an annotation gives a picture its category, whose id is the label of the collection.
`identifier` names the picture in the collection's own table. `attribution` is the line that a use of the picture
must carry; `ATTRIBUTION.csv` has its parts.

```python
from pycocotools.coco import COCO

train = COCO("train.json")
first = train.loadAnns(train.getAnnIds())[0]
print(train.loadImgs(first["image_id"])[0]["file_name"], train.loadCats(first["category_id"])[0]["name"])
```
"""
