"""What is published with a collection: the table, attributions, datasets owed a citation, the card, Croissant."""

import csv
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from taxaforge import tables
from taxaforge.collection.attribution import attributions, credit, licence_name, licence_url, strictness, terms_of
from taxaforge.collection.manifest import PUBLISHED, TERMS, NotPublishable
from taxaforge.collection.markdown import table
from taxaforge.collection.publish import describe
from taxaforge.collection.schema import CANDIDATES, METADATA, REJECTIONS, SPLITS

SPECIES = ("Aglais io", "Aglais urticae", "Pica pica")
CLASSES = [
    {"species": name, "taxonID": f"col_xr:K{number}", "kingdom": "Animalia", "family": family, "genus": name.split()[0],
     "vernacularName": vernacular}
    for number, (name, family, vernacular) in enumerate(
        zip(SPECIES, ("Nymphalidae", "Nymphalidae", "Corvidae"), ("Peacock | Inachis", None, "Magpie"), strict=True)
    )
]  # fmt: skip
DATASETS = ("50c9509d-22c7-4a22-a47d-8c48425ef4a7", "4fa7b334-ce0d-4e88-aaae-2e0c138d049e")
LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-4.0", "CC-BY-NC-SA-4.0")
DEALT = ("train", "train", "validation", "test", "reserve", "unused")


