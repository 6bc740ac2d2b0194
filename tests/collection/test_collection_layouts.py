"""Datasets read as they are distributed: each layout built small, with what is known of it and what goes wrong in it."""

import csv
import json
from dataclasses import asdict

import pytest

from taxaforge.collection.sources import folder
from taxaforge.collection.sources.layouts import UnreadableTable, inat
from taxaforge.collection.sources.licences import spdx

CLASSES = [
    {"species": "Calypte anna", "genus": "Calypte", "vernacularName": "Anna's Hummingbird"},
    {"species": "Phoebastria nigripes", "genus": "Phoebastria", "vernacularName": "Black-footed Albatross"},
    {"species": "Sterna forsteri", "genus": "Sterna", "vernacularName": None},
    {"species": "Aglais io", "genus": "Aglais", "vernacularName": None},
]
ACCEPTED = {"Inachis io": "Aglais io", "Forster's Tern": "Sterna forsteri", "Pieris rapae": "not of this run"}


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def table(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def found(path, layout, accepted=ACCEPTED, classes=CLASSES, **cfg):
    cfg = {"path": str(path), "layout": layout, "table": "", "names": ""} | cfg
    return {item.identifier: item for item in folder.candidates(classes, cfg, accepted)}


def known(candidate, *names):
    return tuple(asdict(candidate)[name] for name in names)


# ---- own table


def test_every_column_of_the_table_that_means_something_is_kept_with_its_type(tmp_path):
    write(tmp_path / "photos" / "a.jpg", "x")
    row = {
        "image": "a.jpg", "scientificName": "Inachis io", "occurrenceID": "obs:7", "gbifID": "12", "datasetKey": "mine",
        "basisOfRecord": "HUMAN_OBSERVATION", "recordedBy": "Ann", "recordedByID": "https://orcid.org/0", "creator": "Ann B.",
        "eventDate": "2024-05-01", "countryCode": "DE", "decimalLatitude": "51.5", "decimalLongitude": "-0.25",
        "coordinateUncertaintyInMeters": "30", "license": "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
        "licenseVerbatimRecord": "CC0", "rightsHolder": "B.", "publisher": "P", "references": "https://x.org/7",
        "split": "Val", "caption": "on a leaf", "my_own_note": "ignored",
    }  # fmt: skip
    table(tmp_path / "t.csv", row.keys(), row.values())
    (item,) = found(tmp_path / "photos", "table", table=str(tmp_path / "t.csv")).values()
    assert item.content == (tmp_path / "photos" / "a.jpg").resolve() and item.errorCode == ""
    assert known(item, "scientificName", "verbatimScientificName") == ("Aglais io", "Inachis io")
    assert known(item, "license", "licenseVerbatimMedia", "licenseVerbatimRecord") == (
        "CC-BY-NC-4.0",
        row["license"],
        "CC0",
    )
    assert known(item, "decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters") == (51.5, -0.25, 30.0)
    assert (item.officialSplit, item.caption) == ("validation", "on a leaf")
    for name in ("occurrenceID", "gbifID", "datasetKey", "basisOfRecord", "recordedBy", "recordedByID", "creator",
                 "eventDate", "countryCode", "rightsHolder", "publisher", "references"):  # fmt: skip
        assert asdict(item)[name] == row[name]


def test_empty_cells_are_unknown_and_an_unreadable_licence_stays_as_written(tmp_path):
    write(tmp_path / "a.jpg")
    table(
        tmp_path / "t.csv",
        ("image", "scientificName", "recordedBy", "decimalLatitude", "license", "split", "caption"),
        ("a.jpg", "Aglais io", " ", "", "Usage Conditions Apply", "", ""),
    )
    (item,) = found(tmp_path, "table", table=str(tmp_path / "t.csv")).values()
    assert known(item, "recordedBy", "decimalLatitude", "officialSplit", "caption") == (None, None, None, "")
    assert known(item, "license", "licenseVerbatimMedia") == ("Usage Conditions Apply",) * 2


@pytest.mark.parametrize("column, value, message", [
    ("decimalLatitude", "91", "decimalLatitude is '91', expected a number from -90 to 90"),
    ("decimalLongitude", "12,5", "row 2: decimalLongitude is '12,5'"),
    ("coordinateUncertaintyInMeters", "nan", "coordinateUncertaintyInMeters is 'nan'"),
    ("split", "dev", "split is 'dev', expected train, validation, test"),
])  # fmt: skip
def test_a_value_that_is_none_names_its_row(tmp_path, column, value, message):
    table(tmp_path / "t.csv", ("image", "scientificName", column), ("a.jpg", "Aglais io", value))
    with pytest.raises(UnreadableTable, match=message):
        found(tmp_path, "table", table=str(tmp_path / "t.csv"))


def test_names_are_compared_as_written_first_and_then_without_case_accents_and_punctuation(tmp_path):
    classes = [{"species": "Isoëtes echinospora"}, {"species": "Aglais io"}]
    accepted = {"Tagpfauenauge": "Aglais io", "Pfauenauge": "Aglais io", "PFAUENAUGE!": "Isoëtes echinospora"}
    rows = ["Isoetes echinospora", "aglais  IO", "tagpfauenauge", "Pfauenauge", "pfauenauge"]
    table(tmp_path / "t.csv", ("image", "scientificName"), *((f"{n}.jpg", name) for n, name in enumerate(rows)))
    items = found(tmp_path, "table", accepted, classes, table=str(tmp_path / "t.csv"))
    assert {name: item.scientificName for name, item in items.items()} == {
        "0.jpg": "Isoëtes echinospora", "1.jpg": "Aglais io", "2.jpg": "Aglais io", "3.jpg": "Aglais io",
    }  # fmt: skip
    # "pfauenauge" would fold to two species, so it is nobody's.


# ---- CUB-200-2011


@pytest.fixture
def cub(tmp_path):
    """As it unpacks: a folder CUB_200_2011 inside the one that is named."""
    base = tmp_path / "cub" / "CUB_200_2011"
    pictures = ["001.Black_footed_Albatross/B_1.jpg", "067.Anna_Hummingbird/A_1.jpg", "067.Anna_Hummingbird/A_2.jpg",
                "146.Forsters_Tern/F_1.jpg", "200.Common_Yellowthroat/C_1.jpg"]  # fmt: skip
    for name in pictures:
        write(base / "images" / name)
    write(base / "images.txt", "".join(f"{i} {name}\n" for i, name in enumerate(pictures, 1)))
    names = {1: "001.Black_footed_Albatross", 67: "067.Anna_Hummingbird", 146: "146.Forsters_Tern",
             200: "200.Common_Yellowthroat"}  # fmt: skip
    write(base / "classes.txt", "".join(f"{i} {name}\n" for i, name in names.items()))
    write(base / "image_class_labels.txt", "1 1\n2 67\n3 67\n4 146\n5 200\n")
    write(base / "train_test_split.txt", "1 0\n2 1\n3 0\n4 1\n5 1\n")
    return tmp_path / "cub"


def test_cub_classes_are_found_by_their_english_names(cub, capsys):
    items = found(cub, "cub")
    assert {name: known(item, "scientificName", "officialSplit", "errorCode") for name, item in items.items()} == {
        "images/001.Black_footed_Albatross/B_1.jpg": ("Phoebastria nigripes", "test", ""),
        "images/067.Anna_Hummingbird/A_1.jpg": ("Calypte anna", "train", ""),
        "images/067.Anna_Hummingbird/A_2.jpg": ("Calypte anna", "test", ""),
        "images/146.Forsters_Tern/F_1.jpg": ("Sterna forsteri", "train", ""),
    }
    assert known(items["images/067.Anna_Hummingbird/A_2.jpg"], "datasetKey", "occurrenceID") == ("CUB-200-2011", "3")
    assert "1 rows of 1 names outside the taxa list left alone ('200.Common_Yellowthroat'" in capsys.readouterr().out
    assert found(cub / "CUB_200_2011", "cub").keys() == items.keys()


@pytest.mark.parametrize("label", ["200.Common_Yellowthroat", "Common Yellowthroat", "common yellowthroat", "200"])
def test_a_table_of_names_says_what_a_label_means(cub, tmp_path, label):
    table(tmp_path / "n.csv", ("label", "scientificName"), (label, "Inachis io"))
    items = found(cub, "cub", names=str(tmp_path / "n.csv"))
    assert items["images/200.Common_Yellowthroat/C_1.jpg"].scientificName == "Aglais io"
    assert items["images/200.Common_Yellowthroat/C_1.jpg"].verbatimScientificName == "Inachis io"
    assert len(items) == 5


def test_a_table_of_names_that_contradicts_itself_is_refused(cub, tmp_path):
    table(tmp_path / "n.csv", ("label", "scientificName"), ("1", "Aus bus"), ("1", "Aus cus"))
    with pytest.raises(UnreadableTable, match="row 3: label '1' is 'Aus cus' here and 'Aus bus' before"):
        found(cub, "cub", names=str(tmp_path / "n.csv"))


@pytest.mark.parametrize("file, text, message", [
    ("train_test_split.txt", None, "no train_test_split.txt"),
    ("image_class_labels.txt", "1 1\n", "image 2 .* has no class or no split"),
    ("train_test_split.txt", "1 yes\n", "image 1 .* has no class or no split"),
    ("images.txt", "1\n", "line 1 is '1', expected 2 columns"),
    ("classes.txt", "1 001.Aus_bus\n", "has no class"),
])  # fmt: skip
def test_a_damaged_cub_folder_is_a_clear_error(cub, file, text, message):
    at = cub / "CUB_200_2011" / file
    at.unlink() if text is None else at.write_text(text)
    with pytest.raises(UnreadableTable, match=message):
        found(cub, "cub")


def test_a_dataset_of_which_nothing_is_understood_is_an_error_and_not_an_empty_collection(cub):
    with pytest.raises(UnreadableTable, match=r"none of 5 pictures shows a species of the run.*'001.Black_footed"):
        found(cub, "cub", {}, [{"species": "Aglais io", "vernacularName": None}])


# ---- Oxford 102 Flowers


@pytest.fixture
def flowers(tmp_path):
    import numpy as np
    from scipy.io import savemat

    base = tmp_path / "flowers"
    for number in (1, 2, 4, 5):
        write(base / "jpg" / f"image_{number:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([[77, 77, 3, 102, 3]], dtype=np.uint8)})
    savemat(base / "setid.mat", {"trnid": [[2]], "valid": [[1, 3]], "tstid": [[4]]})
    table(tmp_path / "names.csv", ("label", "scientificName"), (3, "Calypte anna"), (77, "Aglais io"))
    return base


def test_flowers_have_numbers_for_labels_and_three_official_splits(flowers, tmp_path):
    items = found(flowers, "flowers", names=str(tmp_path / "names.csv"))
    assert {name: known(item, "scientificName", "officialSplit", "errorCode") for name, item in items.items()} == {
        "jpg/image_00001.jpg": ("Aglais io", "validation", ""),
        "jpg/image_00002.jpg": ("Aglais io", "train", ""),
        "jpg/image_00003.jpg": ("Calypte anna", "validation", "not_found"),
        "jpg/image_00005.jpg": ("Calypte anna", None, ""),
    }


def test_flowers_without_a_table_of_names_or_with_a_damaged_file_say_what_to_do(flowers, tmp_path):
    with pytest.raises(UnreadableTable, match=r"collection.folder.names"):
        found(flowers, "flowers")
    (flowers / "setid.mat").write_bytes(b"no matlab")
    with pytest.raises(UnreadableTable, match=r"setid.mat has no readable 'trnid'"):
        found(flowers, "flowers", names=str(tmp_path / "names.csv"))
    (flowers / "imagelabels.mat").unlink()
    with pytest.raises(UnreadableTable, match=r"no imagelabels.mat"):
        found(flowers, "flowers", names=str(tmp_path / "names.csv"))


# ---- iNaturalist 2021


def inat_json(split, images):
    """In the order of the competition's description: annotations and licences come after the images."""
    return {
        "info": {"year": 2021, "url": "https://x.org/{[\"'"},
        "version": 123456,
        "images": [{"id": n, "width": 9, "height": 9, "file_name": f"{split}/{c}/{n}.jpg"} | more for n, c, more in images],
        "categories": [
            {"id": c, "name": name, "common_name": "x", "kingdom": "Animalia", "image_dir_name": str(c)}
            for c, name in ((0, "Aglais io"), (7, "Calypte anna"), (9, "Pieris rapae"))
        ],
        "annotations": [{"id": n, "image_id": n, "category_id": c} for n, c, _ in images],
        "licenses": [
            {"id": 0, "name": "Attribution-NonCommercial", "url": "http://creativecommons.org/licenses/by-nc/4.0/"},
            {"id": 1, "name": "All Rights Reserved", "url": ""},
        ],
    }  # fmt: skip


@pytest.fixture
def inaturalist(tmp_path):
    base = tmp_path / "inat"
    full = {"license": 0, "rights_holder": "Ké “x”\u0085y", "date": "2010-07-14 20:19:00+00:00", "latitude": 43.5,
            "longitude": -71.25, "location_uncertainty": 77}  # fmt: skip
    bare = {"license": 1, "rights_holder": "", "date": "", "latitude": float("nan"), "longitude": None,
            "location_uncertainty": -80}  # fmt: skip
    write(base / "train.json", json.dumps(inat_json("train", [(3, 0, full), (1, 7, bare), (5, 9, {})])))
    write(base / "train_mini.json", json.dumps(inat_json("train_mini", [(3, 0, full)])))
    write(base / "val.json", json.dumps(inat_json("val", [(8, 0, {})]), indent=1))
    for name in ("train/0/3.jpg", "train/7/1.jpg", "train_mini/0/3.jpg", "val/0/8.jpg"):
        write(base / name)
    return base


def test_inat_pictures_carry_licence_holder_date_place_and_official_split(inaturalist):
    items = found(inaturalist, "inat")
    assert {name: known(item, "scientificName", "officialSplit") for name, item in items.items()} == {
        "train/0/3.jpg": ("Aglais io", "train"),
        "train/7/1.jpg": ("Calypte anna", "train"),
        "val/0/8.jpg": ("Aglais io", "validation"),
    }
    full, bare = items["train/0/3.jpg"], items["train/7/1.jpg"]
    assert known(full, "license", "licenseVerbatimMedia") == (
        "CC-BY-NC-4.0",
        "http://creativecommons.org/licenses/by-nc/4.0/",
    )
    assert known(full, "rightsHolder", "recordedBy", "eventDate") == (
        *["Ké “x”\u0085y"] * 2,
        "2010-07-14T20:19:00+00:00",
    )
    places = ("decimalLatitude", "decimalLongitude", "coordinateUncertaintyInMeters")
    assert known(full, *places) == (43.5, -71.25, 77.0)
    assert known(bare, *places, "rightsHolder", "recordedBy", "eventDate") == (None,) * 6
    assert bare.license == "All Rights Reserved"
    assert known(items["val/0/8.jpg"], "license", "licenseVerbatimMedia") == (None, None)


def test_the_mini_training_set_is_read_where_the_whole_is_not_there(inaturalist):
    (inaturalist / "train.json").unlink()
    (inaturalist / "val.json").unlink()
    assert list(found(inaturalist, "inat")) == ["train_mini/0/3.jpg"]
    (inaturalist / "train_mini.json").unlink()
    with pytest.raises(UnreadableTable, match=r"it has no train.json"):
        found(inaturalist, "inat")


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1 << 20])
def test_annotations_are_the_same_however_small_the_pieces_they_are_read_in(inaturalist, monkeypatch, piece):
    monkeypatch.setattr(inat, "PIECE", piece)
    whole = json.loads((inaturalist / "train.json").read_text("utf-8"))
    for keys in ({"images"}, {"licenses", "categories", "annotations"}):
        read = list(inat.objects(inaturalist / "train.json", keys))
        wanted = [(key, entry) for key in whole if key in keys for entry in whole[key]]
        assert json.dumps(read) == json.dumps([list(pair) for pair in wanted])


