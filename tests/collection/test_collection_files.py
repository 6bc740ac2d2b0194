"""Fetching, curating and packing real files: every candidate ends with a file or a reason, and counts add up."""

import csv
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.collection.curate import NothingLeft, curate
from taxaforge.collection.fetch import fetch
from taxaforge.collection.pack import pack
from taxaforge.collection.pictures import extension_of
from taxaforge.collection.quality import first_reason
from taxaforge.collection.schema import CANDIDATES, METADATA, REJECTIONS, SPLITS
from taxaforge.collection.sources.folder import UnreadableTable
from taxaforge.collection.split import split
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.packs import Pack
from taxaforge.taxonomy.schema import TAXA

QUALITY = {
    "min_side": 24, "max_aspect": 4.0, "min_contrast": 4.0, "near_duplicate_bits": 16,
    "cap": {"images_per_species": 0, "images_per_observer": 0},
}  # fmt: skip
SIMULATED = {
    "images_per_species": 12, "phylogenetic_signal": 1.0, "individual_sd": 0.3, "nuisance": 0.5, "images_per_observer": 2,
    "duplicate_share": 0.25,
}  # fmt: skip


def noise(seed, width=40, height=40):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def classes(tmp_path):
    lineage = {"kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta", "order": "Lepidoptera"}
    records = [
        lineage | {"family": "Nymphalidae", "genus": g, "species": s, "taxonID": f"t:{i}", "vernacularName": None}
        for i, (g, s) in enumerate([("Aglais", "Aglais io"), ("Vanessa", "Vanessa cardui")])
    ]
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(records))
    return path


@pytest.fixture
def photographs(tmp_path, classes):
    """A folder of photographs with everything that goes wrong in one; returns what fetch takes."""
    base = tmp_path / "photos"
    (base / "sub").mkdir(parents=True)
    whole = encoded(noise(1))
    for name, content in {
        "good.png": whole,
        "sub/jpeg.JPG": encoded(noise(2), "JPEG", quality=95),
        "lying.jpg": encoded(noise(3)),
        "cut.png": whole[:600],
        "page.jpg": b"<html>404</html>",
        "empty.jpg": b"",
        "small.png": encoded(noise(4, 23, 300)),
        "long.png": encoded(noise(5, 24, 97)),
        "blank.png": encoded(Image.new("RGB", (40, 40), "tan")),
        "copy.png": encoded(noise(1, 36, 36)),
        "both1.png": encoded(noise(6)),
        "both2.png": encoded(noise(6, 50, 50)),
        "twice.png": encoded(noise(7)),
    }.items():
        (base / name).write_bytes(content)
    (tmp_path / "secret.png").write_bytes(encoded(noise(8)))
    rows = [
        ("good.png", "Inachis io", "Ann", "2024-05-01", "CC0-1.0", "on a leaf"),
        ("sub/jpeg.JPG", "Vanessa cardui", "", "", "", ""),
        ("lying.jpg", " Aglais  io ", "", "", "", ""),
        *(
            (name, "Aglais io", "", "", "", "")
            for name in ("cut.png", "page.jpg", "empty.jpg", "missing.png", "small.png")
        ),
        *((name, "Aglais io", "", "", "", "") for name in ("long.png", "blank.png", "copy.png", "../secret.png", "")),
        ("both1.png", "Aglais io", "", "", "", ""),
        ("both2.png", "Vanessa cardui", "", "", "", ""),
        ("twice.png", "Aglais io", "", "", "", ""),
        ("twice.png", "Vanessa cardui", "", "", "", ""),
        ("good.png", "Aglais io", "", "", "", ""),
        ("other.png", "Pieris rapae", "", "", "", ""),
    ]
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(
            [("image", "scientificName", "recordedBy", "eventDate", "license", "caption"), *rows]
        )
    blank = {name: None if column.nullable else "" for name, column in TAXA.columns.items()}
    taxa = [("Inachis io", "Aglais io", True), ("Vanessa cardui", "Vanessa cardui", True), ("Pieris sp.", "x", False)]
    tables.write(
        TAXA,
        [
            blank | {"row": n, "verbatimName": v, "species": s, "label": label}
            for n, (v, s, label) in enumerate(taxa, 1)
        ],
        tmp_path / "taxa.parquet",
    )
    return {
        "classes": classes, "source": "folder", "cfg": {"path": str(base), "table": str(tmp_path / "table.csv")}, "seed": 0,
        "taxa": tmp_path / "taxa.parquet", "taxonomy": {}, "out_table": tmp_path / "c" / "candidates.parquet",
        "out_images": tmp_path / "c" / "images",
    }  # fmt: skip


