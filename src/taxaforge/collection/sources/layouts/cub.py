"""Layout `cub`: Caltech-UCSD Birds 200-2011 as it unpacks (CUB_200_2011/).

From the README of the dataset: images.txt holds `<image_id> <image_name>` with names relative to images/,
classes.txt `<class_id> <class_name>`, image_class_labels.txt `<image_id> <class_id>`, train_test_split.txt
`<image_id> <is_training_image>` with 1 for training and 0 for test. Class names are English, numbered and
written with underscores, such as 067.Anna_Hummingbird; licences and observers are not given.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from taxaforge.collection.sources.layouts import Picture, UnreadableTable, lines, root_with

FILES = ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt")
SPLITS = {"1": "train", "0": "test"}


def root(base: Path) -> Path:
    """The folder that holds images.txt and images/."""
    return root_with(base, (*FILES, "images"), "CUB_200_2011", "CUB-200-2011")


def pictures(base: Path, cfg: Mapping) -> Iterator[Picture]:
    """In the order of images.txt. Labels: class name as distributed, in plain English, and the class number."""
    classes = dict(lines(base / "classes.txt", 2))
    label_of = dict(lines(base / "image_class_labels.txt", 2))
    split_of = dict(lines(base / "train_test_split.txt", 2))
    for image_id, name in lines(base / "images.txt", 2):
        label, split = label_of.get(image_id), SPLITS.get(split_of.get(image_id, ""))
        if label not in classes or split is None:
            raise UnreadableTable(
                f"{base}: image {image_id} ({name}) has no class or no split. The four text files must be of one dataset."
            )
        written = classes[label]
        english = written.partition(".")[2].replace("_", " ") or written.replace("_", " ")
        known = {"datasetKey": "CUB-200-2011", "occurrenceID": image_id, "officialSplit": split}
        yield Picture(f"images/{name}", (written, english, label), known, f"images.txt:{image_id}")
