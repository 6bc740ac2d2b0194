"""Curation of real files: every kind of duplicate, caps, features, measures; equal bytes whatever order or workers."""

import hashlib
import io
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

from taxaforge import tables
from taxaforge.collection import measuring
from taxaforge.collection.caps import over_caps
from taxaforge.collection.curate import curate
from taxaforge.collection.features import BadFeatures, Features, outliers
from taxaforge.collection.measuring import WorkerDied, measure_all
from taxaforge.collection.pictures import flaw
from taxaforge.collection.pixels import BROKEN, decoded, open_rgb
from taxaforge.collection.quality import MissingImage, colourless, contrast, measure, sharpness
from taxaforge.collection.schema import CANDIDATES, DUPLICATES, METADATA, REJECTIONS
from taxaforge.files import read_json

CFG = {
    "min_side": 24, "max_aspect": 4.0, "min_contrast": 4.0, "near_duplicate_bits": 20, "near_duplicate": 0.97,
    "cap": {"images_per_species": 0, "images_per_observer": 0},
}  # fmt: skip


def photo(seed, width=48, height=40):
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


class Collection:
    """A fetched collection in the making: pictures are added, then curated."""

    def __init__(self, folder: Path):
        self.folder, self.rows = folder, []
        (folder / "images").mkdir(parents=True)

    def add(self, identifier, image, species="Aglais io", suffix="png", save=(), **more):
        path = self.folder / "images" / f"{identifier}.{suffix}"
        if isinstance(image, bytes):
            path.write_bytes(image)
        elif image is not None:
            image.save(path, **dict(save))
        self.rows.append(
            dict.fromkeys(CANDIDATES.columns)
            | {"identifier": identifier, "scientificName": species, "source": "folder", "caption": "", "errorCode": ""}
            | {"file_name": f"images/{path.name}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            | more
        )

    def curated(self, cfg=CFG, out="out", rows=None, seed=0, workers=1, features=None, log=lambda step, values: None):
        out = self.folder / out
        tables.write(CANDIDATES, rows or self.rows, self.folder / "candidates.parquet")
        curate(
            candidates=self.folder / "candidates.parquet", images=self.folder / "images", features=features, cfg=cfg, seed=seed,
            workers=workers, out_metadata=out / "metadata.parquet", out_rejections=out / "rejections.csv",
            out_duplicates=out / "duplicates.parquet", out_ledger=out / "ledger.json", log=log,
        )  # fmt: skip
        return (
            {row["identifier"]: row for row in tables.read(METADATA, out / "metadata.parquet")},
            {row["identifier"]: row for row in tables.read(REJECTIONS, out / "rejections.csv")},
            {row["identifier"]: row for row in tables.read(DUPLICATES, out / "duplicates.parquet")},
            read_json(out / "ledger.json"),
        )


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / "c")


@pytest.fixture
def full(collection):
    """Copies of every kind, two species for one picture, and pictures that nothing is wrong with."""
    collection.add("a1", photo(1), recordedBy="Ann", gbifID="7")
    collection.add("a2", photo(1), recordedBy="Bob")  # the same bytes under another address
    collection.add("a3", photo(1), save={"compress_level": 0})  # other bytes, the same pixels
    collection.add("a4", ImageOps.mirror(photo(1)).resize((36, 30)), suffix="jpg", save={"quality": 80})
    collection.add("b1", photo(2))
    collection.add("b2", photo(2, 96, 80))
    collection.add("x1", photo(3))
    collection.add("x2", photo(3).resize((60, 50)), species="Vanessa cardui")
    collection.add("x3", photo(3), suffix="bmp")
    collection.add("gone", photo(4), errorCode="not_found")
    collection.add("cut", b"\x89PNG\r\n\x1a\n" + bytes(40))
    for k in range(20):
        collection.add(f"v{k:02}", photo(100 + k), species="Vanessa cardui")
    return collection


