"""Pictures from GBIF: licences, decisions before the download, and the whole way against the replica."""

import hashlib
import json
import os
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.collection.fetch import fetch
from taxaforge.collection.pictures import flaw
from taxaforge.collection.schema import CANDIDATES
from taxaforge.collection.sources import gbif, hosts
from taxaforge.collection.sources.gbif import BadFilter, KeysOfAnotherChecklist, NeedsAccount, candidates, judge
from taxaforge.collection.sources.lanes import observer_of
from taxaforge.collection.sources.licences import spdx
from taxaforge.collection.sources.occurrences import Item, parameters
from taxaforge.taxonomy.keys import CHECKLISTS, BadTaxonKey, TaxonKey
from taxaforge.taxonomy.transport import NotStored, Unavailable

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
CFG = {
    "images_per_species": 12, "images_per_observer": 1000, "licences": LICENCES, "country": [], "year": "", "basis_of_record": [],
    "via": "auto", "archive": "", "allow_private_hosts": True,
}  # fmt: skip


def entry(record=None, **media):
    media = {
        "type": "StillImage",
        "format": "image/jpeg",
        "identifier": "http://x/1.jpg",
        "license": "CC BY 4.0",
    } | media
    return Item(0, {"gbifID": "12", "basisOfRecord": "HUMAN_OBSERVATION", "issues": []} | (record or {}), media)


def judged(item, **settings):
    cfg = CFG | settings
    return judge(item, "Aus bus", TaxonKey("col_xr", "K2"), cfg, gbif.filters_of(cfg))


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
        (entry(lineage("K2")), ""),
        (entry(lineage("K3")), "other_species"),
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
    assert judged(item).errorCode == reason


@pytest.mark.parametrize("record, settings, reason", [
    ({"basisOfRecord": "PRESERVED_SPECIMEN"}, {"basis_of_record": ["HUMAN_OBSERVATION"]}, "other_basis_of_record"),
    ({"basisOfRecord": "MATERIAL_CITATION"}, {"basis_of_record": ["MATERIAL_CITATION"]}, ""),
    ({"countryCode": "DE"}, {"country": ["de", "FR"]}, ""),
    ({"countryCode": "US"}, {"country": ["DE"]}, "other_country"),
    ({}, {"country": ["DE"]}, "other_country"),
    ({"year": 2020}, {"year": "2020"}, ""),
    ({"year": 2019}, {"year": "2020"}, "other_year"),
    ({"year": 2015}, {"year": "2015, 2024"}, ""),
    ({"eventDate": "2024-12-31T10:00"}, {"year": "2015,2024"}, ""),
    ({"eventDate": "2025-01"}, {"year": "2015,2024"}, "other_year"),
    ({}, {"year": "2015,2024"}, "other_year"),
])  # fmt: skip
def test_filters_hold_whatever_a_server_or_an_archive_returns(record, settings, reason):
    assert judged(entry(record), **settings).errorCode == reason


@pytest.mark.parametrize("settings, message", [
    ({"year": "since 2015"}, r"collection\.gbif\.year"),
    ({"year": "2015-2024"}, r"collection\.gbif\.year"),
    ({"country": ["Germany"]}, "ISO 3166"),
])  # fmt: skip
def test_a_filter_that_cannot_be_meant_is_named(settings, message):
    with pytest.raises(BadFilter, match=message):
        gbif.filters_of(CFG | settings)