@pytest.mark.parametrize("damage, message", [
    (lambda text: text[: len(text) // 2], "ends too early"),
    (lambda text: text.replace('"licenses"', '"licences"'), "has no licenses"),
    (lambda text: text.replace('"annotations": [', '"annotations": {', 1), "cannot be read"),
    (lambda text: "[1, 2]", "where '{' should be"),
    (lambda text: text.replace('"image_id": 1,', '"image_id": 99,'), "image 1 has no annotation"),
])  # fmt: skip
def test_damaged_annotations_are_a_clear_error(inaturalist, damage, message):
    file = inaturalist / "train.json"
    file.write_text(damage(file.read_text("utf-8")), "utf-8")
    with pytest.raises(UnreadableTable, match=message):
        found(inaturalist, "inat")


# ---- FishNet


@pytest.fixture
def fishnet(tmp_path):
    """Columns and values as in anns/test.csv; rows from iNaturalist name no species."""
    base = tmp_path / "fishnet"
    head = ("", "Unnamed: 0", "species", "image", "SpecCode", "Genus", "Family", "source", "Folder", "NewOrder")
    url = "https://www.fishbase.se/images/species/Zefla_u2.jpg"
    table(base / "anns" / "train.csv", head,
          (1, 1, "Aglais io", url, "6018", "Aglais", "Acanthuridae", "fishbase", "Acanthuridae", "P"),
          (2, 2, "", "ce23.jpg", "", "Calypte", "Sparidae", "inat", "Sparidae", "P"))  # fmt: skip
    table(base / "anns" / "test.csv", head,
          (3, 3, "Calypte anna", "https://x.se/a/B_u0.jpg", "1", "C", "Labridae", "fishbase", "Labridae", "P"))  # fmt: skip
    for name in ("Acanthuridae/Zefla_u2.jpg", "Sparidae/ce23.jpg", "Labridae/B_u0.jpg"):
        write(base / "Image_Library" / name)
    return base


def test_fishnet_pictures_lie_under_their_family_and_keep_their_address(fishnet, tmp_path, capsys):
    items = found(fishnet, "fishnet")
    names = ("scientificName", "officialSplit", "publisher", "references", "errorCode")
    assert {name: known(item, *names) for name, item in items.items()} == {
        "Image_Library/Acanthuridae/Zefla_u2.jpg":
            ("Aglais io", "train", "FishBase", "https://www.fishbase.se/images/species/Zefla_u2.jpg", ""),
        "Image_Library/Labridae/B_u0.jpg": ("Calypte anna", "test", "FishBase", "https://x.se/a/B_u0.jpg", ""),
    }  # fmt: skip
    assert "1 rows of 1 names outside the taxa list left alone ('ce23.jpg'" in capsys.readouterr().out
    table(tmp_path / "n.csv", ("label", "scientificName"), ("ce23.jpg", "Sterna forsteri"))
    items = found(fishnet, "fishnet", names=str(tmp_path / "n.csv"))
    assert known(items["Image_Library/Sparidae/ce23.jpg"], "scientificName", "publisher", "references") == (
        "Sterna forsteri",
        "iNaturalist",
        None,
    )


def test_fishnet_is_read_with_its_tables_beside_the_families_and_with_one_table_only(fishnet, capsys):
    for split in ("train", "test"):
        (fishnet / "anns" / f"{split}.csv").rename(fishnet / f"{split}.csv")
    for family in ("Acanthuridae", "Sparidae", "Labridae"):
        (fishnet / "Image_Library" / family).rename(fishnet / family)
    (fishnet / "Image_Library").rmdir()
    (fishnet / "test.csv").unlink()
    items = found(fishnet, "fishnet")
    assert [(name, item.errorCode) for name, item in items.items()] == [("Acanthuridae/Zefla_u2.jpg", "")]
    assert "has no test.csv" in capsys.readouterr().out
    (fishnet / "train.csv").unlink()
    with pytest.raises(UnreadableTable, match=r"neither it nor its anns/ has train.csv or test.csv"):
        found(fishnet, "fishnet")


@pytest.mark.parametrize("layout", ["cub", "flowers", "inat", "fishnet"])
def test_a_folder_of_another_kind_is_named_with_the_remedy(tmp_path, layout):
    with pytest.raises(UnreadableTable, match=f"{tmp_path} is no .* dataset"):
        found(tmp_path, layout)


def test_no_dataset_leads_out_of_its_folder(cub):
    (cub / "secret.jpg").write_text("x")
    file = cub / "CUB_200_2011" / "images.txt"
    file.write_text(file.read_text().replace("001.Black_footed_Albatross/B_1.jpg", "../../secret.jpg"))
    item = found(cub, "cub")["images/../../secret.jpg"]
    assert (item.content, item.errorCode) == (None, "outside_folder")


# ---- licences


@pytest.mark.parametrize("text, licence", [
    ("http://creativecommons.org:80/licenses/by/4.0/", "CC-BY-4.0"),
    ("https://creativecommons.org/licenses/by/2.5/ca/", "CC-BY-2.5"),
    ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
    ("CC0_1_0", "CC0-1.0"),
    ("CC-PDM-1.0", "CC-PDM-1.0"),
    ("Public Domain Mark 1.0", "CC-PDM-1.0"),
    ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
    ("UNSPECIFIED", None),
    pytest.param("https://creativecommons.org/licenses/by-ncnd/4.0/", None, id="no licence, and not the freest like it"),
    pytest.param("CC BY 4.0, non-commercial use only", None, id="a condition in words that the licence has not"),
    pytest.param("CC BY-NC 4.0 (non-commercial)", "CC-BY-NC-4.0", id="a condition in words that the licence has"),
    pytest.param("http://creativecommons.org/licenses/by/4.0/ no derivatives", None, id="also beside an address"),
])  # fmt: skip
def test_licences_as_they_are_written(text, licence):
    assert spdx(text) == licence


@pytest.mark.parametrize("conditions", ["by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd"])
@pytest.mark.parametrize("version", ["1.0", "2.0", "2.5", "3.0", "4.0"])
def test_an_id_is_read_back_as_itself_from_every_form(conditions, version):
    wanted = f"CC-{conditions.upper()}-{version}"
    forms = [wanted, f"http://creativecommons.org/licenses/{conditions}/{version}", wanted.replace("-", " "),
             wanted.replace("-", "_").replace(".", "_")]  # fmt: skip
    assert {spdx(form) for form in forms} == {wanted}