def test_copies_of_every_kind_are_found_one_stays_and_a_picture_under_two_species_does_not(full, capsys):
    logged = {}
    kept, rejected, doubled, ledger = full.curated(log=lambda step, values: logged.update(values))
    equal = {"a1", "a2", "a3"}  # in area and licence: a keyed hash decides which of them stays
    assert len(equal & kept.keys()) == 1
    assert {name: row["reason"] for name, row in rejected.items()} == {
        **dict.fromkeys(equal - kept.keys() | {"a4", "b1"}, "duplicate"),
        **dict.fromkeys(["x1", "x2", "x3"], "duplicate_of_two_species"), "gone": "not_found", "cut": "undecodable",
    }  # fmt: skip
    assert "b2" in kept and not {"b1", "x1", "x2", "x3"} & kept.keys()
    assert {name: (row["qc_duplicate_set"], row["qc_duplicate_kind"]) for name, row in doubled.items()} == {
        "a1": ("a1", "exact"), "a2": ("a1", "exact"), "a3": ("a1", "pixel"), "a4": ("a1", "near"), "b1": ("b1", "near"),
        "b2": ("b1", "near"), "x1": ("x1", "pixel"), "x2": ("x1", "near"), "x3": ("x1", "pixel"),
    }  # fmt: skip
    assert list(doubled) == ["a1", "a2", "a3", "a4", "b1", "b2", "x1", "x2", "x3"]  # by set, not by species
    assert {name for name, row in doubled.items() if row["kept"]} == kept.keys() & doubled.keys()
    assert (doubled["a2"]["recordedBy"], doubled["a1"]["gbifID"]) == ("Bob", "7")  # ties of dropped copies are known
    assert rejected["x2"]["qc_duplicate_set"] == "x1" and rejected["gone"]["qc_duplicate_set"] is None
    assert kept["b2"]["qc_duplicate_set"] == "b1" and kept["v00"]["qc_duplicate_set"] == "v00"
    assert ledger["in"] == len(full.rows) == ledger["kept"] + sum(ledger["rejected"].values())
    assert ledger["rejected"] == {"duplicate": 4, "duplicate_of_two_species": 3, "not_found": 1, "undecodable": 1}
    assert logged == {"images_kept": 22, "images_rejected": 9, "duplicate_sets": 3, "largest_duplicate_set": 4}
    assert "3 images appear under two species" in capsys.readouterr().out


def test_neither_the_order_of_the_candidates_nor_the_number_of_workers_changes_a_byte(full):
    cfg = CFG | {"cap": {"images_per_species": 9, "images_per_observer": 2}}
    full.curated(cfg)
    shuffled = random.Random(0).sample(full.rows, len(full.rows))
    full.curated(cfg, out="again", rows=shuffled, workers=2)
    for name in ("metadata.parquet", "rejections.csv", "duplicates.parquet", "ledger.json"):
        assert (full.folder / "out" / name).read_bytes() == (full.folder / "again" / name).read_bytes(), name


def test_a_collection_without_duplicates_has_an_empty_table_of_them(collection):
    collection.add("a", photo(1))
    kept, rejected, doubled, _ = collection.curated()
    assert (list(kept), rejected, doubled) == (["a"], {}, {})


def test_a_very_large_duplicate_set_is_pointed_out(collection, capsys):
    for k in range(50):
        collection.add(f"k{k:02}", photo(1))
    collection.curated()
    assert "the largest 50 (set 'k00')" in capsys.readouterr().out


# ---- caps


def test_caps_are_counted_after_quality_on_the_accepted_species_and_observers_first(collection):
    for k in range(6):
        collection.add(f"a{k}", photo(k), recordedBy="Ann")
    for k in range(6, 12):
        collection.add(f"a{k}", photo(k), recordedBy="Bob", verbatimScientificName="Inachis io")  # a synonym
    for k in range(12, 15):
        collection.add(f"a{k}", photo(k).resize((20, 20)))
    for k in range(15, 25):
        collection.add(f"a{k}", photo(0), recordedBy="Zoe")  # copies of a0 take no place
    collection.add("v0", photo(20), species="Vanessa cardui", recordedBy="Ann")
    cfg = CFG | {"cap": {"images_per_species": 5, "images_per_observer": 4}}
    kept, rejected, _, ledger = collection.curated(cfg)
    assert ledger["rejected"]["duplicate"] == 10 and ledger["rejected"]["too_small"] == 3
    assert ledger["rejected"]["over_cap"] + ledger["rejected"].get("over_observer_cap", 0) == 7
    assert max(sum(row["recordedBy"] == one for row in kept.values()) for one in ("Ann", "Bob")) <= 4
    assert ledger["species"]["Aglais io"] == {"in": 25, "kept": 5} and "v0" in kept
    of_set = {row["identifier"] for row in rejected.values() if row["qc_duplicate_set"] == "a0"}
    assert of_set | kept.keys() >= {"a0", *(f"a{k}" for k in range(15, 25))}