def picture(k: int, **own) -> dict:
    """A row of metadata.parquet as the GBIF source gives it; two pictures an occurrence."""
    digest = f"{k:064x}"
    row = dict.fromkeys(METADATA.columns) | {
        "identifier": f"https://host.example/{k}.jpg", "file_name": f"images/00/{digest}.jpg", "sha256": digest,
        "scientificName": SPECIES[k % 3], "verbatimScientificName": SPECIES[k % 3], "gbifID": str(4_000_000_000 + k // 2),
        "datasetKey": DATASETS[k // 2 % 2], "countryCode": "NA", "eventDate": "2020", "license": LICENCES[k % 4],
        "licenseVerbatimRecord": "CC BY 4.0", "creator": f"Ada {k}", "rightsHolder": f"Ada {k}", "publisher": "Museum",
        "recordedBy": "Ada", "decimalLatitude": None if k % 2 else 47.5, "source": "gbif", "caption": "", "errorCode": "",
        "img_format": "JPEG", "img_width": 640, "img_height": 480, "img_pixel_sha256": digest, "img_phash": digest,
        "qc_contrast": 31.25, "qc_sharpness": 2.5, "qc_mono": k % 5 == 0, "qc_duplicate_set": digest,
    }  # fmt: skip
    return row | own


REFUSED = [
    ("licence_not_allowed", {"license": "CC-BY-ND-4.0"}),
    ("licence_not_allowed", {"license": "CC-BY-ND-4.0"}),
    ("licence_unknown", {"license": None, "licenseVerbatimMedia": "Usage Conditions | Apply"}),
    ("duplicate", {}),
]
FACTS = {"name": "heath", "source": "gbif", "seed": 7, "licences": list(LICENCES), "split": {"unit": "event"}}
OUTPUTS = {
    "table": "metadata.csv", "attribution": "ATTRIBUTION.csv", "derived": "derived_dataset.csv", "card": "README.md",
    "croissant": "croissant.json",
}  # fmt: skip


def write(folder: Path, pictures: list[dict], splits: list[dict] | None = None, ledger: dict | None = None) -> dict:
    """The tables of a collection in `folder`; the arguments of `describe`."""
    refused = [picture(900 + k, **own) for k, (_, own) in enumerate(REFUSED)]
    offered = [{name: row[name] for name in CANDIDATES.columns} for row in [*pictures, *refused]]
    rejected = [
        {"identifier": row["identifier"], "scientificName": row["scientificName"], "reason": reason, "qc_duplicate_set": None}
        for row, (reason, _) in zip(refused, REFUSED, strict=True)
    ]  # fmt: skip
    dealt = [
        {"identifier": row["identifier"], "split": DEALT[k % 6], "group": row["gbifID"] or "", "scientificName": row["scientificName"]}
        for k, row in enumerate(sorted(pictures, key=lambda row: row["identifier"]))
    ]  # fmt: skip
    tables.write(METADATA, pictures, folder / "metadata.parquet")
    tables.write(CANDIDATES, offered, folder / "candidates.parquet")
    tables.write(REJECTIONS, rejected, folder / "rejections.csv")
    tables.write(SPLITS, dealt if splits is None else splits, folder / "splits.parquet")
    reasons = dict(Counter(row["reason"] for row in rejected))
    counts = ledger or {"in": len(offered), "kept": len(pictures), "rejected": reasons}
    (folder / "ledger.json").write_text(json.dumps(counts))
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    names = {"metadata": "metadata.parquet", "splits": "splits.parquet", "candidates": "candidates.parquet",
             "rejections": "rejections.csv", "ledger": "ledger.json", "classes": "classes.json"}  # fmt: skip
    return {name: folder / file for name, file in names.items()} | {
        f"out_{name}": folder / file for name, file in OUTPUTS.items()
    }


PICTURES = [picture(k) for k in range(24)]


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """A described collection of 24 pictures; some records say nothing where most say something."""
    folder = tmp_path_factory.mktemp("collection")
    gaps = {5: {"gbifID": None}, 7: {"creator": None, "rightsHolder": None}, 8: {"creator": None}}
    describe(**write(folder, [picture(k, **gaps.get(k, {})) for k in range(24)]), facts=FACTS)
    return folder


def lines(path: Path) -> list[dict]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def snippets(readme: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)


def test_every_picture_has_one_attribution_that_says_who_under_which_terms_and_where(collection):
    published, credited = lines(collection / "metadata.csv"), lines(collection / "ATTRIBUTION.csv")
    assert [row["identifier"] for row in credited] == [row["identifier"] for row in published]
    assert len(credited) == 24
    for row, line in zip(published, credited, strict=True):
        assert line["file_name"] == row["file_name"]
        assert line["references"].startswith("https://")
        for part in (row["scientificName"], licence_name(row["license"]), licence_url(row["license"]), "Museum"):
            assert part in line["attribution"]
        assert (row["creator"] or row["rightsHolder"] or row["recordedBy"]) in line["attribution"]


@pytest.mark.parametrize("own, line", [
    pytest.param({}, "Aglais io by Ada 0, CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/), "
                 "https://www.gbif.org/occurrence/4000000000, published by Museum", id="all known"),
    pytest.param({"rightsHolder": "Agency"}, "Aglais io by Ada 0 (rights: Agency), CC0", id="creator and owner differ"),
    pytest.param({"creator": None}, "Aglais io by Ada 0, CC0", id="owner stands in for the creator"),
    pytest.param({"creator": None, "rightsHolder": None}, "Aglais io by Ada, CC0", id="then the observer"),
    pytest.param({"creator": None, "rightsHolder": None, "recordedBy": None}, "Aglais io by unknown creator, CC0", id="nobody"),
    pytest.param({"creator": "A\nB  C"}, "Aglais io by A B C", id="one line"),
    pytest.param({"references": "https://x.example/1"}, ", https://x.example/1, published", id="its own page first"),
    pytest.param({"gbifID": None}, ", https://host.example/0.jpg, published", id="else the file's address"),
    pytest.param({"gbifID": None, "identifier": "a/b.jpg", "publisher": None, "license": None},
                 "by Ada 0, licence not stated, a/b.jpg", id="a file on a disk"),
    pytest.param({"source": "simulated"}, "Aglais io (drawn specimen) by Ada 0", id="a drawing says so"),
])  # fmt: skip
def test_credit_line(own, line):
    assert line in credit(picture(0, **own))


@pytest.mark.parametrize("licence, name, url, terms", [
    ("CC0-1.0", "CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", []),
    ("CC-PDM-1.0", "Public Domain Mark 1.0", "https://creativecommons.org/publicdomain/mark/1.0/", []),
    ("CC-BY-2.5", "CC BY 2.5", "https://creativecommons.org/licenses/by/2.5/", ["BY"]),
    ("CC-BY-NC-SA-4.0", "CC BY-NC-SA 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/", ["BY", "SA", "NC"]),
    ("LicenseRef-CC-BY-ND", "CC BY-ND, version not stated", None, ["BY", "ND"]),
    ("Ask me", "Ask me", None, ["unknown"]),
    (None, "not stated", None, ["unknown"]),
])  # fmt: skip
def test_what_a_licence_is_called_and_asks_for(licence, name, url, terms):
    assert (licence_name(licence), licence_url(licence), terms_of(licence)) == (name, url, terms)


def test_licences_sort_from_the_freest_to_the_strictest():
    order = [
        "CC0-1.0",
        "CC-BY-2.0",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC-BY-ND-4.0",
        None,
    ]
    assert sorted(random.Random(1).sample(order, len(order)), key=strictness) == order


@pytest.mark.parametrize("source", ["gbif", "folder", "simulated"])
def test_a_picture_under_another_licence_stays_out_of_all_that_is_published_whatever_the_source(tmp_path, source):
    # 6 of 24 are CC BY-NC-SA; of the first group the picture that names it has no licence, of another one a text.
    closed = {0: None, 3: "Ask the museum"}
    rows = [picture(k, source=source, **({"license": closed[k]} if k in closed else {})) for k in range(24)]
    closed |= {k: "CC-BY-NC-SA-4.0" for k in range(24) if k % 4 == 3 and k not in closed}
    files = write(tmp_path, rows)
    splits = [row | {"group": rows[0]["identifier"]} if row["identifier"] in (rows[0]["identifier"], rows[1]["identifier"]) else row
              for row in tables.read(SPLITS, files["splits"])]  # fmt: skip
    tables.write(SPLITS, splits, files["splits"])
    logged = {}
    describe(
        **files,
        facts=FACTS | {"source": source, "licences": ["CC0-1.0", "CC-BY-4.0"]},
        log=lambda _, values: logged.update(values),
    )
    assert (logged["images_published"], logged["images_withheld"]) == (17, 7)
    for name in OUTPUTS.values():
        text = (tmp_path / name).read_text("utf-8")
        for k, row in enumerate(rows):
            here = row["identifier"] in text or row["sha256"] in text
            assert here == (k not in closed and name in ("metadata.csv", "ATTRIBUTION.csv")), (name, k)
    assert {row["license"] for row in lines(tmp_path / "metadata.csv")} == {"CC0-1.0", "CC-BY-4.0"}
    assert lines(tmp_path / "metadata.csv")[0]["split_group"] != rows[0]["identifier"]
    derived = {row["datasetKey"]: int(row["count"]) for row in lines(tmp_path / "derived_dataset.csv")}
    assert derived == dict(
        Counter({row["gbifID"]: row["datasetKey"] for k, row in enumerate(rows) if k not in closed}.values())
    )
    card = (tmp_path / "README.md").read_text("utf-8")
    left = card.split("## What was left out")[1].split("\n## ")[0]
    assert "28 candidates: 24 kept, 4 left out." in left and "7 of the 24 are not published" in left
    for licence, count in (("CC BY-NC-SA 4.0", 5), ("not stated", 1), ("Ask the museum", 1)):
        assert f"| {licence} | {count} |" in left
    assert "17 pictures of 3 species" in card and "CC BY-NC-SA" not in card.replace(left, "")
    assert "by-nc-sa" not in (tmp_path / "croissant.json").read_text("utf-8")
    assert header(tmp_path)["license"] == ["cc0-1.0", "cc-by-4.0"]


def test_a_group_keeps_together_what_is_published_of_it_under_a_name_that_is(tmp_path):
    rows = [picture(k, license=None if k in (0, 4) else "CC0-1.0") for k in range(6)]
    name = [row["identifier"] for row in rows]
    group = [name[0], name[0], name[0], name[3], name[3], name[4]]
    splits = [
        {"identifier": name[k], "split": "train", "group": group[k], "scientificName": rows[k]["scientificName"]}
        for k in range(6)
    ]
    describe(**write(tmp_path, rows, splits), facts=FACTS)
    found = {row["identifier"]: row["split_group"] for row in lines(tmp_path / "metadata.csv")}
    assert found == {name[1]: name[1], name[2]: name[1], name[3]: name[3], name[5]: name[5]}


@pytest.mark.parametrize("source", ["folder", "gbif"])
def test_private_photographs_fail_no_run_and_the_card_says_how_to_state_licences(tmp_path, source):
    rows = [picture(k, source=source, license="All rights reserved" if k % 3 else None) for k in range(24)]
    describe(**write(tmp_path, rows), facts=FACTS | {"source": source})
    assert tables.read(PUBLISHED, tmp_path / "metadata.csv") == []
    assert list(csv.reader((tmp_path / "metadata.csv").open(encoding="utf-8"))) == [list(PUBLISHED.columns)]
    assert lines(tmp_path / "ATTRIBUTION.csv") == lines(tmp_path / "derived_dataset.csv") == []
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "**No picture of this collection may be published.**" in card
    assert "| All rights reserved | 16 |" in card and "| not stated | 8 |" in card and "| licence_unknown | 1 |" in card
    assert "`collection.publish`" in card and ("column `license`" in card) == (source == "folder")
    assert f"allows for that: {', '.join(FACTS['licences'])}." in card
    assert "heath" in header(tmp_path)["pretty_name"]
    assert not snippets(tmp_path / "README.md")


def test_croissant_of_a_collection_with_nothing_to_publish_validates_and_holds_no_picture(tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    describe(**write(tmp_path, [picture(k, license=None) for k in range(6)]), facts=FACTS | {"source": "folder"})
    dataset = mlcroissant.Dataset(tmp_path / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set()
    assert [record_set.id for record_set in dataset.metadata.record_sets] == ["classes"]
    assert len(list(dataset.records("classes"))) == 3


def test_a_collection_whose_licences_are_all_allowed_withholds_nothing(collection):
    card = (collection / "README.md").read_text("utf-8")
    assert "not published" not in card
    assert len(lines(collection / "metadata.csv")) == 24


def test_derived_datasets_count_occurrences_not_pictures(collection):
    # 24 pictures, two an occurrence, occurrences alternate between the data sets; picture 5 lost its gbifID and counts alone.
    found = {row["datasetKey"]: int(row["count"]) for row in lines(collection / "derived_dataset.csv")}
    assert found == {DATASETS[0]: 7, DATASETS[1]: 6}


def test_what_is_no_gbif_dataset_is_owed_no_derived_dataset(tmp_path):
    rows = [picture(k, datasetKey=key) for k, key in enumerate(["simulated", None, "CUB-200-2011"])]
    describe(**write(tmp_path, rows), facts=FACTS)
    assert (tmp_path / "derived_dataset.csv").read_text() == "datasetKey,count\n"


def test_the_order_of_the_tables_changes_no_byte(tmp_path):
    found = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = random.Random(seed).sample(PICTURES, len(PICTURES))
        files = write(folder, rows)
        splits = tables.read(SPLITS, files["splits"])
        tables.write(SPLITS, random.Random(seed).sample(splits, len(splits)), files["splits"])
        describe(**files, facts=FACTS)
        found.append({name: (folder / name).read_bytes() for name in OUTPUTS.values()})
    assert found[0] == found[1]


def test_the_published_table_gives_every_picture_the_split_and_label_of_the_run(collection):
    dealt = {row["identifier"]: row["split"] for row in tables.read(SPLITS, collection / "splits.parquet")}
    rows = tables.read(PUBLISHED, collection / "metadata.csv")
    assert {row["identifier"]: row["split"] for row in rows} == dealt
    assert all(
        SPECIES[row["label"]] == row["scientificName"] and row["taxonID"] == f"col_xr:K{row['label']}" for row in rows
    )
    assert {row["gbifID"] for row in rows} == {None, *(str(4_000_000_000 + k) for k in range(12))}


def test_terms_are_those_of_the_standards(collection):
    assert set(TERMS) <= set(PUBLISHED.columns)
    for name, address in TERMS.items():
        own = {"sha256": "hashValue", "img_width": "PixelXDimension", "img_height": "PixelYDimension"}
        assert address.endswith(f"/{own.get(name, name)}")
    assert {name for name in PUBLISHED.columns if name not in TERMS} == {
        "file_name", "split", "split_group", "label", "licenseVerbatimMedia", "licenseVerbatimRecord", "officialSplit", "source",
        "img_pixel_sha256", "img_phash", "qc_contrast", "qc_sharpness", "qc_mono", "qc_duplicate_set", "qc_outlier",
    }  # fmt: skip


@pytest.mark.parametrize("broken, message", [
    pytest.param({"ledger": {"in": 30, "kept": 25, "rejected": {}}}, "counts 25 kept and 0 rejected", id="ledger"),
    pytest.param({"splits": []}, r"24 of 24 pictures: 'https://host\.example/0\.jpg' has no split", id="no split"),
    pytest.param({"pictures": [picture(k, scientificName="Homo sapiens") for k in range(3)]}, "no class of this run: 'Homo", id="class"),
])  # fmt: skip
def test_tables_that_contradict_each_other_are_not_published(tmp_path, broken, message):
    with pytest.raises(NotPublishable, match=message):
        describe(**write(tmp_path, **{"pictures": PICTURES} | broken), facts=FACTS)
    assert not (tmp_path / "metadata.csv").exists()


def test_a_split_of_a_picture_that_is_gone_is_noticed(tmp_path):
    files = write(tmp_path, PICTURES)
    tables.write(METADATA, PICTURES[1:], files["metadata"])
    with pytest.raises(NotPublishable, match=r"0\.jpg' has a split, but is no picture"):
        describe(**files, facts=FACTS)


def header(folder: Path) -> dict:
    import yaml

    return yaml.safe_load((folder / "README.md").read_text("utf-8").split("---\n")[1])


def test_the_card_counts_licences_exclusions_and_splits(collection):
    card = (collection / "README.md").read_text("utf-8")
    counts = Counter(row["license"] for row in lines(collection / "metadata.csv"))
    for licence, count in counts.items():
        assert re.search(rf"\| \[{re.escape(licence_name(licence))}\]\([^)]+\) \| {count} \| {count / 24:.1%} \|", card)
    assert "Strictest: CC BY-NC-SA 4.0." in card
    assert "name the creator; share adaptations under the same licence; no commercial use." in card
    assert "28 candidates: 24 kept, 4 left out." in card
    for reason, count in (("licence_not_allowed", 2), ("licence_unknown", 1), ("duplicate", 1)):
        assert re.search(rf"\| {reason} \| {count} \|", card)
    assert "| CC BY-ND 4.0 | 2 |" in card
    assert "| Usage Conditions \\| Apply | 1 |" in card
    for split, count in Counter(row["split"] for row in lines(collection / "metadata.csv")).items():
        assert re.search(rf"\| {split} \| {count} \|", card)
    for label, name in enumerate(SPECIES):
        assert re.search(rf"\| {label} \| \*{name}\* \|[^\n]*\| 8 \|", card)
    assert "13 occurrences of 2 GBIF datasets" in card
    assert "Of 1 picture under such a licence neither creator nor owner is recorded" in card


def test_the_card_has_a_header_that_the_hub_understands(collection):
    from_hub = pytest.importorskip("huggingface_hub").DatasetCard.load(collection / "README.md").data
    assert from_hub.license == ["cc0-1.0", "cc-by-4.0", "cc-by-nc-sa-4.0"]
    assert from_hub.size_categories == ["n<1K"]
    assert header(collection)["pretty_name"] == "heath"


def test_a_licence_that_the_hub_does_not_know_is_its_other(tmp_path):
    given = ["CC-PDM-1.0", "LicenseRef-CC-BY", "CC-BY-4.0"]
    rows = [picture(k, license=licence) for k, licence in enumerate(given)]
    describe(**write(tmp_path, rows), facts=FACTS | {"licences": given})
    assert header(tmp_path)["license"] == ["other", "cc-by-4.0"]


def test_a_simulated_collection_says_that_nothing_is_a_picture_of_the_real_species(tmp_path):
    rows = [picture(k, source="simulated", gbifID=None, datasetKey="simulated") for k in range(3)]
    describe(**write(tmp_path, rows), facts=FACTS | {"source": "simulated"})
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "nothing is a picture of the real species" in card.split("##")[0]
    assert "synthetic" in header(tmp_path)["tags"]
    assert (
        "nothing is a picture of the real species"
        in json.loads((tmp_path / "croissant.json").read_text())["description"]
    )


@pytest.mark.parametrize("split, said", [
    ({"unit": "event"}, "by one observer on one day"),
    ({"unit": "observer"}, "all pictures by one observer"),
    ({"unit": "occurrence"}, "pictures of one occurrence"),
    ({"unit": "time", "cut": "2023-01-01"}, "from 2023-01-01 on"),
    ({"unit": "spatial", "block_km": 50.0}, "one square of 50 km"),
    ({"unit": "official"}, "the dataset's own split"),
    ({"unit": "image"}, "related pictures may lie in two"),
])  # fmt: skip
def test_the_card_says_what_the_splits_keep_apart(tmp_path, split, said):
    describe(**write(tmp_path, PICTURES), facts=FACTS | {"split": split})
    card = (tmp_path / "README.md").read_text("utf-8")
    assert said in card
    assert ("These never lie in two splits" in card) == (split["unit"] != "image")
    assert card.count("pictures of one occurrence") == (split["unit"] != "image")


@pytest.mark.parametrize("facts, origin", [
    ({"doi": "10.15468/dl.abc"}, None),
    ({}, {"doi": "https://doi.org/10.15468/dl.abc"}),
])  # fmt: skip
def test_the_doi_of_a_download_is_cited(tmp_path, facts, origin):
    files = write(tmp_path, PICTURES)
    if origin:
        files["origin"] = tmp_path / "origin.json"
        files["origin"].write_text(json.dumps(origin))
    describe(**files, facts=FACTS | facts)
    assert "Cite the download: https://doi.org/10.15468/dl.abc." in (tmp_path / "README.md").read_text("utf-8")
    assert "https://doi.org/10.15468/dl.abc" in json.loads((tmp_path / "croissant.json").read_text())["citeAs"]


def test_every_row_of_a_markdown_table_has_as_many_cells_as_its_head():
    text = table(("a", "b"), [("x | y", 1234), ("two\nlines", 5)])
    assert text.splitlines() == ["| a | b |", "| --- | ---: |", "| x \\| y | 1,234 |", "| two lines | 5 |"]


def test_a_long_list_of_species_does_not_bury_the_card(tmp_path, monkeypatch):
    monkeypatch.setattr("taxaforge.collection.card.MOST_SPECIES", 2)
    describe(**write(tmp_path, PICTURES), facts=FACTS)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "*Aglais urticae*" in card and "*Pica pica*" not in card and "1 more are in `metadata.csv`" in card


def test_the_examples_of_the_card_run(collection):
    for needed in ("pandas", "mlcroissant"):
        pytest.importorskip(needed)
    for code in snippets(collection / "README.md"):
        done = subprocess.run([sys.executable, "-c", code], cwd=collection, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_croissant_validates_and_gives_back_every_id_label_and_split(collection):
    dataset = pytest.importorskip("mlcroissant").Dataset(collection / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set()
    records = list(dataset.records("pictures"))
    rows = tables.read(PUBLISHED, collection / "metadata.csv")
    assert len(records) == len(rows) == 24
    for record, row in zip(records, rows, strict=True):
        for name in ("identifier", "split", "scientificName", "file_name", "license"):
            assert record[f"pictures/{name}"].decode() == row[name]
        assert record["pictures/label"] == row["label"]
        assert record["pictures/gbifID"] == (None if row["gbifID"] is None else int(row["gbifID"]))
        assert record["pictures/decimalLatitude"] == row["decimalLatitude"]
    assert [record["classes/name"].decode() if isinstance(record["classes/name"], bytes) else record["classes/name"]
            for record in dataset.records("classes")] == list(SPECIES)  # fmt: skip
    assert {record["splits/name"] for record in dataset.records("splits")} == set(DEALT)


def test_croissant_knows_when_the_table_is_another(collection, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    for name in ("metadata.csv", "croissant.json"):
        (tmp_path / name).write_bytes((collection / name).read_bytes())
    (tmp_path / "metadata.csv").write_text((collection / "metadata.csv").read_text().replace(",test,", ",train,"))
    with pytest.raises(mlcroissant.GenerationError) as failure:
        list(mlcroissant.Dataset(tmp_path / "croissant.json").records("pictures"))
    assert "not identical" in str(failure.value.__cause__)


def test_croissant_names_darwin_core_terms_and_all_licences(collection):
    document = json.loads((collection / "croissant.json").read_text())
    (pictures,) = [some for some in document["recordSet"] if some["@id"] == "pictures"]
    types = {field["name"]: field["dataType"] for field in pictures["field"]}
    assert types["scientificName"] == ["sc:Text", "http://rs.tdwg.org/dwc/terms/scientificName"]
    assert types["license"][1] == "http://purl.org/dc/terms/license"
    assert document["license"] == [licence_url(licence) for licence in dict.fromkeys(LICENCES)]
    assert {entry["@type"] for entry in document["distribution"]} == {"cr:FileObject", "cr:FileSet"}


def test_the_hugging_face_library_reads_the_table_with_its_types(collection, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(os.fspath(collection), cache_dir=os.fspath(tmp_path))["all_pictures"]
    rows = tables.read(PUBLISHED, collection / "metadata.csv")
    assert list(loaded) == [{name: None if value == "" else value for name, value in row.items()} for row in rows]
    assert set(loaded["countryCode"]) == {"NA"}  # Namibia


def test_attributions_keep_the_order_and_columns_of_the_table(collection):
    rows = tables.read(PUBLISHED, collection / "metadata.csv")
    assert [line["identifier"] for line in attributions(rows)] == [row["identifier"] for row in rows]
    assert all(line["attribution"] for line in attributions(rows))


def test_describing_needs_nothing_heavy():
    code = "import sys, taxaforge.collection.publish, taxaforge.collection.views as v; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "pyarrow", "numpy", "scipy", "PIL", "mlcroissant"} & set(found)
