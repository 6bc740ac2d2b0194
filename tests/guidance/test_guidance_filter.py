"""Gathering: every image is accounted for, every decision has its reason."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taxaforge import tables
from taxaforge.config.filter import Filter
from taxaforge.files import read_json, read_lines, write_json, write_lines
from taxaforge.guidance import filter as module
from taxaforge.guidance.filter import NothingKept, ShardsDoNotFit, agreement, checks, decide, gather
from taxaforge.guidance.generate import generate
from taxaforge.guidance.schema import IMAGES
from taxaforge.guidance.sheet import DROPPED
from taxaforge.packs import Pack

SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea"]
SEMANTICS = Filter(method="semantics", top_k=1).model_dump(mode="json")
NONE = Filter(method="none", top_k=1).model_dump(mode="json")
EACH = 3


class ByColour:
    """An image-text model that reads the three species from red, green and blue."""

    class model:
        logit_scale = torch.tensor(10.0).log()

    def image(self, pixels):
        return torch.nn.functional.normalize(torch.from_numpy(pixels.mean((1, 2))), dim=1)

    def text(self, sentences):
        assert [any(name in text for text in sentences) for name in SPECIES] == [True] * 3
        assert all(text.startswith("a photo of ") for text in sentences)
        return torch.eye(3)


@pytest.fixture(autouse=True)
def semantics(monkeypatch):
    monkeypatch.setattr(module, "load", lambda folder, device: ByColour())


def paint(file: Path, channel: int, contrast: bool = True) -> None:
    pixels = np.full((8, 8, 3), 20, dtype=np.uint8)
    pixels[..., channel] = 220
    if contrast:
        pixels[:4] //= 2
    Image.fromarray(pixels).save(file)


@pytest.fixture(scope="module")
def shards(stage, tmp_path_factory) -> Path:
    """Two shards of 3 species x 3 images, each image in the colour of its species."""
    root = tmp_path_factory.mktemp("images") / "cfg"
    for shard in range(2):
        cfg = {"steps": 1, "images_per_species": EACH, "scale": 2.0}
        out = root / "shards" / str(shard)
        generate(**stage, method="cfg", cfg=cfg, seed=1, shard=shard, shards=2, out=out, every_s=1e9)
    for file in root.rglob("*.png"):
        paint(file, SPECIES.index(file.parent.name.replace("_", " ")))
    return root


@pytest.fixture
def drawn(shards, tmp_path) -> Path:
    """A copy of `shards` to spoil."""
    return shutil.copytree(shards, tmp_path / "images/cfg")


def run(root, stage, cfg=NONE, shards=("0", "1"), **changes):
    logged = {}
    asked = {
        "shards": [root / "shards" / shard for shard in shards],
        "semantics": root,
        "classes": stage["classes"],
        "method": "cfg",
        "cfg": cfg,
        "out": root / "metadata.parquet",
        "out_pack": root / "kept.npy",
        "out_sheet": root / "contact_sheet.png",
        "log": lambda step, values: logged.update(values),
    }
    gather(**{**asked, **changes})
    return tables.read(IMAGES, root / "metadata.parquet"), Pack.load(root / "kept.npy"), logged


def picture(root, species, index=0) -> Path:
    name = species.replace(" ", "_")
    return next(root.rglob(f"cfg-{name}-{index:04d}.png"))


def test_all_images_of_all_shards_are_in_the_table_and_in_the_pack(drawn, stage):
    rows, pack, logged = run(drawn, stage)
    assert [row["identifier"] for row in rows[:4]] == [
        "cfg-Parus_major-0000",
        "cfg-Poecile_palustris-0000",
        "cfg-Sitta_europaea-0000",
        "cfg-Parus_major-0001",
    ]
    assert len(rows) == 9
    assert all(row["kept"] and row["reason"] == "" for row in rows)
    assert pack.identifier == pack.group == [row["identifier"] for row in rows]
    assert pack.classes == SPECIES
    assert pack.label.tolist() == [0, 1, 2] * 3
    assert pack.caption[1] == rows[1]["prompt"] == "family: Paridae; genus: Poecile; species: Poecile palustris"
    for row, pixels in zip(rows, pack.pixels, strict=True):
        with Image.open(drawn / row["file_name"]) as image:
            assert np.array_equal(np.asarray(image), pixels)
    assert logged["images"] == logged["kept"] == 9
    assert (logged["dropped_min_contrast"], logged["filter_top1"]) == (0, 1.0)


def test_the_order_of_the_shards_changes_nothing(drawn, stage):
    files = "metadata.parquet", "kept.npy", "kept.json", "contact_sheet.png"
    run(drawn, stage)
    first = [(drawn / name).read_bytes() for name in files]
    run(drawn, stage, shards=("1", "0"))
    assert [(drawn / name).read_bytes() for name in files] == first


def test_every_image_keeps_its_scores_and_its_reason(drawn, stage):
    paint(picture(drawn, "Parus major", 1), channel=2)  # looks like Sitta
    paint(picture(drawn, "Sitta europaea", 2), channel=2, contrast=False)  # right, but blank
    rows, pack, logged = run(drawn, stage, SEMANTICS)
    reasons = {row["identifier"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == {"cfg-Parus_major-0001": "top_k", "cfg-Sitta_europaea-0002": "min_contrast"}
    assert {row["identifier"] for row in rows if not row["kept"]} == reasons.keys()
    assert set(pack.identifier) == {row["identifier"] for row in rows} - reasons.keys()
    scores = {row["identifier"]: (row["filterScore"], row["filterRank"]) for row in rows}
    assert scores["cfg-Parus_major-0000"][0] > 0.99
    assert scores["cfg-Parus_major-0001"][1] == 3
    assert scores["cfg-Parus_major-0001"][0] < 0.01
    assert all((drawn / row["file_name"]).exists() for row in rows)
    assert logged["images"] == logged["kept"] + logged["dropped_min_contrast"] + logged["dropped_top_k"] == 9


def test_without_the_semantic_filter_a_wrong_image_is_scored_and_stays(drawn, stage):
    paint(picture(drawn, "Parus major", 1), channel=2)
    rows, pack, _ = run(drawn, stage)
    assert len(pack) == 9
    assert [row["filterRank"] for row in rows if row["identifier"] == "cfg-Parus_major-0001"] == [3]


def test_a_species_without_images_is_a_warning(drawn, stage, caplog):
    for index in range(EACH):
        paint(picture(drawn, "Poecile palustris", index), channel=0)
    with caplog.at_level(logging.WARNING):
        _, pack, logged = run(drawn, stage, SEMANTICS)
    assert "no image of 1 of 3 species: Poecile palustris" in caplog.text
    assert set(pack.label.tolist()) == {0, 2}
    assert logged["species_without_images"] == 1


def test_nothing_left_is_an_error_that_says_which_setting_dropped_how_many(drawn, stage):
    for species in SPECIES:
        for index in range(EACH):
            paint(picture(drawn, species, index), channel=(SPECIES.index(species) + 1) % 3, contrast=index > 0)
    with pytest.raises(
        NothingKept,
        match=r"all 9 images of cfg: 3 by filter.min_contrast, 6 by filter.top_k\. Look at a few in .*shards/0",
    ):
        run(drawn, stage, SEMANTICS)
    assert not (drawn / "kept.npy").exists()


def test_a_missing_shard_is_named_by_its_images(drawn, stage):
    with pytest.raises(ShardsDoNotFit, match=r"image\(s\) of cfg are missing: .*cfg-Parus_major-0002"):
        run(drawn, stage, shards=("0",))


def test_a_missing_record_is_named(drawn, stage):
    file = drawn / "shards/1/records.jsonl"
    write_lines(file, read_lines(file)[1:])
    with pytest.raises(ShardsDoNotFit, match=r"1 image\(s\) of cfg are missing: cfg-Sitta_europaea-0000\."):
        run(drawn, stage)


def test_a_missing_file_is_named(drawn, stage):
    picture(drawn, "Parus major", 2).unlink()
    with pytest.raises(ShardsDoNotFit, match=r"cfg-Parus_major-0002 has no file .*cfg-Parus_major-0002\.png"):
        run(drawn, stage)


def test_an_image_drawn_twice_is_named(drawn, stage):
    shutil.copytree(drawn / "shards/1", drawn / "shards/2")
    with pytest.raises(ShardsDoNotFit, match=r"cfg-\w+-0\d+ was drawn twice, the second time in .*shards/2\."):
        run(drawn, stage, shards=("0", "1", "2"))


def test_an_image_nobody_asked_for_is_named(drawn, stage):
    file = drawn / "shards/0/records.jsonl"
    lines = read_lines(file)
    write_lines(file, [*lines, {**lines[0], "identifier": "cfg-Parus_major-0009"}])
    with pytest.raises(ShardsDoNotFit, match=r"not asked for: cfg-Parus_major-0009\."):
        run(drawn, stage)


@pytest.mark.parametrize("change", [{"seed": 2}, {"shards": 3}, {"species": SPECIES[:2]}], ids=str)
def test_a_shard_of_other_settings_is_refused(drawn, stage, change):
    note = drawn / "shards/1/shard.json"
    write_json(note, {**read_json(note), **change})
    with pytest.raises(ShardsDoNotFit, match=r"shards/1 was drawn for other settings"):
        run(drawn, stage)


def test_shards_of_another_method_are_refused(drawn, stage):
    with pytest.raises(ShardsDoNotFit, match="another method"):
        run(drawn, stage, method="taxadiffusion")


def test_agreement_is_a_softmax_and_a_rank():
    """Four classes, worked out by hand: logits 10 * cosine."""
    image = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]])
    score, rank = agreement(image, text, torch.tensor([0, 0, 2]), scale=10.0)
    e = np.exp
    assert score[0].item() == pytest.approx(e(10) / (e(10) + e(0) + e(8) + e(-10)))
    assert score[1].item() == pytest.approx(e(6) / (e(6) + e(8) + e(9.6) + e(-6)), rel=1e-5)
    assert rank.tolist() == [1, 3, 1]


def test_a_tie_or_a_nan_counts_against_the_image():
    text = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    image = torch.tensor([[1.0, 0.0], [float("nan"), 0.0]])
    assert agreement(image, text, torch.tensor([0, 2]), 1.0)[1].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("contrast", "rank", "reason"),
    [
        pytest.param(4.0, 3, "", id="exactly the limits are enough"),
        pytest.param(3.99, 1, "min_contrast", id="a little flatter is blank"),
        pytest.param(4.0, 4, "top_k", id="one rank further is another species"),
        pytest.param(0.0, 9, "min_contrast", id="the first check in order names the reason"),
    ],
)
def test_the_reason_of_an_image(contrast, rank, reason):
    (row,) = decide(
        [{"contrast": contrast, "filterRank": rank}], checks({"method": "semantics", "top_k": 3, "min_contrast": 4.0})
    )
    assert (row["reason"], row["kept"]) == (reason, reason == "")


def test_the_contact_sheet_has_a_line_a_species_and_marks_what_was_dropped(drawn, stage):
    paint(picture(drawn, "Parus major", 1), channel=2)
    run(drawn, stage, SEMANTICS)
    with Image.open(drawn / "contact_sheet.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(int)
    framed = (sheet == DROPPED).all(2)
    assert 0 < framed.sum() < 72 * 72  # one frame
    lit = {channel: (sheet[..., channel] == 220) & (sheet.sum(2) == 260) for channel in range(3)}
    tops = [np.nonzero(lit[channel].any(1))[0] for channel in (0, 1)]
    assert tops[0].max() < tops[1].min()  # the lines stand in the order of the classes
    assert (sheet[:, :100] < 100).any()  # names are drawn
