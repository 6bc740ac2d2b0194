"""Pictures from GBIF: licences, decisions before the download, and the whole way against the replica."""

import hashlib
import importlib.util
import io
import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from taxaforge.collection.sources import download as downloads
from taxaforge.collection.sources.download import Downloader, flaw
from taxaforge.collection.sources.gbif import Item, KeysOfAnotherChecklist, candidates, judge
from taxaforge.collection.sources.licences import spdx
from taxaforge.taxonomy.transport import CHECKLISTS, Unavailable

SHARED = Path(os.environ.get("TAXAFORGE_SHARED", Path(__file__).parents[3] / "shared"))
CC = "creativecommons.org/"


@pytest.mark.parametrize(
    "text, expected",
    [
        (f"http://{CC}licenses/by/4.0/", "CC-BY-4.0"),
        (f"https://{CC}licenses/by/4.0/legalcode", "CC-BY-4.0"),
        (f"https://{CC}licenses/by/4.0", "CC-BY-4.0"),
        (f"http://{CC}licenses/by/3.0/us/", "CC-BY-3.0"),
        (f"https://{CC}licenses/by/4.0/deed.de", "CC-BY-4.0"),
        (f"http://{CC}licenses/by-nc/4.0/", "CC-BY-NC-4.0"),
        (f"http://{CC}licenses/by-nc-nd/4.0/", "CC-BY-NC-ND-4.0"),
        (f"http://{CC}licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
        (f"http://{CC}publicdomain/zero/1.0/", "CC0-1.0"),
        (f"http://{CC}publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("cc-by-nc", "LicenseRef-CC-BY-NC"),
        ("CC_BY_NC_4_0", "CC-BY-NC-4.0"),
        ("CC0", "CC0-1.0"),
        ("CC0 1.0", "CC0-1.0"),
        ("Jane Doe (cc-by-sa)", "LicenseRef-CC-BY-SA"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "CC-BY-NC-4.0"),
        ("Attribution-NonCommercial CC BY-NC 4.0", "CC-BY-NC-4.0"),
        ("All rights reserved", None),
        ("© all rights reserved, not CC BY 4.0", None),
        ("Usage Conditions Apply", None),
        ("CC BY 4.0 or CC BY-NC 4.0", None),
        ("by", None),
        ("account", None),
        ("", None),
        (None, None),
    ],
)
def test_a_licence_becomes_an_id_or_stays_unknown(text, expected):
    assert spdx(text) == expected


LICENCES = ["CC0-1.0", "CC-BY-4.0"]


def entry(record=None, **media):
    media = {
        "type": "StillImage",
        "format": "image/jpeg",
        "identifier": "http://x/1.jpg",
        "license": "CC BY 4.0",
    } | media
    return Item(7, 0, {"gbifID": "12", "basisOfRecord": "HUMAN_OBSERVATION", "issues": []} | (record or {}), media)


def lineage(key, checklist="col_xr"):
    return {
        "classifications": {
            CHECKLISTS[checklist]: {"classification": [{"rank": "SPECIES", "key": key, "name": "Aus bus"}]}
        }
    }


@pytest.mark.parametrize(
    "item, reason",
    [
        (entry(), ""),
        pytest.param(entry(type=None, format=None), "", id="unsaid type and format are left to the decoder"),
        (entry(identifier=None), "no_address"),
        (entry(type="InteractiveResource"), "not_a_still_image"),
        (entry(format="application/ld+json", type=None), "not_a_still_image"),
        (entry({"basisOfRecord": "MATERIAL_CITATION"}), "not_in_life"),
        (entry({"issues": ["TAXON_MATCH_FUZZY"]}), "doubtful_name"),
        (entry(lineage("K1")), ""),
        (entry(lineage("K2")), "other_species"),
        pytest.param(entry(lineage("999", "gbif_backbone")), "", id="the other checklist has no say"),
        pytest.param(
            entry({"license": "CC0"}, license=None),
            "licence_missing",
            id="the licence of the record is not the picture's",
        ),
        (entry({"license": "CC0"}, license="Usage Conditions Apply"), "licence_unknown"),
        (entry({"license": "CC0"}, license="CC BY-NC-ND 4.0"), "licence_not_allowed"),
        pytest.param(entry(license="CC BY"), "licence_not_allowed", id="no version"),
    ],
)
def test_the_first_reason_against_a_picture(item, reason):
    assert judge(item, "Aus bus", "K1", "col_xr", LICENCES).errorCode == reason


def test_origin_travels_with_the_picture():
    record = {"recordedBy": "Ada", "eventDate": "2020-05-01T10:00", "scientificName": "Aus bus L."}
    found = judge(entry(record, creator="Ada B."), "Aus bus", "K1", "col_xr", LICENCES)
    assert (found.recordedBy, found.eventDate, found.rightsHolder, found.license) == (
        "Ada",
        "2020-05-01T10:00",
        "Ada B.",
        "CC-BY-4.0",
    )


def test_the_licence_of_the_record_is_never_written_as_that_of_the_picture():
    assert judge(entry({"license": "CC0"}, license=None), "Aus bus", "K1", "col_xr", LICENCES).license is None


def test_pictures_of_one_occurrence_without_observer_stay_together_and_apart_from_others():
    observer = lambda record: judge(entry(record), "Aus bus", "K1", "col_xr", LICENCES).recordedBy  # noqa: E731
    assert observer({"gbifID": "1"}) == observer({"gbifID": "1"}) != observer({"gbifID": "2"})


def picture(side=40, form="JPEG"):
    out = io.BytesIO()
    Image.effect_noise((side, side), 60).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize(
    "content, error",
    [
        (picture(), ""),
        (picture(form="PNG"), ""),
        (b"", "empty_file"),
        (b"<html><body>moved</body></html>", "not_an_image"),
        (picture()[:400], "broken_image"),
        (picture(form="PNG")[:300], "broken_image"),
        (b"\xff\xd8\xff", "not_an_image"),
    ],
)
def test_bytes_are_decoded_before_they_are_believed(content, error):
    assert flaw(content) == error


def test_a_bomb_stays_packed(monkeypatch):
    content = picture()
    monkeypatch.setattr(downloads, "LARGEST_PIXELS", 1000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert flaw(content) == "too_many_pixels"


@pytest.mark.parametrize(
    "url, error",
    [
        ("http://127.0.0.1:9/x.jpg", "private_address"),
        ("http://169.254.169.254/latest", "private_address"),
        ("http://[::1]/x.jpg", "private_address"),
        ("http://192.168.1.1/x.jpg", "private_address"),
        ("file:///etc/passwd", "bad_address"),
        ("ftp://host/x.jpg", "bad_address"),
        ("not an address", "bad_address"),
        ("http://[broken/x.jpg", "bad_address"),
        ("", "bad_address"),
    ],
)
def test_addresses_of_strangers_do_not_reach_into_this_network(url, error):
    assert Downloader("test", 1.0, sleep=lambda seconds: None).get(url) == (b"", error)


def test_keys_of_another_checklist_are_refused_before_anything_is_asked(monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:9")
    taxonomy = {"checklist": "col_xr", "tries": 1, "timeout_s": 1.0, "contact": ""}
    for taxon in ("snapshot:1", "gbif_backbone:123", "col_xr:", "123"):
        with pytest.raises(KeysOfAnotherChecklist, match=r"taxonomy\.source: gbif"):
            list(
                candidates(
                    [{"species": "Aus bus", "taxonID": taxon}], {"images_per_species": 1, "timeout_s": 1.0}, taxonomy, 0
                )
            )


# ---------------------------------------------------------------------------------------- the replica of GBIF

SPECIES = ["Aglais io", "Vanessa cardui"]


@pytest.fixture(scope="module")
def tool():
    path, data = SHARED / "tools/gbif_replica.py", SHARED / "data/lepidoptera"
    if not (path.exists() and data.exists()):
        pytest.skip(f"needs {path} and {data}")
    spec = importlib.util.spec_from_file_location("gbif_replica", path)
    module = sys.modules["gbif_replica"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DATA = data
    return module


def collect(server, monkeypatch, tool, checklist="col_xr", wanted=12, seed=0, species=SPECIES, tries=4):
    monkeypatch.setenv("GBIF_API_BASE", server.url)
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(downloads, "FIRST_PAUSE_S", 0.01)
    usages = {name: server.tax.find(CHECKLISTS[checklist], name) for name in species}
    classes = [{"species": name, "taxonID": f"{checklist}:{usage.key}"} for name, usage in usages.items()]
    cfg = {"images_per_species": wanted, "licences": LICENCES, "timeout_s": 5.0}
    taxonomy = {"checklist": checklist, "tries": tries, "timeout_s": 5.0, "contact": "a@b.org"}
    return list(candidates(classes, cfg, taxonomy, seed))


FAULTS = (
    "dead=.08,gone=.03,forbidden=.03,truncated=.05,html=.05,empty=.05,png=.05,tiny=.02,bomb=.03,redirect=.08,loop=.03,m429=.08,m503=.08,"
    "short=.05,dup=.05,shared=.05,429=.3,503=.3,reset=.1,trunc=.1,html200=.1,retry_after=0"
)
ENDS = {
    "dead": "http_404", "gone": "http_410", "forbidden": "http_403", "truncated": "broken_image", "html": "not_an_image", "empty": "empty_file",
    "bomb": "too_many_pixels", "loop": "too_many_redirects", "ok": "", "png": "", "tiny": "", "redirect": "", "m429": "", "m503": "", "short": "",
}  # fmt: skip


@pytest.mark.parametrize("checklist", ["col_xr", "gbif_backbone"])
def test_every_address_ends_as_a_picture_or_one_code(monkeypatch, tool, checklist):
    with tool.Replica(tool.DATA, faults=FAULTS, seed=3) as server:
        found = collect(server, monkeypatch, tool, checklist, wanted=80)
        truth = {row["url"]: row for row in server.truth()["media"]}
        report = server.stats.report()
    kept = [one for one in found if not one.errorCode]
    assert all(20 < n < 80 for n in Counter(one.scientificName for one in kept).values())
    theirs = {url for url, row in truth.items() if row["species"] in SPECIES}
    assert len(theirs - {one.identifier for one in found}) <= sum(
        one.errorCode == "no_address" for one in found
    )  # all were looked at
    told = set(ENDS.values())  # what only a download can tell
    tried = [one for one in found if one.identifier in truth and one.errorCode in told]
    left = {one.errorCode for one in found if one not in tried}
    assert left <= {"no_address", "not_a_still_image", "not_in_life", "doubtful_name", "two_species"} | {
        f"licence_{why}" for why in ("missing", "unknown", "not_allowed")
    }
    wrong = [
        (truth[one.identifier]["kind"], one.errorCode)
        for one in tried
        if ENDS[truth[one.identifier]["kind"]] != one.errorCode
    ]
    assert not wrong
    assert len({truth[one.identifier]["kind"] for one in tried}) >= 10  # nearly every fault was met
    assert all(bool(one.content) == (not one.errorCode) for one in found)
    assert all(one.license in LICENCES for one in kept)
    species_of = {one.identifier: one.scientificName for one in found if one.errorCode != "two_species"}
    assert all(species_of[one.identifier] != one.scientificName for one in found if one.errorCode == "two_species")
    addresses = [one.identifier for one in found if one.errorCode != "two_species"]
    assert len(addresses) == len(set(addresses)) and report["repeats"] == 0  # nothing was fetched twice
    assert all(flaw(one.content) == "" for one in kept)
    assert report["retry_after_early"] == 0 and list(report["user_agents"]) == ["taxaforge/0.1.0 (a@b.org)"]


def test_kept_pictures_show_the_species_they_are_named_after(monkeypatch, tool):
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        found = collect(server, monkeypatch, tool)
        truth = {row["url"]: row for row in server.truth()["media"]}
    for one in found:
        if not one.errorCode:
            assert truth[one.identifier]["species"] == one.scientificName
            assert one.content == (tool.DATA / truth[one.identifier]["file"]).read_bytes()
    assert Counter(one.scientificName for one in found if not one.errorCode) == dict.fromkeys(SPECIES, 12)
    assert any(one.errorCode.startswith("licence") for one in found)


def contents(found):
    return [hashlib.sha256(one.content).hexdigest() for one in found if one.content]


def test_passing_faults_change_no_picture_and_another_seed_does(monkeypatch, tool):
    runs = {}
    for name, faults, seed in (
        ("calm", "none", 0),
        ("storm", "429=.4,503=.3,trunc=.2,m429=.2,m503=.2,short=.2,retry_after=0", 0),
        ("other", "none", 1),
    ):
        with tool.Replica(tool.DATA, faults=faults, seed=3) as server:
            runs[name] = contents(collect(server, monkeypatch, tool, seed=seed))
    assert runs["calm"] == runs["storm"] != runs["other"]


def test_another_species_in_the_list_changes_no_picture(monkeypatch, tool):
    by_species = defaultdict(list)
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        for species in (SPECIES, SPECIES[1:]):
            for one in collect(server, monkeypatch, tool, species=species):
                by_species[len(species), one.scientificName].append((one.identifier, one.errorCode))
    assert by_species[2, "Vanessa cardui"] == by_species[1, "Vanessa cardui"]


def test_every_search_states_taxon_checklist_and_kind_of_media(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="none", seed=3, log=tmp_path / "log") as server:
        collect(server, monkeypatch, tool, "gbif_backbone", wanted=1, species=SPECIES[:1])
    paths = [json.loads(line)["path"] for line in (tmp_path / "log").read_text().splitlines()]
    searches = [dict(parse_qsl(urlsplit(path).query)) for path in paths if "/occurrence/search" in path]
    wanted = {"taxonKey": "4535827", "checklistKey": CHECKLISTS["gbif_backbone"], "mediatype": "StillImage"}
    assert searches and all(search.items() >= wanted.items() for search in searches)


def test_pictures_are_drawn_from_several_datasets_and_years(monkeypatch, tool):
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        found = collect(server, monkeypatch, tool, wanted=20, species=SPECIES[:1])
    assert len({one.eventDate[:4] for one in found if one.eventDate and not one.errorCode}) > 5


def test_an_outage_of_the_search_is_an_error_with_the_species(monkeypatch, tool):
    with (
        tool.Replica(tool.DATA, faults="503=1,permanent=1", seed=3) as server,
        pytest.raises(Unavailable, match="Occurrences of Aglais io"),
    ):
        collect(server, monkeypatch, tool, tries=2)