def people(**names):
    base = dict.fromkeys(CANDIDATES.columns)
    return [base | {"identifier": name, "scientificName": "P", **known} for name, known in names.items()]


UNLIMITED = {"images_per_species": 0, "images_per_observer": 0}


def test_no_cap_drops_nothing():
    assert over_caps(people(a={"recordedBy": "Ann"}, b={"recordedBy": "Ann"}), UNLIMITED, 0) == {}


def test_an_observer_has_one_share_however_the_name_is_written_and_strangers_share_none():
    rows = people(
        a={"recordedBy": "Ann  Lee"}, b={"recordedBy": "ANN LEE"}, c={"recordedBy": None}, d={"recordedBy": ""},
        e={"gbifID": "7"}, f={"gbifID": "7"}, g={"occurrenceID": "7", "datasetKey": "d"},
        h={"occurrenceID": "7", "datasetKey": "e"},
    )  # fmt: skip
    over = over_caps(rows, UNLIMITED | {"images_per_observer": 1}, 0)
    assert len(over) == 2 and set(over.values()) == {"over_observer_cap"}
    assert len({"a", "b"} & over.keys()) == 1 and len({"e", "f"} & over.keys()) == 1


def test_pictures_over_an_observer_s_share_take_no_place_of_the_species():
    rows = people(**{f"a{k}": {"recordedBy": "Ann"} for k in range(50)}, **{f"b{k}": {} for k in range(3)})
    over = over_caps(rows, {"images_per_species": 6, "images_per_observer": 3}, 0)
    assert sorted(row["identifier"][0] for row in rows if row["identifier"] not in over) == list("aaabbb")
    assert set(over.values()) == {"over_observer_cap"}


def test_what_a_cap_takes_hangs_on_the_seed_alone_and_a_larger_cap_keeps_what_a_smaller_one_kept():
    rows = people(**{f"a{k}": {} for k in range(40)})
    other = [row | {"identifier": "q" + row["identifier"], "scientificName": "Q"} for row in rows]

    def stays(rows, most, seed=0):
        over = over_caps(rows, UNLIMITED | {"images_per_species": most}, seed)
        assert set(over.values()) <= {"over_cap"}
        return {row["identifier"] for row in rows if row["identifier"] not in over and row["scientificName"] == "P"}

    assert stays(rows, 10) == stays([*other, *rows[::-1]], 10) < stays(rows, 20)
    assert len(stays(rows, 10)) == 10 and stays(rows, 10) != stays(rows, 10, seed=1)


# ---- features


def unit(*values):
    values = np.array(values, dtype=np.float64)
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)


def test_features_find_copies_that_hashes_cannot_and_outliers_are_only_marked(collection):
    for k, name in enumerate("abcdef"):
        collection.add(name, photo(k))
    for k, name in enumerate("vw"):
        collection.add(name, photo(9 + k), species="Vanessa cardui")
    directions = unit([1, 0, 0], [0.99, 0.1, 0], [0.6, 0.8, 0], [0.5, 0.7, 0.3], [0, 0, -1], [1, 0, 0.6], [0, 1, 0.6])
    Features(directions, {name: k for k, name in enumerate("abcdevw")}, "m").save(collection.folder / "features.npy")
    kept, rejected, doubled, _ = collection.curated(features=collection.folder / "features.npy")
    assert {name: row["qc_duplicate_kind"] for name, row in doubled.items()} == {"a": "embedding", "b": "embedding"}
    assert len(rejected) == 1 and rejected.keys() < {"a", "b"}
    stayed = [name for name in "abcde" if name in kept]
    mean = directions[["abcde".index(name) for name in stayed]].astype(np.float64).mean(axis=0)
    for name in stayed:
        cosine = directions["abcde".index(name)] @ mean / np.linalg.norm(mean)
        assert kept[name]["qc_outlier"] == pytest.approx(1 - cosine, abs=1e-6)
    assert max(stayed, key=lambda name: kept[name]["qc_outlier"]) == "e"
    assert (
        kept["f"]["qc_outlier"] is None and kept["v"]["qc_outlier"] is kept["w"]["qc_outlier"] is None
    )  # no feature; too few to say
    assert outliers([], Features(directions, {}, "m")) == {}