def test_origin_travels_with_the_picture():
    record = {
        "recordedBy": "Ada", "eventDate": "2020-05-01T10:00", "scientificName": "Aus bus L.", "occurrenceID": "urn:1",
        "datasetKey": "d", "countryCode": "DE", "decimalLatitude": 51.5, "decimalLongitude": -3, "license": "CC0 1.0",
        "coordinateUncertaintyInMeters": "30.0", "recordedByIDs": [{"type": "ORCID", "value": "https://orcid.org/1"}],
        "references": "http://x/record", "rightsHolder": "A museum",
    }  # fmt: skip
    found = judged(entry(record, creator="Ada B.", publisher="P", references="http://x/page"))
    assert found.gbifID == "12" and found.identifier == "http://x/1.jpg" and found.occurrenceID == "urn:1"
    assert (found.recordedBy, found.recordedByID, found.eventDate) == ("Ada", "https://orcid.org/1", "2020-05-01T10:00")
    assert (found.creator, found.rightsHolder, found.publisher) == ("Ada B.", "A museum", "P")
    assert (found.license, found.licenseVerbatimMedia, found.licenseVerbatimRecord) == (
        "CC-BY-4.0",
        "CC BY 4.0",
        "CC0 1.0",
    )
    assert (found.datasetKey, found.basisOfRecord, found.countryCode) == ("d", "HUMAN_OBSERVATION", "DE")
    assert (found.decimalLatitude, found.decimalLongitude, found.coordinateUncertaintyInMeters) == (51.5, -3.0, 30.0)
    assert found.references == "http://x/page"
    assert judged(entry(record, rightsHolder="Me")).rightsHolder == "Me"


def test_the_licence_of_the_record_is_never_written_as_that_of_the_picture():
    assert judged(entry({"license": "CC0"}, license=None)).license is None


def test_an_unknown_observer_stays_unknown():
    found = judged(entry())
    assert found.recordedBy is None and found.recordedByID is None and found.gbifID == "12"


@pytest.mark.parametrize("key", [3329049, np.int64(3329049), 3329049.0, "3329049", "col_xr:3329049", None])
def test_nothing_but_a_taxon_key_reaches_a_search(key):
    with pytest.raises(TypeError, match="TaxonKey"):
        parameters(key)


def test_a_misspelt_parameter_never_reaches_a_search():
    with pytest.raises(TypeError, match="taxonkey"):
        parameters(TaxonKey("col_xr", "Q2M4"), taxonkey="Q2M4")


@pytest.mark.parametrize("taxon", ["snapshot:1", "gbif_backbone:123", "123", 123, np.int64(123), None])
def test_keys_of_another_checklist_are_refused_before_anything_is_asked(monkeypatch, tmp_path, taxon):
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:9")
    with pytest.raises(KeysOfAnotherChecklist, match=r"taxonomy\.source: gbif"):
        found = [{"species": "Aus bus", "taxonID": taxon}]
        list(candidates(found, CFG, {"checklist": "col_xr"}, network(tmp_path), 0, "j"))


@pytest.mark.parametrize("taxon", ["col_xr:", "col_xr:3329049", "col_xr:q2m4"])
def test_what_is_no_key_of_the_checklist_is_refused_before_anything_is_asked(monkeypatch, tmp_path, taxon):
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:9")
    with pytest.raises(BadTaxonKey):
        found = [{"species": "Aus bus", "taxonID": taxon}]
        list(candidates(found, CFG, {"checklist": "col_xr"}, network(tmp_path), 0, "j"))


# ---------------------------------------------------------------------------------------- the replica of GBIF

SPECIES = ["Aglais io", "Vanessa cardui"]


@pytest.fixture(scope="module")
def tool(gbif_replica):
    return gbif_replica


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.01)
    monkeypatch.setattr(hosts, "FIRST_PAUSE_S", 0.01)


def network(store, **other):
    return {
        "contact": "a@b.org", "timeout_s": 5.0, "tries": 6, "requests_per_second": 1000.0, "store": str(store), "reuse_days": 30.0,
        "image_requests_per_second": 1000.0, "image_workers": 8, "offline": False,
    } | other  # fmt: skip


def classes_of(server, species, checklist="col_xr"):
    usages = {name: server.tax.find(CHECKLISTS[checklist], name) for name in species}
    return [{"species": name, "taxonID": f"{checklist}:{usage.key}"} for name, usage in usages.items()]


def collect(server, monkeypatch, store, checklist="col_xr", seed=0, species=SPECIES, job="j", net=None, **settings):
    """Candidates in their order, content as bytes."""
    monkeypatch.setenv("GBIF_API_BASE", server.url)
    taken = candidates(
        classes_of(server, species, checklist),
        CFG | settings,
        {"checklist": checklist},
        network(store, **(net or {})),
        seed,
        job,
    )
    return [(one, one.content.read_bytes() if one.content else b"") for one in taken]