REASONS = {
    "good.png": "", "sub/jpeg.JPG": "", "lying.jpg": "", "cut.png": "undecodable", "page.jpg": "not_an_image",
    "empty.jpg": "empty_file", "missing.png": "not_found", "small.png": "too_small", "long.png": "too_long",
    "blank.png": "blank", "copy.png": "duplicate", "../secret.png": "outside_folder", "table.csv:14": "no_path",
    "both1.png": "duplicate_of_two_species", "both2.png": "duplicate_of_two_species", "twice.png": "two_species",
}  # fmt: skip


def curated(folder, cfg=QUALITY):
    names = {
        "out_metadata": "metadata.parquet", "out_rejections": "rejections.csv", "out_duplicates": "duplicates.parquet",
        "out_ledger": "ledger.json",
    }  # fmt: skip
    curate(
        candidates=folder / "candidates.parquet", images=folder / "images", cfg=cfg, seed=0,
        **{argument: folder / name for argument, name in names.items()},
    )  # fmt: skip
    kept = tables.read(METADATA, folder / "metadata.parquet")
    return kept, tables.read(REJECTIONS, folder / "rejections.csv"), read_json(folder / "ledger.json")


def test_every_photograph_ends_with_a_file_or_the_first_reason_against_it(tmp_path, photographs, capsys):
    fetch(**photographs)
    assert "1 rows of 1 names outside the taxa list" in capsys.readouterr().out
    kept, rejected, ledger = curated(tmp_path / "c")
    found = {row["identifier"]: "" for row in kept} | {row["identifier"]: row["reason"] for row in rejected}
    assert found == REASONS
    assert ledger["in"] == len(REASONS) == ledger["kept"] + sum(ledger["rejected"].values())
    assert ledger["species"]["Vanessa cardui"] == {"in": 2, "kept": 1}