def test_without_features_there_are_no_outliers(full):
    kept, _, _, _ = full.curated()
    assert {row["qc_outlier"] for row in kept.values()} == {None}


@pytest.mark.parametrize("damage", ["other count", "no json", "not numpy"])
def test_features_that_do_not_fit_are_a_clear_error(tmp_path, damage):
    path = tmp_path / "features.npy"
    Features(unit([1, 0], [0, 1]), {"a": 0, "b": 1}, "m").save(path)
    assert Features.load(path).rows(["b", "a"]).tolist() == [[0, 1], [1, 0]]
    if damage == "other count":
        np.save(path, unit([1, 0]))
    elif damage == "no json":
        path.with_suffix(".json").unlink()
    else:
        path.write_bytes(b"PK\x03\x04 not numpy")
    with pytest.raises(BadFeatures, match=r"features\.npy"):
        Features.load(path)


# ---- measures


def test_measures_are_what_their_names_say(tmp_path):
    picture = photo(1, 301, 200)
    picture.save(tmp_path / "p.jpg", quality=90)
    row = measure(tmp_path / "p.jpg")
    decoded = np.asarray(Image.open(tmp_path / "p.jpg"))
    assert (row["img_format"], row["img_width"], row["img_height"]) == ("JPEG", 301, 200)
    assert row["img_pixel_sha256"] == hashlib.sha256(decoded.tobytes()).hexdigest()
    grey = np.asarray(Image.open(tmp_path / "p.jpg").convert("L"), dtype=np.float64)
    assert row["qc_contrast"] == pytest.approx(grey.std(), rel=1e-12)


def test_equal_pixels_in_another_shape_are_no_copy(collection):
    """Stripes of one row's length read the same byte after byte in both shapes."""
    line = np.random.default_rng(0).integers(0, 256, (1, 30, 3), dtype=np.uint8)
    pixels = np.repeat(line, 60, axis=0)
    collection.add("a", Image.fromarray(pixels))
    collection.add("b", Image.fromarray(pixels.reshape(30, 60, 3)))
    kept, _, _, _ = collection.curated(CFG | {"near_duplicate_bits": 0})
    assert kept["a"]["img_pixel_sha256"] == kept["b"]["img_pixel_sha256"]


