"""Every view, loaded again with the library that it is for: the same ids, labels, splits, counts and bytes."""

import csv
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.collection import views
from taxaforge.collection.manifest import NotPublishable
from taxaforge.collection.schema import METADATA, SPLITS
from taxaforge.errors import TaxaforgeError

SPECIES = ("Aglais io", "Pica pica", "Quercus × rosacea")
CLASSES = [
    {"species": name, "taxonID": f"snapshot:{number}", "kingdom": kingdom, "phylum": None, "class": None, "order": "Order",
     "family": "Family", "genus": name.split()[0], "vernacularName": "tree" if number == 2 else None}
    for number, (name, kingdom) in enumerate(zip(SPECIES, ("Animalia", "Animalia", "Plantae"), strict=True))
]  # fmt: skip
DEALT = ("train", "train", "train", "validation", "test", "reserve", "unused")
LICENCES = ("CC0-1.0", "CC-BY-4.0", "LicenseRef-CC-BY-SA")
FORMATS = (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"), ("tif", "TIFF"))


def pictures(folder: Path, count: int = 28) -> tuple[list[dict], list[dict]]:
    """Rows of metadata and splits; the files are written into `folder`/images. One more file there was rejected."""
    rows, splits = [], []
    for k in range(count):
        suffix, kind = FORMATS[k % 4]
        pixels = np.random.default_rng(k).integers(0, 256, (20 + k, 30, 3), dtype=np.uint8)
        file = folder / f"picture.{suffix}"
        Image.fromarray(pixels).save(file, kind)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        name = f"images/{digest[:2]}/{digest}.{suffix}"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        file.rename(folder / name)
        species = SPECIES[k % 3]
        rows.append(dict.fromkeys(METADATA.columns) | {
            "identifier": f"shots/{k:03d}.{suffix}", "file_name": name, "sha256": digest, "scientificName": species,
            "license": LICENCES[k % 3], "creator": "Ada | Lovelace" if k % 2 else None,
            "decimalLatitude": 47.5 if k % 2 else None, "eventDate": "2021-05-06", "source": "folder",
            "caption": f"picture {k}", "errorCode": "", "img_format": kind, "img_width": 30, "img_height": 20 + k,
            "img_pixel_sha256": digest, "img_phash": digest, "qc_contrast": 60.0, "qc_sharpness": 9.0, "qc_mono": False,
            "qc_duplicate_set": f"shots/{k:03d}.{suffix}",
        })  # fmt: skip
        splits.append(
            {
                "identifier": rows[-1]["identifier"],
                "split": DEALT[k // 3 % 7],
                "group": str(k),
                "scientificName": species,
            }
        )
    rejected = folder / "images/00/rejected.png"
    rejected.parent.mkdir(exist_ok=True)
    rejected.write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    return rows, splits


def arguments(folder: Path, rows: list[dict], splits: list[dict]) -> dict:
    tables.write(METADATA, rows, folder / "metadata.parquet")
    tables.write(SPLITS, splits, folder / "splits.parquet")
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    names = {"metadata": "metadata.parquet", "splits": "splits.parquet", "images": "images", "classes": "classes.json"}
    return {name: folder / file for name, file in names.items()} | {"licences": LICENCES}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    files = arguments(folder, *pictures(folder))
    for view in ("imagefolder", "coco", "webdataset"):
        views.export(view=view, **files, out=folder / "views" / view)
    return folder


def expected(source: Path, key: str = "identifier") -> dict:
    """key -> (label, split) of the pictures that have a use."""
    split = {row["identifier"]: row["split"] for row in tables.read(SPLITS, source / "splits.parquet")}
    rows = tables.read(METADATA, source / "metadata.parquet")
    found = {row[key]: (SPECIES.index(row["scientificName"]), split[row["identifier"]]) for row in rows}
    return {name: value for name, value in found.items() if value[1] != "unused"}


def rgb(picture: Image.Image) -> bytes:
    return picture.convert("RGB").tobytes()


def pixels(source: Path) -> dict[str, bytes]:
    rows = tables.read(METADATA, source / "metadata.parquet")
    return {row["identifier"]: rgb(Image.open(source / row["file_name"])) for row in rows}


def test_the_collection_of_these_tests_has_every_split_and_something_unused(source):
    assert {split for _, split in expected(source).values()} == set(DEALT) - {"unused"}
    assert len(expected(source)) == 25


def test_imagefolder_loads_with_the_hugging_face_library(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(os.fspath(source / "views/imagefolder"), cache_dir=os.fspath(tmp_path))
    found = {row["identifier"]: (row["label"], split) for split, rows in loaded.items() for row in rows}
    assert found == expected(source)
    assert sum(map(len, loaded.values())) == 25
    assert loaded["train"].features["label"].names == list(SPECIES)
    seen = {row["identifier"]: rgb(row["image"]) for rows in loaded.values() for row in rows}
    assert seen.items() <= pixels(source).items()
    assert {row["caption"] for row in loaded["test"]} == {
        f"picture {int(row['identifier'][6:9])}" for row in loaded["test"]
    }


def test_imagefolder_leaves_out_a_column_that_some_picture_lacks(source):
    heads = {path.read_text("utf-8").splitlines()[0] for path in (source / "views/imagefolder").glob("*/metadata.csv")}
    assert heads == {"file_name,label,scientificName,identifier,licence,attribution,kingdom,order,family,genus,caption"}


def test_imagefolder_without_captions_in_one_split_still_loads(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    rows, splits = pictures(tmp_path)
    test = {row["identifier"] for row in splits if row["split"] == "test"}
    rows = [row | {"caption": "" if row["identifier"] in test else "7"} for row in rows]
    views.export(view="imagefolder", **arguments(tmp_path, rows, splits), out=tmp_path / "out")
    loaded = datasets.load_dataset(os.fspath(tmp_path / "out"), cache_dir=os.fspath(tmp_path / "cache"))
    assert sum(map(len, loaded.values())) == 25


def test_folders_of_species_sort_in_the_order_of_the_labels(source):
    folders = sorted(path.name for path in (source / "views/imagefolder/train").iterdir() if path.is_dir())
    assert folders == ["00000_Aglais_io", "00001_Pica_pica", "00002_Quercus_rosacea"]


def test_croissant_of_the_folders_loads_pixels_labels_and_one_split_alone(source):
    mlcroissant = pytest.importorskip("mlcroissant")
    where = source / "views/imagefolder/croissant.json"
    dataset = mlcroissant.Dataset(where)
    assert dataset.metadata.ctx.issues.errors == set()
    records = list(dataset.records("images"))
    found = {
        record["images/sha256"].decode(): (record["images/label"], record["images/split"].decode())
        for record in records
    }
    assert found == expected(source, "sha256")
    assert len(records) == 25
    by_digest = {row["sha256"]: row["identifier"] for row in tables.read(METADATA, source / "metadata.parquet")}
    seen = {by_digest[record["images/sha256"].decode()]: rgb(record["images/image"]) for record in records}
    assert seen.items() <= pixels(source).items()
    tested = list(mlcroissant.Dataset(where).records("images", filters={"images/split": "test"}))
    assert Counter(record["images/split"] for record in tested) == {b"test": 3}


def test_coco_loads_with_pycocotools(source):
    coco = pytest.importorskip("pycocotools.coco")
    found, ids = {}, []
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test"), ("reserve", "reserve")):
        loaded = coco.COCO(source / f"views/coco/{name}.json")
        for mark in loaded.loadAnns(loaded.getAnnIds()):
            (image,) = loaded.loadImgs(mark["image_id"])
            (category,) = loaded.loadCats(mark["category_id"])
            assert category["name"] == SPECIES[category["id"]]
            content = (source / "views/coco" / image["file_name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == Path(image["file_name"]).stem
            with Image.open(source / "views/coco" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
            assert image["file_name"].split("/")[:2] == [name, category["image_dir_name"]]
            found[image["identifier"]] = (mark["category_id"], split)
            ids.append(image["id"])
    assert found == expected(source)
    assert len(set(ids)) == len(ids) == 25


def test_coco_has_the_fields_of_inaturalist_2021(source):
    document = json.loads((source / "views/coco/train.json").read_text("utf-8"))
    oak = document["categories"][2]
    assert (
        oak["specific_epithet"] == "× rosacea"
        and oak["image_dir_name"] == "00002_Plantae_Order_Family_Quercus_-_rosacea"
    )
    assert set(oak) >= {
        "kingdom",
        "phylum",
        "class",
        "order",
        "family",
        "genus",
        "name",
        "common_name",
        "supercategory",
    }
    assert {image["latitude"] for image in document["images"]} == {47.5, None}
    names = {entry["id"]: (entry["name"], entry["url"]) for entry in document["licenses"]}
    assert {names[image["license"]] for image in document["images"]} == {
        ("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/"),
        ("CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
        ("CC BY-SA, version not stated", ""),
    }
    assert {image["rights_holder"] for image in document["images"]} == {"", "Ada | Lovelace"}


def test_coco_is_read_by_our_own_reader_of_inaturalist_2021(source):
    from taxaforge.collection.sources.layouts import inat

    read = list(inat.pictures(source / "views/coco", {}))
    by_digest = expected(source, "sha256")
    found = {Path(p.image).stem: (SPECIES.index(p.labels[0]), p.fields["officialSplit"]) for p in read}
    assert found == {name: value for name, value in by_digest.items() if value[1] in ("train", "validation")}
    assert {p.fields["license"] for p in read} == set(LICENCES)


def test_webdataset_loads_with_its_library(source):
    webdataset = pytest.importorskip("webdataset")
    found, seen = {}, {}
    for split in ("train", "validation", "test", "reserve"):
        shards = sorted(map(str, (source / "views/webdataset").glob(f"{split}-*.tar")))
        stream = webdataset.WebDataset(shards, shardshuffle=False).decode("pil")
        for key, image, row in stream.to_tuple("__key__", "jpg;png;webp;tif", "json"):
            assert key == row["sha256"]
            assert row["split"] == split
            assert row["attribution"]
            found[row["identifier"]] = (row["label"], split)
            seen[row["identifier"]] = rgb(image)
    assert found == expected(source)
    assert seen.items() <= pixels(source).items()


def test_a_shard_holds_no_more_than_its_most(source, tmp_path, monkeypatch):
    monkeypatch.setattr("taxaforge.collection.views.webdataset.MOST_PICTURES", 4)
    files = arguments(
        tmp_path, tables.read(METADATA, source / "metadata.parquet"), tables.read(SPLITS, source / "splits.parquet")
    )
    views.export(view="webdataset", **files | {"images": source / "images"}, out=tmp_path / "out")
    trained = sum(split == "train" for _, split in expected(source).values())
    assert trained == 16
    names = sorted(path.name for path in (tmp_path / "out").glob("train-*"))
    assert names == [f"train-0000{k}-of-00004.tar" for k in range(4)]
    most = 5_000
    monkeypatch.setattr("taxaforge.collection.views.webdataset.MOST_BYTES", most)
    views.export(view="webdataset", **files | {"images": source / "images"}, out=tmp_path / "out")
    held = [picture_sizes(path) for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert all(sum(sizes) <= most or len(sizes) == 1 for sizes in held)
    assert max(map(len, held)) > 2
    assert sum(map(len, held)) == 25


def picture_sizes(shard: Path) -> list[int]:
    with tarfile.open(shard) as tar:
        return [member.size for member in tar.getmembers() if not member.name.endswith(".json")]


@pytest.mark.parametrize("view", ["imagefolder", "coco", "webdataset"])
def test_every_picture_of_a_view_is_attributed_where_it_lies(source, view):
    folder = source / "views" / view
    with (folder / "ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["identifier"] for row in rows} == set(expected(source))
    assert all(row["attribution"] for row in rows)
    places = {row["file_name"] for row in rows}
    if view == "webdataset":
        held = set()
        for path in folder.glob("*.tar"):
            with tarfile.open(path) as shard:
                held |= {f"{path.name}/{name}" for name in shard.getnames() if not name.endswith(".json")}
        assert places == held
    else:
        files = {path.relative_to(folder).as_posix() for path in folder.glob("*/*/*")}
        assert places == files


@pytest.mark.parametrize("view", ["imagefolder", "coco", "webdataset"])
def test_the_same_collection_in_another_order_gives_the_same_bytes(source, tmp_path, view):
    rows, splits = tables.read(METADATA, source / "metadata.parquet"), tables.read(SPLITS, source / "splits.parquet")
    random.Random(3).shuffle(rows)
    random.Random(4).shuffle(splits)
    views.export(view=view, **arguments(tmp_path, rows, splits) | {"images": source / "images"}, out=tmp_path / "out")

    def content(folder: Path) -> dict:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content(tmp_path / "out") == content(source / "views" / view)


@pytest.mark.parametrize("view", ["imagefolder", "coco", "webdataset"])
def test_the_examples_of_each_view_run(source, view):
    for name in {"imagefolder": ("datasets", "mlcroissant"), "coco": ("pycocotools",), "webdataset": ("webdataset",)}[
        view
    ]:
        pytest.importorskip(name)
    folder = source / "views" / view
    text = (folder / "README.md").read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": os.fspath(source / "home")}
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr
    assert "| CC BY-SA, version not stated | " in text and "share adaptations" in text


def contents(folder: Path) -> bytes:
    """All names and bytes of a view, files in tars included."""
    return b"".join(
        str(path.relative_to(folder)).encode() + path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


@pytest.mark.parametrize("view", ["imagefolder", "coco", "webdataset"])
@pytest.mark.parametrize("source", ["folder", "gbif", "simulated"])
def test_a_picture_under_another_licence_is_in_no_view_whatever_the_source(tmp_path, view, source):
    rows, splits = pictures(tmp_path, 12)
    rows = [row | {"source": source} for row in rows]
    closed = {0: "All rights reserved", 4: None, 5: "CC-BY-NC-4.0"}
    rows = [row | {"license": closed.get(k, row["license"])} for k, row in enumerate(rows)]
    # The name of a group of pictures may be that of one that stays at home.
    splits = [row | {"group": "shots/000.png" if k < 3 else row["group"]} for k, row in enumerate(splits)]
    for k in closed:  # what is not published is not even opened
        (tmp_path / rows[k]["file_name"]).unlink()
    views.export(view=view, **arguments(tmp_path, rows, splits), out=tmp_path / "out")
    with (tmp_path / "out/ATTRIBUTION.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    written = contents(tmp_path / "out")
    for k, row in enumerate(rows):
        assert (row["sha256"].encode() in written) == (k not in closed)
        assert (row["identifier"].encode() in written) == (k not in closed)


@pytest.mark.parametrize("view", ["imagefolder", "coco", "webdataset"])
def test_a_view_with_nothing_to_publish_fails_with_the_remedy_and_leaves_none(tmp_path, view):
    rows, splits = pictures(tmp_path, 6)
    rows = [row | {"license": None if k % 2 else "CC-BY-NC-4.0"} for k, row in enumerate(rows)]
    with pytest.raises(TaxaforgeError, match=r"CC BY-NC 4\.0: 3, not stated: 3.*`license`.*collection\.publish"):
        views.export(view=view, **arguments(tmp_path, rows, splits), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_view_whose_only_free_pictures_are_unused_has_nothing_either(tmp_path):
    rows, splits = pictures(tmp_path, 6)
    rows = [row | {"license": row["license"] if k == 5 else None} for k, row in enumerate(rows)]
    splits = [row | {"split": "unused" if k == 5 else "train"} for k, row in enumerate(splits)]
    with pytest.raises(TaxaforgeError, match="nothing to publish"):
        views.export(view="coco", **arguments(tmp_path, rows, splits), out=tmp_path / "out")


def test_a_view_of_drawings_says_so(tmp_path):
    rows, splits = pictures(tmp_path, 6)
    rows = [row | {"source": "simulated"} for row in rows]
    for view in ("imagefolder", "coco", "webdataset"):
        views.export(view=view, **arguments(tmp_path, rows, splits), out=tmp_path / view)
        assert "Nothing here is a picture of the real species." in (tmp_path / view / "README.md").read_text("utf-8")


def test_a_view_without_hard_links_is_a_copy(source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    files = {name: source / path for name, path in (("metadata", "metadata.parquet"), ("splits", "splits.parquet"),
             ("images", "images"), ("classes", "classes.json"))}  # fmt: skip
    views.export(view="coco", **files, licences=LICENCES, out=tmp_path / "out")
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*/*/*")}
    assert copied == {path.name: path.read_bytes() for path in (source / "views/coco").glob("*/*/*")}


def test_a_view_replaces_an_older_one_whole(source, tmp_path):
    (tmp_path / "out/train").mkdir(parents=True)
    (tmp_path / "out/train/stale.png").write_bytes(b"old")
    rows, splits = tables.read(METADATA, source / "metadata.parquet"), tables.read(SPLITS, source / "splits.parquet")
    views.export(view="coco", **arguments(tmp_path, rows, splits) | {"images": source / "images"}, out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("stale.png"))


def test_a_missing_file_stops_the_view_and_leaves_none(tmp_path):
    rows, splits = pictures(tmp_path, 6)
    (tmp_path / rows[2]["file_name"]).unlink()
    with pytest.raises(NotPublishable, match=r"'shots/002\.webp' has no file 'images/"):
        views.export(view="imagefolder", **arguments(tmp_path, rows, splits), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_file_under_two_ids_stops_the_view(tmp_path):
    rows, splits = pictures(tmp_path, 6)
    rows[3] |= {name: rows[0][name] for name in ("file_name", "sha256")}
    with pytest.raises(NotPublishable, match=r"'shots/000\.png' and 'shots/003\.tif' are one file"):
        views.export(view="webdataset", **arguments(tmp_path, rows, splits), out=tmp_path / "out")


def test_an_unknown_view_names_those_that_exist(source, tmp_path):
    with pytest.raises(TaxaforgeError, match="imagefolder, coco, webdataset"):
        views.export(view="yolo", metadata="", splits="", images="", classes="", licences=(), out=tmp_path)
