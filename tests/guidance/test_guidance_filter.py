"""Gathering: every image is accounted for, every decision has its reason, and the control is as large as what is kept."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taxaforge import tables
from taxaforge.classification import model as classifiers
from taxaforge.config.filter import Filter
from taxaforge.files import read_json, read_lines, write_json, write_lines
from taxaforge.guidance.filter import NothingKept, gather
from taxaforge.guidance.schema import IMAGES
from taxaforge.guidance.scorer import NoScorer
from taxaforge.guidance.shards import ShardsDoNotFit
from taxaforge.guidance.sheet import DROPPED
from taxaforge.guidance.worklist import worklist
from taxaforge.packs import Pack

CLASSES = [
    {"family": "Paridae", "genus": "Parus", "species": "Parus major"},
    {"family": "Paridae", "genus": "Poecile", "species": "Poecile palustris"},
    {"family": "Sittidae", "genus": "Sitta", "species": "Sitta europaea"},
]
SPECIES = [record["species"] for record in CLASSES]
EACH, SEED = 4, 1
EXTRA = {"seed": 1, "kind": "mixup", "evidence": "code", "scale": None, "steps": 1, "prompt": "p", "source": None}
EXTRA |= {"strength": None, "trace": None}


def section(**asked) -> dict:
    return Filter(**asked).model_dump(mode="json")


NONE, BY_NAME = section(), section(semantics={"top_k": 1})


class ByColour:
    """An image-text model that reads the three species from red, green and blue."""

    class model:
        logit_scale = torch.tensor(10.0).log()

    def __init__(self):
        self.looked_at = 0

    def image(self, pixels):
        self.looked_at += len(pixels)
        return torch.nn.functional.normalize(torch.from_numpy(pixels.mean((1, 2))).float(), dim=1)

    def text(self, sentences):
        assert [name in text for name, text in zip(SPECIES, sentences, strict=True)] == [True] * 3
        assert all(text.startswith("a photo of ") for text in sentences)
        return torch.eye(3)


@pytest.fixture
def semantics(monkeypatch):
    """Stands in for the model of every run; the list holds those that were opened."""
    opened = []

    def load(folder, device):
        opened.append(ByColour())
        return opened[-1]

    monkeypatch.setattr("taxaforge.semantics.model.load", load)
    return opened


def picture_of(channel: int, light: int = 220, contrast: bool = True) -> np.ndarray:
    pixels = np.full((8, 8, 3), 20, dtype=np.uint8)
    pixels[..., channel] = light
    if contrast:
        pixels[:4] //= 2
    return pixels


def paint(file: Path, channel: int, **how) -> None:
    Image.fromarray(picture_of(channel, **how)).save(file)


@pytest.fixture
def drawn(tmp_path) -> Path:
    """Two shards of 3 species x 4 images, each image in the colour of its species; training images and classes beside them."""
    root = tmp_path / "images/cfg"
    items = worklist(SPECIES, [EACH] * 3, "cfg", SEED)
    for shard in range(2):
        folder = root / "shards" / str(shard)
        mine = items[shard::2]
        for item in mine:
            (folder / item.file_name).parent.mkdir(parents=True, exist_ok=True)
            paint(folder / item.file_name, item.label, light=220 - item.index)
        write_lines(folder / "records.jsonl", [record(item) for item in mine])
        note = {"method": "cfg", "seed": SEED, "shard": shard, "shards": 2, "species": SPECIES}
        write_json(folder / "shard.json", {**note, "counts": dict.fromkeys(SPECIES, EACH), "cfg": {}})
    write_json(tmp_path / "classes.json", CLASSES)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    names = [f"real-{number}" for number in range(6)]
    Pack(pixels, SPECIES, names, np.arange(6) % 3, names, [""] * 6).save(tmp_path / "train.npy")
    return root


def record(item) -> dict:
    return {
        "identifier": item.identifier,
        "file_name": item.file_name,
        "scientificName": item.species,
        "method": "cfg",
        "other": None,
        "share": None,
        **EXTRA,
    }


def run(root, cfg=NONE, shards=("0", "1"), **changes):
    logged, top = {}, root.parents[1]
    asked = {
        "shards": [root / "shards" / shard for shard in shards],
        "semantics": root,
        "classes": top / "classes.json",
        "train": top / "train.npy",
        "method": "cfg",
        "cfg": cfg,
        "out": root / "metadata.parquet",
        "out_pack": root / "kept.npy",
        "out_control": root / "control.npy",
        "out_sheet": root / "contact_sheet.png",
        "log": lambda step, values: logged.update(values),
    }
    gather(**{**asked, **changes})
    return tables.read(IMAGES, root / "metadata.parquet"), Pack.load(root / "kept.npy"), logged


def file_of(root, species, index=0) -> Path:
    return next(root.rglob(f"cfg-{species.replace(' ', '_')}-{index:04d}.png"))


def name_of(species, index=0) -> str:
    return f"cfg-{species.replace(' ', '_')}-{index:04d}"


def reasons(rows) -> dict[str, str]:
    return {row["identifier"]: row["reason"] for row in rows if row["reason"]}


def test_all_images_of_all_shards_are_in_the_table_and_in_the_pack(drawn):
    rows, pack, logged = run(drawn, semantics=None)
    assert [row["identifier"] for row in rows] == [item.identifier for item in worklist(SPECIES, [EACH] * 3, "cfg", 1)]
    assert all(row["kept"] and row["control"] and row["reason"] == "" for row in rows)
    assert pack.identifier == pack.group == [row["identifier"] for row in rows]
    assert pack.classes == SPECIES and pack.label.tolist() == [0, 1, 2] * EACH
    assert pack.caption == ["p"] * 12 and not pack.soft
    for row, pixels in zip(rows, pack.pixels, strict=True):
        with Image.open(drawn / row["file_name"]) as image:
            assert np.array_equal(np.asarray(image), pixels)
    assert logged == {
        "images": 12, "kept": 12, "dropped_min_contrast": 0, "dropped_near_copy": 0, "species_without_images": 0,
    }  # fmt: skip


def test_a_check_that_is_off_opens_no_model_and_leaves_its_scores_empty(drawn, semantics):
    rows, _, _ = run(drawn)
    assert semantics == []
    empty = ("filterScore", "filterRank", "classifierScore", "classifierRank", "nearestTrain", "nearestSimilarity")
    assert all(row[name] is None for row in rows for name in (*empty, "repeatSimilarity"))
    assert all(row["contrast"] > 4 and row["clipped"] == 0 and row["exactCopy"] is False for row in rows)


def test_training_images_are_looked_at_only_where_similarity_to_them_is_asked(drawn, semantics):
    run(drawn, BY_NAME)
    run(drawn, section(near_copy=1.0))
    assert [model.looked_at for model in semantics] == [12, 12 + 6]


def test_the_order_of_the_shards_changes_nothing(drawn, semantics):
    files = "metadata.parquet", "kept.npy", "kept.json", "control.npy", "control.json", "contact_sheet.png"
    paint(file_of(drawn, "Parus major", 1), channel=2)
    run(drawn, BY_NAME)
    first = [(drawn / name).read_bytes() for name in files]
    run(drawn, BY_NAME, shards=("1", "0"))
    assert [(drawn / name).read_bytes() for name in files] == first


def test_every_image_keeps_its_scores_and_its_first_reason(drawn, semantics):
    paint(file_of(drawn, "Parus major", 1), channel=2)  # looks like Sitta
    paint(file_of(drawn, "Sitta europaea", 2), channel=1, contrast=False)  # wrong, and blank
    rows, pack, logged = run(drawn, BY_NAME)
    assert reasons(rows) == {name_of("Parus major", 1): "semantics", name_of("Sitta europaea", 2): "min_contrast"}
    assert set(pack.identifier) == {row["identifier"] for row in rows if row["kept"]}
    assert len(pack) == 10
    scores = {row["identifier"]: (row["filterScore"], row["filterRank"]) for row in rows}
    assert scores[name_of("Parus major")][0] > 0.99 and scores[name_of("Parus major")][1] == 1
    assert scores[name_of("Parus major", 1)][0] < 0.01 and scores[name_of("Parus major", 1)][1] == 3
    assert scores[name_of("Sitta europaea", 2)][1] > 1  # scored although another check came first
    assert all((drawn / row["file_name"]).exists() for row in rows)
    dropped = logged["dropped_min_contrast"] + logged["dropped_near_copy"] + logged["dropped_semantics"]
    assert logged["images"] == logged["kept"] + dropped == 12
    assert logged["filter_top1"] == pytest.approx(10 / 12)


def test_among_siblings_an_image_may_be_taken_for_a_stranger(drawn, semantics):
    paint(file_of(drawn, "Parus major", 1), channel=2)  # for Sitta, of another family
    paint(file_of(drawn, "Parus major", 2), channel=1)  # for Poecile, of its own
    rows, _, _ = run(drawn, section(semantics={"top_k": 1, "among": "siblings"}))
    assert reasons(rows) == {name_of("Parus major", 1): "semantics", name_of("Parus major", 2): "semantics"}
    ranks = {row["identifier"]: row["filterRank"] for row in rows}
    assert ranks[name_of("Parus major", 1)] == 2  # a tie with its sibling; the stranger does not count
    assert ranks[name_of("Parus major", 2)] == 2


def test_an_exact_copy_of_a_training_image_is_dropped_even_where_no_similarity_is_asked(drawn):
    real = np.array(Pack.load(drawn.parents[1] / "train.npy").pixels[4])
    Image.fromarray(real).save(file_of(drawn, "Sitta europaea", 3))
    real[0, 0, 0] ^= 1
    Image.fromarray(real).save(file_of(drawn, "Sitta europaea", 2))  # all but a copy
    rows, _, logged = run(drawn)
    assert reasons(rows) == {name_of("Sitta europaea", 3): "near_copy"}
    (row,) = (row for row in rows if not row["kept"])
    assert (row["nearestTrain"], row["nearestSimilarity"], row["exactCopy"]) == ("real-4", 1.0, True)
    assert logged["dropped_near_copy"] == 1


def test_a_near_copy_is_dropped_and_names_the_training_image(drawn, semantics):
    file = drawn.parents[1] / "train.npy"
    pack = Pack.load(file)
    pixels = np.array(pack.pixels)
    pixels[2] = picture_of(1, light=100)
    replace(pack, pixels=pixels).save(file)
    rows, _, logged = run(drawn, section(near_copy=0.98))
    assert {row["scientificName"] for row in rows if row["reason"] == "near_copy"} == {"Poecile palustris"}
    assert {row["nearestTrain"] for row in rows if row["reason"]} == {"real-2"}  # of any species: it is a Sitta
    assert not any(row["exactCopy"] for row in rows)
    assert all(row["nearestSimilarity"] <= 0.98 for row in rows if row["kept"])
    assert logged["near_copy_real"] == pytest.approx(5 / 6)  # the noise images are all alike to this model


def test_burnt_out_images_and_repeats_are_dropped_where_that_is_asked(drawn, semantics):
    paint(file_of(drawn, "Parus major", 3), channel=0, light=255)
    rows, _, _ = run(drawn, section(max_clipped=0.1, min_contrast=0))
    assert reasons(rows) == {name_of("Parus major", 3): "max_clipped"}
    for index, light in enumerate((30, 70, 220, 71)):
        paint(file_of(drawn, "Parus major", index), channel=0, light=light)
    rows, _, _ = run(drawn, section(near_repeat=0.999))
    mine = {row["identifier"][-1]: row for row in rows if row["scientificName"] == "Parus major"}
    assert [mine[i]["repeatSimilarity"] is None for i in "0123"] == [True, False, False, False]
    assert [mine[i]["reason"] for i in "0123"] == ["", "", "", "near_repeat"]


class Sure(torch.nn.Module):
    """Logits of a classifier that takes every image for what its brightest colour says."""

    def forward(self, x):
        return 50 * x.mean((2, 3))


def test_the_guiding_classifier_drops_what_it_takes_for_another_species(drawn, tmp_path, monkeypatch):
    guide = classifiers.create("test_resnet", SPECIES, 8)
    classifiers.save(guide, tmp_path / "guide.safetensors")
    paint(file_of(drawn, "Parus major", 1), channel=2)
    asked = section(classifier={"top_k": 1})
    run(drawn, section(classifier={"top_k": 3}), guide=tmp_path / "guide.safetensors")  # the file is one that opens
    sure = Sure()
    monkeypatch.setattr("taxaforge.classification.predict.load", lambda path, device: replace(guide, net=sure))
    monkeypatch.setattr(classifiers.Classifier, "device", torch.device("cpu"))
    rows, _, logged = run(drawn, asked, guide=tmp_path / "guide.safetensors")
    assert reasons(rows) == {name_of("Parus major", 1): "classifier"}
    assert {row["classifierRank"] for row in rows if row["kept"]} == {1}
    assert all(row["classifierScore"] > 0.9 for row in rows if row["kept"]) and rows[0]["filterRank"] is None
    assert logged["classifier_top1"] == pytest.approx(11 / 12)


def test_a_check_without_its_model_says_which(drawn, tmp_path):
    with pytest.raises(NoScorer, match=r"filter\.classifier needs the guiding classifier"):
        run(drawn, section(classifier={"top_k": 1}))
    for asked in ({"semantics": {"top_k": 1}}, {"near_copy": 0.9}, {"near_repeat": 0.9}):
        with pytest.raises(NoScorer, match="image-text model"):
            run(drawn, section(**asked), semantics=None)
    classifiers.save(classifiers.create("test_resnet", SPECIES[::-1], 8), tmp_path / "guide.safetensors")
    with pytest.raises(NoScorer, match="another species list"):
        run(drawn, section(classifier={"top_k": 1}), guide=tmp_path / "guide.safetensors")


def test_the_control_has_as_many_images_of_each_species_as_are_kept(drawn, semantics):
    for index in range(3):
        paint(file_of(drawn, "Parus major", index), channel=2)
    paint(file_of(drawn, "Sitta europaea", 0), channel=1)
    rows, kept, _ = run(drawn, BY_NAME)
    control = Pack.load(drawn / "control.npy")
    assert np.bincount(control.label).tolist() == np.bincount(kept.label).tolist() == [1, 4, 3]
    assert control.identifier == [row["identifier"] for row in rows if row["control"]] != kept.identifier
    assert set(control.identifier) - set(kept.identifier)  # images that the filter dropped are among them


def test_images_of_two_species_get_soft_labels(drawn):
    for shard in "01":
        file = drawn / "shards" / shard / "records.jsonl"
        lines = read_lines(file)
        write_lines(file, [{**lines[0], "other": "Sitta europaea", "share": 0.75}, *lines[1:]])
    rows, pack, _ = run(drawn)
    mixed = {row["identifier"] for row in rows if row["other"]}
    assert len(mixed) == 2 and pack.soft
    for name, other, share in zip(pack.identifier, pack.other, pack.share, strict=True):
        assert (other, share) == ((2, 0.75) if name in mixed else (-1, 1.0))


def test_species_may_be_asked_for_in_different_numbers(drawn):
    counts = {SPECIES[0]: EACH, SPECIES[1]: 0, SPECIES[2]: 2}
    for shard in "01":
        note, file = drawn / "shards" / shard / "shard.json", drawn / "shards" / shard / "records.jsonl"
        write_json(note, {**read_json(note), "counts": counts})
        write_lines(file, [r for r in read_lines(file) if int(r["identifier"][-4:]) < counts[r["scientificName"]]])
    rows, _, logged = run(drawn)
    assert [row["identifier"] for row in rows] == [
        item.identifier for item in worklist(SPECIES, list(counts.values()), "cfg", SEED)
    ]
    assert len(rows) == 6 and logged["species_without_images"] == 0  # nobody asked for the second


def test_a_species_without_images_is_a_warning(drawn, semantics, caplog):
    for index in range(EACH):
        paint(file_of(drawn, "Poecile palustris", index), channel=0)
    with caplog.at_level(logging.WARNING):
        _, pack, logged = run(drawn, BY_NAME)
    assert "no image of 1 of 3 species: Poecile palustris" in caplog.text
    assert set(pack.label.tolist()) == {0, 2} and logged["species_without_images"] == 1


def test_nothing_left_is_an_error_that_says_which_setting_dropped_how_many(drawn, semantics):
    for species in SPECIES:
        for index in range(EACH):
            paint(file_of(drawn, species, index), channel=(SPECIES.index(species) + 1) % 3, contrast=index > 0)
    words = r"all 12 images of cfg: 3 by filter.min_contrast, 9 by filter.semantics\. Look at a few in .*shards/0"
    with pytest.raises(NothingKept, match=words):
        run(drawn, BY_NAME)
    assert not (drawn / "kept.npy").exists()


def test_a_missing_shard_is_named_by_its_images(drawn):
    with pytest.raises(ShardsDoNotFit, match=r"6 image\(s\) of cfg are missing: cfg-.* and 3 more"):
        run(drawn, shards=("0",))


def test_a_missing_record_is_named(drawn):
    file = drawn / "shards/1/records.jsonl"
    lines = read_lines(file)
    write_lines(file, lines[1:])
    with pytest.raises(ShardsDoNotFit, match=rf"1 image\(s\) of cfg are missing: {lines[0]['identifier']}\."):
        run(drawn)


def test_a_missing_file_is_named(drawn):
    file_of(drawn, "Parus major", 2).unlink()
    with pytest.raises(ShardsDoNotFit, match=r"cfg-Parus_major-0002 has no file .*cfg-Parus_major-0002\.png"):
        run(drawn)


def test_an_image_drawn_twice_is_named(drawn):
    shutil.copytree(drawn / "shards/1", drawn / "shards/2")
    with pytest.raises(ShardsDoNotFit, match=r"cfg-\w+-0\d+ was drawn twice, the second time in .*shards/2\."):
        run(drawn, shards=("0", "1", "2"))


def test_an_image_nobody_asked_for_is_named(drawn):
    file = drawn / "shards/0/records.jsonl"
    lines = read_lines(file)
    write_lines(file, [*lines, {**lines[0], "identifier": "cfg-Parus_major-0009"}])
    with pytest.raises(ShardsDoNotFit, match=r"not asked for: cfg-Parus_major-0009\."):
        run(drawn)


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"shards": 3}, {"species": SPECIES[:2]}, {"cfg": {"scale": 2}}], ids=str
)
def test_a_shard_of_other_settings_is_refused(drawn, change):
    note = drawn / "shards/1/shard.json"
    write_json(note, {**read_json(note), **change})
    with pytest.raises(ShardsDoNotFit, match=r"shards/1 was drawn for other settings"):
        run(drawn)


def test_shards_of_another_method_are_refused(drawn):
    with pytest.raises(ShardsDoNotFit, match="another method"):
        run(drawn, method="taxadiffusion")


def test_shards_of_an_earlier_version_are_refused_and_not_guessed_at(drawn):
    note, records = drawn / "shards/0/shard.json", drawn / "shards/1/records.jsonl"
    good, lines = read_json(note), read_lines(records)
    for without in ({}, {"counts": {SPECIES[0]: EACH}}):
        write_json(note, {name: value for name, value in good.items() if name != "counts"} | without)
        other = drawn / "shards/1/shard.json"
        write_json(other, {**read_json(other), **without})
        with pytest.raises(ShardsDoNotFit, match=r"shards/0/shard\.json has no '(counts|Poecile palustris)'"):
            run(drawn)
    for file in (note, drawn / "shards/1/shard.json"):
        write_json(file, {**good, "shard": int(file.parent.name)})
    write_lines(records, [{name: value for name, value in lines[0].items() if name != "share"}, *lines[1:]])
    with pytest.raises(ShardsDoNotFit, match=r"line 1 of .*records\.jsonl has no 'share'"):
        run(drawn)


def test_the_contact_sheet_has_a_line_a_species_and_marks_what_was_dropped(drawn, semantics):
    paint(file_of(drawn, "Parus major", 1), channel=2)
    run(drawn, BY_NAME)
    with Image.open(drawn / "contact_sheet.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    framed = (sheet == DROPPED).all(2)
    assert 0 < framed.sum() < 72 * 72  # one frame
    lit = {channel: (sheet[..., channel] == 220) & (sheet.sum(2) == 260) for channel in range(3)}
    tops = [np.nonzero(lit[channel].any(1))[0] for channel in (0, 1)]
    assert tops[0].max() < tops[1].min()  # the lines stand in the order of the classes
    assert (sheet[:, :100] < 100).any()  # names are drawn