FAULTS = (
    "dead=.08,gone=.03,forbidden=.03,truncated=.05,html=.05,empty=.05,png=.05,tiny=.02,bomb=.03,redirect=.08,loop=.03,m429=.08,m503=.08,"
    "short=.05,dup=.05,shared=.05,429=.3,503=.3,reset=.1,trunc=.1,html200=.1,retry_after=0"
)
ENDS = {
    "dead": "http_404", "gone": "http_410", "forbidden": "http_403", "truncated": "broken_image", "html": "not_an_image", "empty": "empty_file",
    "bomb": "too_many_pixels", "loop": "too_many_redirects", "ok": "", "png": "", "tiny": "", "redirect": "", "m429": "", "m503": "", "short": "",
}  # fmt: skip


@pytest.mark.parametrize("checklist", ["col_xr", "gbif_backbone"])
def test_every_address_ends_as_a_picture_or_one_code(monkeypatch, tool, tmp_path, checklist):
    with tool.Replica(tool.DATA, faults=FAULTS, seed=3) as server:
        found = collect(server, monkeypatch, tmp_path, checklist, images_per_species=80)
        truth = {row["url"]: row for row in server.truth()["media"]}
        report = server.stats.report()
    kept = [one for one, _ in found if not one.errorCode]
    assert all(20 < n < 80 for n in Counter(one.scientificName for one in kept).values())
    theirs = {url for url, row in truth.items() if row["species"] in SPECIES}
    assert len(theirs - {one.identifier for one, _ in found}) <= sum(
        one.errorCode == "no_address" for one, _ in found
    )  # all were looked at
    told = set(ENDS.values())  # what only a download can tell
    tried = [one for one, _ in found if one.identifier in truth and one.errorCode in told]
    left = {one.errorCode for one, _ in found if one not in tried}
    assert left <= {"no_address", "not_a_still_image", "not_in_life", "doubtful_name"} | {
        f"licence_{why}" for why in ("missing", "unknown", "not_allowed")
    }
    wrong = [
        (truth[one.identifier]["kind"], one.errorCode)
        for one in tried
        if ENDS[truth[one.identifier]["kind"]] != one.errorCode
    ]
    assert not wrong
    assert len({truth[one.identifier]["kind"] for one in tried}) >= 10  # nearly every fault was met
    assert all(bool(content) == (not one.errorCode) for one, content in found)
    assert all(one.license in LICENCES for one in kept)
    named = [(one.scientificName, one.identifier, one.gbifID) for one, _ in found]
    assert len(named) == len(set(named)) and report["repeats"] == 0  # nothing was fetched twice
    assert all(flaw(content) == "" for one, content in found if content)
    assert report["retry_after_early"] == 0 and list(report["user_agents"]) == ["taxaforge/0.1.0 (a@b.org)"]