def test_files_are_stored_under_their_content_and_what_is_known_stays_with_them(tmp_path, photographs):
    fetch(**photographs)
    rows = {row["identifier"]: row for row in tables.read(CANDIDATES, photographs["out_table"])}
    good, lying = rows["good.png"], rows["lying.jpg"]
    content = (tmp_path / "c" / good["file_name"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == good["sha256"]
    assert good["file_name"] == f"images/{good['sha256'][:2]}/{good['sha256']}.png"
    assert lying["file_name"].endswith(".png")  # what the bytes say, not the name
    assert (good["scientificName"], good["verbatimScientificName"]) == ("Aglais io", "Inachis io")
    assert (good["recordedBy"], good["eventDate"], good["license"], good["caption"]) == (
        "Ann",
        "2024-05-01",
        "CC0-1.0",
        "on a leaf",
    )
    assert lying["recordedBy"] is None
    assert not list((tmp_path / "c").rglob("*.part"))


def test_a_picture_listed_under_two_names_is_kept_for_neither_whatever_the_order(tmp_path, photographs):
    fetch(**photographs)
    first = {path: path.read_bytes() for path in (tmp_path / "c").rglob("*") if path.is_file()}
    rows = {row["identifier"]: row for row in tables.read(CANDIDATES, photographs["out_table"])}
    assert rows["good.png"]["sha256"]
    twice = rows["twice.png"]
    assert (twice["scientificName"], twice["file_name"], twice["errorCode"]) == ("Aglais io", None, "two_species")
    digest = hashlib.sha256((tmp_path / "photos/twice.png").read_bytes()).hexdigest()
    assert not any(digest in path.name for path in first)
    head, *lines = (tmp_path / "table.csv").read_text("utf-8-sig").splitlines()
    lines = [line for line in lines if not line.startswith(",")]  # a row without path is named by its place
    written = []
    for n, order in enumerate((lines, lines[::-1], [*lines, "twice.png,Aglais io,,,,"])):
        (tmp_path / "table.csv").write_text("\n".join([head, *order]) + "\n")
        fetch(
            **photographs | {"out_table": tmp_path / f"{n}/candidates.parquet", "out_images": tmp_path / f"{n}/images"}
        )
        written.append((tmp_path / f"{n}/candidates.parquet").read_bytes())
    assert written[0] == written[1] == written[2]


def test_photographs_stay_the_photographers_own(tmp_path, photographs):
    """A later edit of an original must not reach into the collection: it is a copy, not a second name."""
    fetch(**photographs)
    rows = {row["identifier"]: row for row in tables.read(CANDIDATES, photographs["out_table"])}
    (tmp_path / "photos/good.png").write_bytes(b"edited")
    stored = (tmp_path / "c" / rows["good.png"]["file_name"]).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == rows["good.png"]["sha256"]


def test_what_an_earlier_or_a_killed_run_left_is_gone(tmp_path, photographs):
    base = tmp_path / "c"
    for left in ("images/ab/old.png", ".images.99.part/ab/half.png", ".candidates.parquet.99.part"):
        (base / left).parent.mkdir(parents=True, exist_ok=True)
        (base / left).write_bytes(b"old")
    fetch(**photographs)
    rows = tables.read(CANDIDATES, photographs["out_table"])
    files = {path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()}
    assert files == {"candidates.parquet"} | {row["file_name"] for row in rows if row["file_name"]}


def test_a_vernacular_name_means_its_species_unless_two_have_it(tmp_path, photographs):
    taxa = [
        ("Inachis io", "Aglais io", "Peacock", True),
        ("Vanessa cardui", "Vanessa cardui", "Painted  lady", True),
        ("Cynthia cardui", "Vanessa cardui", "Peacock", True),
        ("Painted", "Aglais io", "Vanessa cardui", True),
        ("Pieris sp.", "Aglais io", "White", False),
    ]
    blank = {name: None if column.nullable else "" for name, column in TAXA.columns.items()}
    rows = [
        blank | {"row": n, "verbatimName": v, "species": s, "vernacularName": c, "label": label}
        for n, (v, s, c, label) in enumerate(taxa, 1)
    ]
    tables.write(TAXA, rows, photographs["taxa"])
    names = {"good.png": "Painted lady", "lying.jpg": "Peacock", "twice.png": "White", "both1.png": "Vanessa cardui"}
    lines = [f"{image},{name}\n" for image, name in names.items()]
    (tmp_path / "table.csv").write_text("image,scientificName\n" + "".join(lines))
    fetch(**photographs)
    found = tables.read(CANDIDATES, photographs["out_table"])
    assert {row["identifier"]: row["scientificName"] for row in found} == {
        "good.png": "Vanessa cardui", "both1.png": "Vanessa cardui",
    }  # fmt: skip


@pytest.mark.parametrize("change, message", [
    ({"path": "nowhere"}, "'nowhere' is no directory"),
    ({"table": "nowhere.csv"}, "cannot be read"),
    ({"table": "broken.csv"}, "no column 'scientificName'"),
    ({"table": "binary.csv"}, "UTF-8"),
])  # fmt: skip
def test_an_unusable_folder_or_table_is_a_clear_error(tmp_path, photographs, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.csv").write_text("image,name\na,b\n")
    (tmp_path / "binary.csv").write_bytes(b"image,scientificName\n\xff\xfe\xff,b\n")
    with pytest.raises(UnreadableTable, match=message):
        fetch(**photographs | {"cfg": photographs["cfg"] | change})


def test_an_unknown_source_is_named(photographs):
    with pytest.raises(TaxaforgeError, match="'flickr' is unknown"):
        fetch(**photographs | {"source": "flickr"})


@pytest.mark.parametrize("width, height, contrast, reason", [
    pytest.param(24, 900, 30.0, "too_long", id="exactly the minimum side is enough"),
    pytest.param(24, 96, 4.0, "", id="exactly every limit is accepted"),
    pytest.param(23, 900, 0.0, "too_small", id="the first check in order names the reason"),
    pytest.param(97, 24, 30.0, "too_long", id="lying or standing"),
    pytest.param(40, 40, 3.9, "blank", id="less contrast than asked"),
])  # fmt: skip
def test_reason_for_an_image(width, height, contrast, reason):
    assert first_reason({"img_width": width, "img_height": height, "qc_contrast": contrast}, QUALITY) == reason


def test_the_simulated_source_loses_exactly_what_was_planted(tmp_path, classes):
    folder = tmp_path / "c"
    arguments = {"classes": classes, "source": "simulated", "cfg": SIMULATED, "seed": 1}
    fetch(**arguments, out_table=folder / "candidates.parquet", out_images=folder / "images")
    kept, rejected, ledger = curated(folder)
    assert ledger["in"] == 2 * (12 + 3 + 3)
    order = [
        (row["scientificName"], row["identifier"]) for row in tables.read(CANDIDATES, folder / "candidates.parquet")
    ]
    assert order == sorted(order)
    assert ledger["rejected"] == {"blank": 2, "duplicate": 6, "not_found": 2, "undecodable": 2}
    assert len(kept) == 24 and len(rejected) == 12
    again = tmp_path / "again"
    fetch(**arguments, out_table=again / "candidates.parquet", out_images=again / "images")
    assert (again / "candidates.parquet").read_bytes() == (folder / "candidates.parquet").read_bytes()
    stored, restored = (
        {p.relative_to(at): p.read_bytes() for p in at.rglob("*.*") if p.is_file()}
        for at in (folder / "images", again / "images")
    )
    assert stored == restored


def test_from_drawing_to_packs(tmp_path, classes):
    folder = tmp_path / "c"
    fetch(
        classes=classes,
        source="simulated",
        cfg=SIMULATED,
        seed=1,
        out_table=folder / "candidates.parquet",
        out_images=folder / "images",
    )
    curated(folder)
    split(
        metadata=folder / "metadata.parquet", duplicates=folder / "duplicates.parquet", classes=classes, seed=0,
        protocol={"kind": "few_shot", "shots": 4},
        split={"unit": "event", "test": 3, "validation": 2, "reserve": 0, "short": "stop", "cut": "", "block_km": 50.0},
        out_splits=folder / "splits.parquet", out_leakage=folder / "leakage.csv", out_tail=folder / "tail.csv",
    )  # fmt: skip
    rows = {row["identifier"]: row for row in tables.read(METADATA, folder / "metadata.parquet")}
    parts = {row["identifier"]: row for row in tables.read(SPLITS, folder / "splits.parquet")}
    for name, count in {"train": 8, "validation": 4, "test": 6, "reserve": 0}.items():
        out = folder / "packs" / f"{name}.npy"
        pack(
            metadata=folder / "metadata.parquet", splits=folder / "splits.parquet", images=folder / "images",
            classes=classes, name=name, size=32, out=out,
        )  # fmt: skip
        packed = Pack.load(out, opened_by="score_classifier")
        assert packed.pixels.shape == (count, 32, 32, 3) and packed.classes == ["Aglais io", "Vanessa cardui"]
        for identifier, label, group, caption in zip(
            packed.identifier, packed.label, packed.group, packed.caption, strict=True
        ):
            assert rows[identifier]["scientificName"] == packed.classes[label]
            assert (parts[identifier]["split"], parts[identifier]["group"]) == (name, group)
            assert caption == rows[identifier]["caption"]


def test_a_pack_is_upright_square_and_antialiased(tmp_path, classes):
    """A standing photograph stored lying with an EXIF turn: its centre square, white above black, comes out upright."""
    stripes = np.zeros((80, 40, 3), dtype=np.uint8)
    stripes[:40] = 255  # upright: upper half white
    stripes[10:20, ::2] = 0  # outside the centre square
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to see it upright"
    content = encoded(Image.fromarray(np.rot90(stripes).copy()), "JPEG", quality=100, exif=exif)
    base = tmp_path / "photos"
    base.mkdir()
    (base / "a.jpg").write_bytes(content)
    (tmp_path / "table.csv").write_text("image,scientificName\na.jpg,Aglais io\n")
    folder = tmp_path / "c"
    fetch(
        classes=classes, source="folder", cfg={"path": str(base), "table": str(tmp_path / "table.csv")}, seed=0,
        out_table=folder / "candidates.parquet", out_images=folder / "images",
    )  # fmt: skip
    kept, _, _ = curated(folder)
    assert (kept[0]["img_width"], kept[0]["img_height"]) == (40, 80)
    part = {"identifier": "a.jpg", "split": "test", "group": "a.jpg", "scientificName": "Aglais io"}
    tables.write(SPLITS, [part], folder / "splits.parquet")
    pack(
        metadata=folder / "metadata.parquet", splits=folder / "splits.parquet", images=folder / "images", classes=classes,
        name="test", size=16, out=folder / "test.npy",
    )  # fmt: skip
    pixels = Pack.load(folder / "test.npy", opened_by="score_classifier").pixels[0].astype(int)
    assert pixels[:6].min() > 230 and pixels[-6:].max() < 25


def test_nothing_left_gives_the_reasons(tmp_path, classes):
    folder = tmp_path / "c"
    blank = {"identifier": "a", "scientificName": "Aglais io", "errorCode": "not_found"}
    tables.write(
        CANDIDATES,
        [dict.fromkeys(CANDIDATES.columns) | {"source": "folder", "caption": ""} | blank],
        folder / "candidates.parquet",
    )
    with pytest.raises(NothingLeft, match=r"None of 1 candidate images passed \(not_found 1\)"):
        curated(folder)


def test_transparent_pixels_become_white_whatever_they_hide(tmp_path):
    from taxaforge.collection.pixels import open_rgb

    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert np.asarray(open_rgb(tmp_path / "clear.png")).min() == 255


@pytest.mark.parametrize(
    "kind, extension",
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif"), ("GIF", "gif"), ("BMP", "bmp")],
)
def test_the_format_is_read_from_the_bytes(kind, extension):
    assert extension_of(encoded(noise(1), kind)) == extension
    assert extension_of(b"RIFF....WAVE") is None