def test_sixteen_bits_keep_their_shape(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        row = measure(tmp_path / name)
        assert row["qc_contrast"] == pytest.approx((ramp >> 8).std(), rel=1e-6) and row["qc_mono"]


def test_blur_lowers_sharpness_at_any_size():
    for size in (60, 128, 500):
        noise = np.random.default_rng(3).integers(0, 256, (30, 30), dtype=np.uint8)
        sharp = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        blurred = [sharpness(sharp.filter(ImageFilter.GaussianBlur(size / 60 * radius))) for radius in (0, 1, 2, 4)]
        assert blurred == sorted(blurred, reverse=True) and blurred[0] > 3 * blurred[2]
    assert sharpness(Image.new("L", (500, 2))) == 0


def test_sharpness_is_the_variance_of_the_laplacian():
    from scipy.ndimage import laplace

    grey = photo(3, 128, 100).convert("L")  # already at the size that it is measured at
    assert sharpness(grey) == pytest.approx(laplace(np.asarray(grey, dtype=float))[1:-1, 1:-1].var(), rel=1e-12)


@pytest.mark.parametrize("change, mono", [
    pytest.param(lambda image: image, False, id="a photograph"),
    pytest.param(lambda image: image.convert("L").convert("RGB"), True, id="grey"),
    pytest.param(lambda image: ImageOps.colorize(image.convert("L"), "#0a0805", "#fffaf0"), True, id="old paper"),
    pytest.param(lambda image: ImageOps.expand(image, 400, "white"), False, id="a specimen on a wide white ground"),
    pytest.param(lambda image: Image.blend(image, image.convert("L").convert("RGB"), 0.7), False, id="pale"),
])  # fmt: skip
def test_a_picture_without_colour_is_told_from_one_with_little(change, mono):
    assert colourless(change(photo(5, 300, 200))) is mono


def test_contrast_of_a_flat_picture_is_zero():
    assert contrast(Image.new("L", (9, 9), 77)) == 0


# ---- damaged EXIF


def tags(*entries):
    """An EXIF block (without its JPEG header) of (tag, type, count, four bytes of value)."""
    own = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + own + bytes(4)


def upright_at(value, kind=3):
    return (0x0112, kind, 1, struct.pack("<HH", value, 0))


MAKE_AS_FLOAT = tags((0x010F, 11, 1, struct.pack("<f", 1.5)), upright_at(6))  # read; AttributeError once written again
WIDTH_AS_TEXT = tags(upright_at(6), (0x011A, 2, 4, b"abc\0"))  # so with TypeError


def photographed(kind, exif):
    """The bytes of a picture of 48 x 40 px with this EXIF block."""
    file = io.BytesIO()
    more = {"save_all": True, "append_images": [photo(2)]} if kind == "MPO" else {}
    photo(1).save(file, kind, exif=b"Exif\0\0" + exif, **more)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("exif", [MAKE_AS_FLOAT, WIDTH_AS_TEXT], ids=["make", "width"])
def test_a_damaged_exif_block_neither_stops_curation_nor_loses_a_picture(collection, kind, exif):
    collection.add("odd", photographed(kind, exif), suffix="jpg")
    collection.add("plain", photo(2))
    kept, rejected, _, _ = collection.curated()
    assert not rejected
    assert (kept["odd"]["img_width"], kept["odd"]["img_height"]) == (40, 48)  # turned all the same
    assert kept["odd"]["img_format"] == ("JPEG" if kind == "MPO" else kind)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_its_orientation_says(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"save_all": True, "append_images": [photo(2)]} if kind == "MPO" else {}
    photo(1).save(tmp_path / "p", kind, exif=exif, **more)
    with Image.open(tmp_path / "p") as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    assert expected.size == ((40, 48) if 5 <= orientation <= 8 else (48, 40))
    assert open_rgb(tmp_path / "p").tobytes() == expected.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the damage
@pytest.mark.parametrize("entry, turned", [
    pytest.param((0x0112, 2, 4, b"six\0"), False, id="text"),
    pytest.param((0x0112, 7, 4, b"\6\0\0\0"), False, id="bytes"),
    pytest.param((0x0112, 11, 1, struct.pack("<f", float("nan"))), False, id="not a number"),
    pytest.param((0x0112, 3, 9, struct.pack("<I", 70000)), False, id="behind the end of the block"),
    pytest.param((0x0112, 3, 2, struct.pack("<HH", 6, 6)), True, id="said twice"),
])  # fmt: skip
def test_an_orientation_that_is_no_number_turns_nothing(tmp_path, entry, turned):
    (tmp_path / "p").write_bytes(photographed("JPEG", tags(entry)))
    assert open_rgb(tmp_path / "p").size == ((40, 48) if turned else (48, 40))


def test_an_exif_block_that_is_none_turns_nothing(tmp_path):
    (tmp_path / "p").write_bytes(photographed("JPEG", b"no block at all"))
    assert open_rgb(tmp_path / "p").size == (48, 40)
    profile = PngInfo()
    profile.add_text("Raw profile type exif", "\nexif\n    4\nnot hexadecimal")
    photo(1).save(tmp_path / "p", "PNG", pnginfo=profile)
    assert open_rgb(tmp_path / "p").size == (48, 40)


def test_an_orientation_in_xmp_alone_counts(tmp_path):
    photo(1).save(tmp_path / "p", "JPEG", xmp=b'<x tiff:Orientation="6"/>')
    assert open_rgb(tmp_path / "p").size == (40, 48)


def rich_exif():
    """Text, fractions, a thumbnail's pointer, and the EXIF and GPS blocks behind the first one."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A], exif[0x0131] = "Maker", 6, 72.0, "software"
    exif.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0x829A: 0.01, 0x927C: b"notes"})
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def strangely(rng, content, block):
    """The file with a few bytes of its EXIF block changed, checksums put right."""
    at, damaged = content.index(block), bytearray(content)
    for _ in range(rng.choice([1, 2, 4, 8])):
        damaged[at + rng.randrange(len(block))] = rng.choice([*range(14), 255, rng.randrange(256)])
    if content[1:4] == b"PNG":
        end = at + len(block)
        damaged[end : end + 4] = struct.pack(">I", zlib.crc32(damaged[at - 4 : end]))
    return bytes(damaged)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "MPO"])
def test_no_byte_of_an_exif_block_keeps_a_picture_from_being_read(tmp_path, kind, recwarn):
    rng, block = random.Random(kind), rich_exif()
    whole, unturned, path = photographed(kind, block), [], tmp_path / "p"
    path.write_bytes(whole)
    upright = np.asarray(open_rgb(path))
    turned = {np.rot90(way, k).tobytes() for way in (upright, upright[:, ::-1]) for k in range(4)}
    for _ in range(400):
        path.write_bytes(content := strangely(rng, whole, block))
        assert flaw(content) == ""
        picture, found = decoded(path)
        assert picture.tobytes() in turned and found == ("JPEG" if kind == "MPO" else kind)
        unturned.append(picture.size == (48, 40))
        assert measure(path)["img_width"] == picture.width
    assert 0 < sum(unturned) < 200  # some lost their orientation, most did not


def test_a_strange_tiff_is_read_or_rejected(tmp_path, recwarn):
    rng, path, seen = random.Random(7), tmp_path / "p.tif", set()
    photo(1).save(path, exif=rich_exif(), compression="raw")
    whole = path.read_bytes()
    start = struct.unpack("<I", whole[4:8])[0]
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 2, 4])):
            content[start + rng.randrange(200)] = rng.choice([*range(14), 255, rng.randrange(256)])
        path.write_bytes(content)
        try:
            decoded(path)
            seen.add(True)
        except BROKEN:
            seen.add(False)
        assert measure(path).keys() >= {"img_width"}
    assert seen == {True, False}


@pytest.mark.parametrize("error", [TypeError, AttributeError, KeyError, struct.error, RuntimeError, AssertionError])
def test_whatever_a_decoder_raises_is_a_rejection(collection, monkeypatch, error):
    def strange(image):
        raise error("strange bytes")

    collection.add("odd", photo(1))
    collection.add("plain", photo(2), suffix="bmp")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", strange)
    kept, rejected, _, _ = collection.curated()
    assert list(kept) == ["plain"] and rejected["odd"]["reason"] == "undecodable"
    assert flaw((collection.folder / "images/odd.png").read_bytes()) == "broken_image"


# ---- processes


def test_a_file_that_has_gone_is_no_reason_against_a_picture(collection):
    collection.add("a", photo(1))
    collection.add("b", photo(2))
    (collection.folder / "images/a.png").unlink()
    with pytest.raises(MissingImage, match=r"a\.png is in candidates\.parquet, but there is no such file"):
        collection.curated()


def die(path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "measure", die)
    with pytest.raises(WorkerDied, match="memory ran out"):
        list(measure_all([tmp_path / str(k) for k in range(100)], 2))


SLOW = """
import os, sys, time
from pathlib import Path
from taxaforge.collection import measuring
def slow(path):
    (Path(path) / str(os.getpid())).touch()
    time.sleep(60)
measuring.measure = slow
list(measuring.measure_all([sys.argv[1]] * 100, 2))
"""


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_a_killed_parent(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)])
    try:
        until = time.monotonic() + 20
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        workers = [int(path.name) for path in tmp_path.iterdir()]
        assert len(workers) == 2 and all(map(alive, workers))
    finally:
        parent.kill()
        parent.wait()
    until = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, workers))