def test_kept_pictures_show_the_species_they_are_named_after(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        found = collect(server, monkeypatch, tmp_path)
        truth = {row["url"]: row for row in server.truth()["media"]}
    for one, content in found:
        if not one.errorCode:
            assert truth[one.identifier]["species"] == one.scientificName
            assert truth[one.identifier]["gbifIDs"] == [one.gbifID]
            assert content == (tool.DATA / truth[one.identifier]["file"]).read_bytes()
    assert Counter(one.scientificName for one, _ in found if not one.errorCode) == dict.fromkeys(SPECIES, 12)
    assert any(one.errorCode.startswith("licence") for one, _ in found)


def told(found):
    """Everything but where the files lie."""
    return [
        (one.identifier, one.scientificName, one.errorCode, hashlib.sha256(content).hexdigest())
        for one, content in found
    ]


@pytest.mark.parametrize("preset", ["default,slow_s=1", "hard,hang_s=1,slow_s=1"])
def test_passing_faults_and_workers_change_nothing_and_another_seed_does(monkeypatch, tool, tmp_path, preset):
    with tool.Replica(tool.DATA, faults=preset + ",retry_after=0", seed=3) as server:
        runs, asked = {}, {}
        for name, workers, seed in (("one", 1, 0), ("many", 8, 0), ("other", 8, 1)):
            server.stats.clear()
            net = {"image_workers": workers, "timeout_s": 0.8}
            runs[name] = told(
                collect(
                    server,
                    monkeypatch,
                    tmp_path / name,
                    seed=seed,
                    net=net,
                    images_per_species=40,
                    images_per_observer=3,
                )
            )
            asked[name] = server.stats.report()["requests"]
    assert runs["one"] == runs["many"] != runs["other"]
    assert asked["one"] == asked["many"]


def test_a_calm_run_and_a_stormy_one_give_the_same(monkeypatch, tool, tmp_path):
    runs = {}
    for name, faults in (("calm", "none"), ("storm", "429=.4,503=.3,trunc=.2,m429=.2,m503=.2,short=.2,retry_after=0")):
        with tool.Replica(tool.DATA, faults=faults, seed=3) as server:
            runs[name] = [what[1:] for what in told(collect(server, monkeypatch, tmp_path / name))]
    assert runs["calm"] == runs["storm"]


def test_another_species_in_the_list_or_another_order_changes_no_picture(monkeypatch, tool, tmp_path):
    names = ["Danaus plexippus", *SPECIES, "Pieris rapae", "Papilio indra"]
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        runs = [
            told(collect(server, monkeypatch, tmp_path / str(n), species=species))
            for n, species in enumerate((names, names[::-1], SPECIES[1:]))
        ]
    assert runs[0] == runs[1]
    assert [what for what in runs[0] if what[1] == SPECIES[1]] == runs[2]


def test_no_observer_gives_more_than_the_quota(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="default,retry_after=0", seed=3) as server:
        found = collect(server, monkeypatch, tmp_path, images_per_species=40, images_per_observer=2)
    given = defaultdict(Counter)
    for one, content in found:
        given[one.scientificName][observer_of(one)] += bool(content)
    assert all(max(counts.values()) == 2 for counts in given.values())
    for one, _ in found:
        if one.errorCode == "observer_has_enough":
            assert given[one.scientificName][observer_of(one)] == 2
    assert any(one.errorCode == "observer_has_enough" for one, _ in found)


def test_every_search_states_taxon_checklist_and_kind_of_media_and_nothing_unknown(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="none", seed=3, log=tmp_path / "log") as server:
        found = collect(
            server, monkeypatch, tmp_path, "gbif_backbone", images_per_species=3, species=SPECIES[:1], country=["us", "SE"],
            year="2012,2022", basis_of_record=["HUMAN_OBSERVATION"],
        )  # fmt: skip
    paths = [json.loads(line)["path"] for line in (tmp_path / "log").read_text().splitlines()]
    searches = [parse_qsl(urlsplit(path).query) for path in paths if "/occurrence/search" in path]
    wanted = {
        ("taxonKey", "4535827"), ("checklistKey", CHECKLISTS["gbif_backbone"]), ("mediatype", "StillImage"), ("country", "US"),
        ("country", "SE"), ("year", "2012,2022"), ("basisOfRecord", "HUMAN_OBSERVATION"), ("limit", "300"),
    }  # fmt: skip
    assert searches and all(set(search) - wanted == {("offset", dict(search)["offset"])} for search in searches)
    assert {one.countryCode for one, _ in found} == {"US", "SE"}
    assert all("2012" <= one.eventDate[:4] <= "2022" for one, _ in found)


def test_pictures_are_drawn_from_several_datasets_and_years(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        found = collect(server, monkeypatch, tmp_path, images_per_species=20, species=SPECIES[:1])
    kept = [one for one, content in found if content]
    assert len({one.eventDate[:4] for one in kept if one.eventDate}) > 5
    assert len({one.datasetKey for one in kept}) > 2


def test_pages_are_drawn_over_the_whole_range_and_no_more_than_are_needed(monkeypatch, tool, tmp_path):
    from taxaforge.collection.sources import occurrences

    monkeypatch.setattr(occurrences, "PAGE", 5)
    with tool.Replica(tool.DATA, faults="none", seed=3, log=tmp_path / "log") as server:
        collect(server, monkeypatch, tmp_path, images_per_species=2, species=SPECIES[1:])
        total = len(server.world.search([("taxonKey", "4299368"), ("mediaType", "StillImage")]))
    paths = [json.loads(line)["path"] for line in (tmp_path / "log").read_text().splitlines()]
    offsets = [int(dict(parse_qsl(urlsplit(path).query))["offset"]) for path in paths if "/search" in path]
    assert len(offsets) < total / 5 / 2
    assert offsets != sorted(offsets) and max(offsets) > total / 2


def test_of_a_common_species_every_span_of_years_is_searched(monkeypatch, tool, tmp_path):
    """A search may go through 9,900 occurrences; here that is lowered to 30, which are one dataset."""
    from taxaforge.collection.sources import occurrences

    monkeypatch.setattr(occurrences, "PAGE", 30)
    datasets, years = {}, {}
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        for name, deepest in (("deep", 9_900), ("shallow", 30)):
            monkeypatch.setattr(occurrences, "DEEPEST", deepest)
            found = collect(server, monkeypatch, tmp_path / name, images_per_species=40, species=SPECIES[1:])
            kept = [one for one, content in found if content]
            assert len(kept) == 40
            datasets[name] = {one.datasetKey for one in kept}
            years[name] = {one.eventDate[:4] for one in kept if one.eventDate}
    assert len(datasets["shallow"]) > 1
    assert len(years["shallow"]) >= len(years["deep"]) - 3 > 5


def test_an_outage_of_the_search_is_an_error_with_the_species(monkeypatch, tool, tmp_path):
    with (
        tool.Replica(tool.DATA, faults="503=1,permanent=1", seed=3) as server,
        pytest.raises(Unavailable, match="Occurrences of Aglais io"),
    ):
        collect(server, monkeypatch, tmp_path, net={"tries": 2})


# ------------------------------------------------------------------------------- as a job: outputs, store, offline


def outputs(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def go(server, monkeypatch, folder, store, species=SPECIES, job="j", net=None, url=None, **settings):
    monkeypatch.setenv("GBIF_API_BASE", url or server.url)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(classes_of(server, species)))
    fetch(
        classes=folder / "classes.json", source="gbif", cfg=CFG | settings, seed=0, taxonomy={"checklist": "col_xr"}, job=job,
        network=network(store, **(net or {})), out_table=folder / "c/candidates.parquet", out_images=folder / "c/images",
        out_origin=folder / "c/origin.json",
    )  # fmt: skip
    return outputs(folder / "c")


def test_a_job_that_runs_again_asks_nothing_and_offline_neither(monkeypatch, tool, tmp_path):
    names = [*SPECIES, "Aus bus"]
    with tool.Replica(tool.DATA, faults="default,retry_after=0", seed=3) as server:
        known = classes_of(server, SPECIES)
        # A species that GBIF has no picture of: offline this is known, too.
        monkeypatch.setattr(
            sys.modules[__name__], "classes_of", lambda *a: [*known, {"species": "Aus bus", "taxonID": "col_xr:ZZZZZ"}]
        )
        first = go(server, monkeypatch, tmp_path / "a", tmp_path / "store", names)
        server.stats.clear()
        assert go(server, monkeypatch, tmp_path / "a", tmp_path / "store", names) == first
        assert server.stats.report()["endpoints"] == {"/v1/occurrence/search": 1}  # whether there is a picture by now
        offline = {"offline": True}
        for job in ("j", "other"):
            dark = go(
                server, monkeypatch, tmp_path / job, tmp_path / "store", names, job, offline, "http://127.0.0.1:9"
            )
            assert dark == first
        with pytest.raises(NotStored, match="Occurrences of Aglais io"):
            go(server, monkeypatch, tmp_path / "b", tmp_path / "store", names, net=offline, year="2020")
    origin = json.loads(first["origin.json"])
    assert origin["kept"] + sum(origin["errors"].values()) == origin["candidates"]
    assert (origin["via"], origin["doi"], origin["checklist"]) == ("search", None, "col_xr")


def test_another_job_asks_only_whether_pictures_have_changed(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        first = go(server, monkeypatch, tmp_path / "a", tmp_path / "store", job="a")
        server.stats.clear()
        second = go(server, monkeypatch, tmp_path / "b", tmp_path / "store", job="b")
        report = server.stats.report()
    assert first == second
    assert report["requests"] == report["conditional"] == report["not_modified"] == 2 * CFG["images_per_species"]


def test_a_job_that_ended_and_is_run_again_asks_hosts_that_failed_in_passing(monkeypatch, tool, tmp_path):
    with tool.Replica(tool.DATA, faults="m503=.3,dead=.1", seed=3) as server:
        first = go(server, monkeypatch, tmp_path, tmp_path / "store", net={"tries": 1})
        server.stats.clear()
        second = go(server, monkeypatch, tmp_path, tmp_path / "store")
        report = server.stats.report()["statuses"]
    first, second = (json.loads(found["origin.json"])["errors"] for found in (first, second))
    assert first["http_503"] > 3 and "http_503" not in second and second["http_404"] > 0
    assert "/media/{id} 404" not in report or report["/media/{id} 404"] < second["http_404"]


def test_shared_addresses_and_copies_are_stored_once_whatever_the_order(monkeypatch, tool, tmp_path):
    names = ["Aglais io", "Danaus plexippus", "Pieris rapae", "Vanessa cardui", "Papilio indra"]
    with tool.Replica(tool.DATA, faults="shared=.3,dup=.2", seed=3) as server:
        once = go(server, monkeypatch, tmp_path / "a", tmp_path / "store", names, images_per_species=90)
        rows = tables.read(CANDIDATES, tmp_path / "a/c/candidates.parquet")
        truth = {row["url"]: row for row in server.truth()["media"]}
        species = {str(o["key"]): o["species"] for o in server.world.occurrences}
        again = go(server, monkeypatch, tmp_path / "b", tmp_path / "store", names[::-1], images_per_species=90)
    assert once == again
    assert len({row["identifier"] for row in rows}) == len(rows)
    files = {path for path in once if path.startswith("images/")}
    assert files == {row["file_name"] for row in rows if row["file_name"]}
    for row in rows:
        if row["file_name"]:
            shown = {species[gbif_id] for gbif_id in truth[row["identifier"].partition("#")[0]]["gbifIDs"]} & set(names)
            assert shown == {row["scientificName"]}


# -------------------------------------------------------------------------------------- large requests and archives


def test_many_images_need_a_download_and_a_download_an_account(monkeypatch):
    monkeypatch.delenv("GBIF_USER", raising=False)
    assert gbif.way_of(CFG | {"images_per_species": 100}, 50) == "search"
    with pytest.raises(NeedsAccount, match=r"5100 images .*GBIF_USER and GBIF_PASSWORD"):
        gbif.way_of(CFG | {"images_per_species": 100}, 51)
    assert gbif.way_of(CFG | {"images_per_species": 100, "via": "search"}, 51) == "search"
    assert gbif.way_of(CFG | {"images_per_species": 100, "archive": "a.zip"}, 51) == "archive"
    monkeypatch.setenv("GBIF_USER", "ada")
    assert gbif.way_of(CFG | {"images_per_species": 100}, 51) == "download"


CORE = {
    "http://rs.gbif.org/terms/1.0/": "gbifID datasetKey speciesKey issue",
    "http://purl.org/dc/terms/": "license references rightsHolder",
    "http://rs.tdwg.org/dwc/terms/": "basisOfRecord countryCode decimalLatitude decimalLongitude coordinateUncertaintyInMeters "
    "eventDate informationWithheld occurrenceID recordedBy scientificName",
}
MEDIA = {
    "http://rs.gbif.org/terms/1.0/": "gbifID",
    "http://purl.org/dc/terms/": "type format identifier references creator publisher license rightsHolder",
}


def archive(at, rendered):
    """The same occurrences as GBIF would pack them."""

    def table(kind, name, row_type, terms):
        full = [space + term for space, names in terms.items() for term in names.split()]
        fields = "".join(f'<field index="{i}" term="{term}"/>' for i, term in enumerate(full))
        marker = "id" if kind == "core" else "coreid"
        return (
            f'<{kind} fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" ignoreHeaderLines="1" '
            f'rowType="{row_type}"><files><location>{name}</location></files><{marker} index="0"/>{fields}</{kind}>'
        )

    def text(terms, rows):
        names = " ".join(terms.values()).split()
        return "".join(
            "\t".join(str(row.get(name) or "") for name in names) + "\n"
            for row in [{name: name for name in names}, *rows]
        )

    core, media = [], []
    for one in rendered:
        lineage = one["classifications"][CHECKLISTS["col_xr"]]["classification"]
        key = next(entry["key"] for entry in lineage if entry["rank"] == "SPECIES")
        core.append(one | {"speciesKey": key, "issue": ";".join(one["issues"])})
        media += [{"gbifID": one["gbifID"]} | item for item in one.get("media", ())]
    with zipfile.ZipFile(at, "w") as out:
        dwc, gbif_terms = "http://rs.tdwg.org/dwc/terms/", "http://rs.gbif.org/terms/1.0/"
        tables_ = table("core", "occurrence.txt", dwc + "Occurrence", CORE) + table(
            "extension", "multimedia.txt", gbif_terms + "Multimedia", MEDIA
        )
        out.writestr("meta.xml", f'<archive xmlns="http://rs.tdwg.org/dwc/text/">{tables_}</archive>')
        out.writestr("occurrence.txt", text(CORE, core))
        out.writestr("multimedia.txt", text(MEDIA, media))
    return str(at)


def test_an_archive_gives_what_the_search_would_and_asks_gbif_nothing(monkeypatch, tool, tmp_path):
    species = ["Papilio indra", "Vanessa cardui"]  # one that GBIF has little of; of the archive nothing is left out
    settings = {"images_per_species": 1000, "year": "1990,2022", "basis_of_record": ["HUMAN_OBSERVATION"]}
    with tool.Replica(tool.DATA, faults="none", seed=3) as server:
        rendered = [server.world.render(o, server.media_urls) for o in reversed(server.world.occurrences)]
        file = archive(tmp_path / "a.zip", rendered)
        first = go(server, monkeypatch, tmp_path / "a", tmp_path / "store", species, **settings)
        server.stats.clear()
        second = go(server, monkeypatch, tmp_path / "b", tmp_path / "store", species, archive=file, **settings)
        assert server.stats.report()["endpoints"] == {}
        few = {"images_per_species": 7, "images_per_observer": 2, "archive": file}
        third = go(server, monkeypatch, tmp_path / "c", tmp_path / "store", species, **few)
        assert third == go(server, monkeypatch, tmp_path / "d", tmp_path / "store", species[::-1], **few)
    assert {path for path in first if path.startswith("images")} == {
        path for path in second if path.startswith("images")
    }
    searched, listed = (
        {row["identifier"]: row for row in tables.read(CANDIDATES, tmp_path / name / "c/candidates.parquet")}
        for name in "ab"
    )
    # An archive has all records, a search only those that its filters let through.
    kept = {url: row for url, row in searched.items() if row["file_name"]}
    assert len(kept) > 40
    assert {url: row for url, row in listed.items() if row["file_name"]} == kept
    assert {url for url in searched if url.startswith("http")} <= listed.keys()
    assert {listed[url]["errorCode"] for url in listed.keys() - searched.keys() if url.startswith("http")} <= {
        "not_in_life", "other_year", "other_basis_of_record",
    }  # fmt: skip
    assert json.loads(second["origin.json"])["via"] == "archive"
