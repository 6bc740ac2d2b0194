"""Downloads from GBIF: an archive read as search results, and a download asked for, waited for and fetched through faults."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from random import Random

import pytest

from taxaforge.collection.sources import gbif_download
from taxaforge.collection.sources.gbif_archive import ArchiveOfAnotherChecklist, BrokenArchive, records
from taxaforge.collection.sources.gbif_download import DownloadFailed, NoAccount, request_archive, request_body
from taxaforge.taxonomy.keys import CHECKLISTS, TaxonKey
from taxaforge.taxonomy.transport import BadPayload, NotStored, RateLimited, Rejected, Unavailable

COL, BACKBONE = CHECKLISTS["col_xr"], CHECKLISTS["gbif_backbone"]
KEYS = {"Aus bus": TaxonKey("col_xr", "Q2M4"), "Aus cus": TaxonKey("col_xr", "5WZLF")}

# ---- an archive as GBIF writes it

_DWC, _DC, _GBIF = "http://rs.tdwg.org/dwc/terms/", "http://purl.org/dc/terms/", "http://rs.gbif.org/terms/1.0/"
TERMS = {
    _GBIF: "gbifID datasetKey speciesKey genusKey familyKey orderKey classKey phylumKey kingdomKey taxonKey issue species "
    "mediaType verbatimScientificName",
    _DC: "license publisher references rightsHolder",
    _DWC: "basisOfRecord class coordinateUncertaintyInMeters countryCode decimalLatitude decimalLongitude eventDate family "
    "genus informationWithheld kingdom lifeStage occurrenceID order phylum recordedBy recordedByID scientificName "
    "taxonRank",
}
CORE = [prefix + name for prefix, names in TERMS.items() for name in names.split()]
MEDIA = [_GBIF + "gbifID"] + [
    _DC + name for name in ["type", "format", "identifier", "references", "title", "description", "created", "creator", "contributor", "publisher", "audience", "source", "license", "rightsHolder"]
]  # fmt: skip


def short(term):
    return term.rpartition("/")[2]


def described(tag, name, row_type, terms, quote=""):
    marker = "id" if tag == "core" else "coreid"
    fields = "".join(f'<field index="{i}" term="{term}"/>\n' for i, term in enumerate(terms))
    return (
        f'<{tag} encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="{quote}" '
        f'ignoreHeaderLines="1" rowType="{row_type}">\n<files><location>{name}</location></files>\n'
        f'<{marker} index="0"/>\n{fields}</{tag}>\n'
    )


def tabbed(terms, rows):
    lines = [[short(term) for term in terms], *([str(row.get(short(term), "")) for term in terms] for row in rows)]
    return "".join("\t".join(line) + "\n" for line in lines)


def archive(at, occurrences, media, quote="", level=zipfile.ZIP_DEFLATED, **extra):
    meta = (
        '<archive xmlns="http://rs.tdwg.org/dwc/text/" metadata="metadata.xml">\n'
        + described("core", "occurrence.txt", _DWC + "Occurrence", CORE, quote)
        + described("extension", "verbatim/multimedia.txt", _GBIF + "Multimedia", MEDIA)
        + described("extension", "verbatim.txt", _DWC + "Occurrence", CORE)
        + described("extension", "multimedia.txt", _GBIF + "Multimedia", MEDIA)
        + "</archive>\n"
    )
    files = {"meta.xml": meta, "occurrence.txt": tabbed(CORE, occurrences), "multimedia.txt": tabbed(MEDIA, media),
             "verbatim.txt": tabbed(CORE, []), "verbatim/multimedia.txt": tabbed(MEDIA, [])}  # fmt: skip
    with zipfile.ZipFile(at, "w", level) as out:
        for name, text in (files | extra).items():
            if text is not None:
                out.writestr(zipfile.ZipInfo(name), text, level)
    return at


def occurrence(number, key="Q2M4", name="Aus bus", **more):
    return {
        "gbifID": number, "speciesKey": key, "species": name, "genusKey": "6DBT", "genus": "Aus", "kingdomKey": "N",
        "kingdom": "Animalia", "taxonKey": key, "scientificName": f"{name} L.", "taxonRank": "SPECIES",
    } | more  # fmt: skip


FULL = occurrence(
    912, license="CC_BY_NC_4_0", basisOfRecord="HUMAN_OBSERVATION", recordedBy="Ann;Bob", eventDate="2024-05-01T10:00Z",
    recordedByID="https://orcid.org/0;https://orcid.org/1", countryCode="DE", decimalLatitude="51.5", occurrenceID="o:1",
    decimalLongitude="-0.25", coordinateUncertaintyInMeters="30.0", issue="COORDINATE_ROUNDED;TAXON_MATCH_FUZZY",
    datasetKey="d-1", publisher="P\u0085Q\u2028R", references="https://x.org/912", rightsHolder="Añn", lifeStage="Adult",
    informationWithheld="blurred", mediaType="StillImage;StillImage", verbatimScientificName="Aus bus",
)  # fmt: skip
PICTURES = [
    {"gbifID": 912, "type": "StillImage", "identifier": "http://x.org/b.jpg", "format": "image/jpeg"},
    {"gbifID": 912, "type": "StillImage", "identifier": "http://x.org/a.jpg", "creator": "Ann", "license":
     "http://creativecommons.org/licenses/by/4.0/", "publisher": "P", "references": "https://x.org/a"},
    {"gbifID": 99, "type": "StillImage", "identifier": "http://x.org/c.jpg"},
    {"gbifID": 5, "type": "StillImage", "identifier": "http://x.org/of another species.jpg"},
]  # fmt: skip
OTHERS = [occurrence(99), occurrence(5, "ZZZ", "Xus yus"), occurrence(1000, "5WZLF", "Aus cus"), occurrence(7, "", "")]


def test_an_occurrence_of_an_archive_looks_like_one_of_the_search(tmp_path):
    found = list(records(archive(tmp_path / "a.zip", [FULL, *OTHERS], PICTURES), KEYS))
    assert [(species, record["gbifID"]) for species, record in found] == [
        ("Aus bus", "99"), ("Aus bus", "912"), ("Aus cus", "1000"),
    ]  # fmt: skip
    assert found[1][1] == {
        "gbifID": "912", "datasetKey": "d-1", "occurrenceID": "o:1", "basisOfRecord": "HUMAN_OBSERVATION",
        "recordedBy": "Ann;Bob", "recordedByIDs": [{"value": "https://orcid.org/0"}, {"value": "https://orcid.org/1"}],
        "eventDate": "2024-05-01T10:00Z", "countryCode": "DE", "decimalLatitude": 51.5, "decimalLongitude": -0.25,
        "coordinateUncertaintyInMeters": 30.0, "license": "CC_BY_NC_4_0", "references": "https://x.org/912",
        "publisher": "P\u0085Q\u2028R", "rightsHolder": "Añn", "lifeStage": "Adult", "informationWithheld": "blurred",
        "scientificName": "Aus bus L.", "verbatimScientificName": "Aus bus", "taxonRank": "SPECIES",
        "issues": ["COORDINATE_ROUNDED", "TAXON_MATCH_FUZZY"],
        "classifications": {COL: {"classification": [
            {"key": "N", "name": "Animalia", "rank": "KINGDOM"}, {"key": "6DBT", "name": "Aus", "rank": "GENUS"},
            {"key": "Q2M4", "name": "Aus bus", "rank": "SPECIES"},
        ]}},
        "media": [
            {"type": "StillImage", "identifier": "http://x.org/a.jpg", "creator": "Ann", "publisher": "P",
             "license": "http://creativecommons.org/licenses/by/4.0/", "references": "https://x.org/a"},
            {"type": "StillImage", "identifier": "http://x.org/b.jpg", "format": "image/jpeg"},
        ],
    }  # fmt: skip
    assert found[2][1]["media"] == []


def test_the_order_of_an_archive_does_not_matter(tmp_path):
    random = Random(1)
    rows = [occurrence(n, *random.choice([("Q2M4", "Aus bus"), ("5WZLF", "Aus cus")])) for n in range(300)]
    media = [{"gbifID": random.randrange(300), "identifier": f"http://x.org/{n}"} for n in range(600)]
    first = list(records(archive(tmp_path / "a.zip", rows, media), KEYS))
    random.shuffle(rows)
    random.shuffle(media)
    assert list(records(archive(tmp_path / "b.zip", rows, media), KEYS)) == first
    assert list(records(tmp_path / "b.zip", dict(reversed(KEYS.items())))) == first
    assert sum(len(record["media"]) for _, record in first) == 600 and len(first) == 300


def test_only_the_species_asked_for_come_and_nothing_asked_gives_nothing(tmp_path):
    at = archive(tmp_path / "a.zip", [FULL, *OTHERS], PICTURES)
    assert {species for species, _ in records(at, {"Aus cus": KEYS["Aus cus"]})} == {"Aus cus"}
    assert list(records(at, {})) == []
    assert list(records(at, {"Bus bus": TaxonKey("col_xr", "9ZGGV")})) == []


def test_an_archive_with_the_keys_of_the_other_checklist_is_refused(tmp_path):
    backbone = archive(tmp_path / "b.zip", [occurrence(1, "7273624"), occurrence(2, "5231190")], [])
    with pytest.raises(ArchiveOfAnotherChecklist, match=f"taxa of gbif_backbone, the run those of col_xr.*{COL}"):
        list(records(backbone, KEYS))
    col = archive(tmp_path / "c.zip", [FULL], [])
    with pytest.raises(ArchiveOfAnotherChecklist, match=f"taxa of col_xr, the run those of gbif_backbone.*{BACKBONE}"):
        list(records(col, {"Aus bus": TaxonKey("gbif_backbone", "7273624")}))
    with pytest.raises(ArchiveOfAnotherChecklist, match="cannot have keys of"):
        list(records(col, KEYS | {"Aus dus": TaxonKey("gbif_backbone", "1")}))
    (found,) = records(
        archive(tmp_path / "d.zip", [occurrence(1, "7273624")], []), {"A b": TaxonKey("gbif_backbone", "7273624")}
    )
    assert found[1]["classifications"].keys() == {BACKBONE}


@pytest.mark.parametrize("damage, message", [
    ({"meta.xml": None}, "no meta.xml"),
    ({"meta.xml": "<archive"}, "meta.xml cannot be read"),
    ({"meta.xml": '<archive><core fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="one"><files><location>a</location></files><id index="0"/></core></archive>'}, "meta.xml cannot be read"),
    ({"meta.xml": "<archive/>"}, "no occurrences with speciesKey"),
    ({"multimedia.txt": None}, "lacks multimedia.txt"),
    ({"occurrence.txt": "gbifID\n1\tx\n"}, "line 2 of occurrence.txt has 2 columns"),
    ({"occurrence.txt": b"gbifID\n" + b"\xff\t" * 40 + b"\n"}, "UnicodeDecodeError"),
])  # fmt: skip
def test_a_damaged_archive_is_a_clear_error(tmp_path, damage, message):
    with pytest.raises(BrokenArchive, match=f"{message}.*Download it from GBIF again"):
        list(records(archive(tmp_path / "a.zip", [FULL], PICTURES, **damage), KEYS))


def test_an_archive_with_flipped_bits_twice_the_same_occurrence_or_quotes_is_refused(tmp_path):
    at = archive(tmp_path / "a.zip", [FULL] * 2, PICTURES)
    with pytest.raises(BrokenArchive, match="appears twice"):
        list(records(at, KEYS))
    with pytest.raises(BrokenArchive, match="cannot be read"):
        list(records(tmp_path / "no archive.zip", KEYS))
    at = archive(tmp_path / "b.zip", [FULL], PICTURES, level=zipfile.ZIP_STORED)
    content = at.read_bytes()
    at.write_bytes(content.replace(b"image/jpeg", b"image/jpeh"))
    with pytest.raises(BrokenArchive, match="Bad CRC"):
        list(records(at, KEYS))
    with pytest.raises(BrokenArchive, match="plain tab-separated"):
        list(records(archive(tmp_path / "c.zip", [FULL], PICTURES, quote="&quot;"), KEYS))


# ---- the service, on loopback

NUMBER = "0012150-260108223611665"


class Service:
    """GBIF's downloads. `script`: what to answer first to "POST", "STATUS" and "FILE", in order, before answering well:
    a status code, "reset", "html", "cut" (half of what is left of the file), "bits" (one byte changed), "whole" (from
    the start, whatever was asked), "redirect:URL", or for STATUS a state."""

    def __init__(self, content, script=None, told=None):
        self.content, self.told = content, told or {}
        self.script = {kind: list(steps) for kind, steps in (script or {}).items()}
        self.posts, self.asked, self.sent = [], [], 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.posts.append((self.path, body, dict(self.headers)))
                self.answer("POST", lambda: self.reply(201, NUMBER.encode(), "application/json"))

            def do_GET(self):
                kind = "FILE" if "/file/" in self.path else "LINK" if "/request/" in self.path else "STATUS"
                outer.asked.append((kind, self.path, dict(self.headers)))
                good = {"FILE": self.file, "LINK": self.link, "STATUS": self.status}[kind]
                self.answer(kind, good)

            def answer(self, kind, good):
                steps = outer.script.get(kind, [])
                step = steps.pop(0) if steps else None
                if step is None:
                    good()
                elif step == "reset":
                    self.connection.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER 0: the connection is reset
                    self.close_connection = True
                elif step == "html":
                    self.reply(200, b"<html>maintenance</html>", "text/html")
                elif step in ("cut", "bits", "whole"):
                    self.file(step)
                elif isinstance(step, int):
                    self.reply(step, b"said so", "text/plain", **({"Retry-After": "0"} if step in (420, 429) else {}))
                elif step.startswith("redirect:"):
                    self.reply(302, b"", "text/plain", Location=step.partition(":")[2])
                else:
                    self.status(step)

            def reply(self, status, content, kind, **headers):
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def status(self, state="SUCCEEDED"):
                done = state == "SUCCEEDED"
                told = {"key": NUMBER, "status": state, "doi": "10.15468/dl.abc", "totalRecords": 3,
                        "license": "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
                        "size": len(outer.content) if done else 0} | outer.told  # fmt: skip
                self.reply(200, json.dumps(told).encode(), "application/json;charset=UTF-8")

            def link(self):
                self.reply(302, b"", "text/plain", Location=f"/file/{NUMBER}.zip")

            def file(self, step=""):
                ranged = step != "whole" and re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
                start, whole = int(ranged.group(1)) if ranged else 0, outer.content
                if start >= len(whole):
                    self.reply(416, b"", "text/plain")
                    return
                self.send_response(206 if ranged else 200)
                if ranged:
                    self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
                self.send_header("Content-Length", str(len(whole) - start))
                self.end_headers()
                out = whole[start:]
                if step == "bits":
                    out = out[:-200] + bytes([out[-200] ^ 1]) + out[-199:]
                if step == "cut":
                    out, self.close_connection = out[: len(out) // 2], True
                for at in range(0, len(out), 4096):
                    self.wfile.write(out[at : at + 4096])
                    outer.sent += len(out[at : at + 4096])
                    if outer.told.get("slow"):
                        time.sleep(0.01)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def kinds(self):
        return [kind for kind, *_ in self.asked]


@pytest.fixture
def serve(monkeypatch):
    running = []

    def start(content, script=None, **told):
        service = Service(content, script, told)
        running.append(service)
        monkeypatch.setenv("GBIF_API_BASE", service.url)
        return service

    monkeypatch.setenv("GBIF_USER", "jane")
    monkeypatch.setenv("GBIF_PASSWORD", "s3cret:é")
    yield start
    for service in running:
        service.server.shutdown()
        service.server.server_close()


@pytest.fixture
def content(tmp_path):
    noise = Random(3).randbytes(40_000)
    return archive(tmp_path / "sent.zip", [FULL, *OTHERS], PICTURES, **{"dataset/x.xml": noise}).read_bytes()


NETWORK = {"contact": "jane@example.org", "timeout_s": 2.0, "tries": 3, "requests_per_second": 1000.0, "reuse_days": 30.0,
           "offline": False}  # fmt: skip


def asked(folder, job="j1", network=NETWORK, filters=None, **options):
    return request_archive(KEYS, "col_xr", filters or {}, network, folder, job, sleep=lambda s: None, **options)


def test_the_request_names_the_checklist_in_the_filter_and_at_the_root():
    filters = {"country": ["DE", "AT"], "basisOfRecord": ["HUMAN_OBSERVATION"], "year": "2015,2024"}
    body = request_body(KEYS, "col_xr", filters)
    assert (body["format"], body["checklistKey"], body["sendNotification"]) == ("DWCA", COL, False)
    assert body["predicate"] == {"type": "and", "predicates": [
        {"type": "in", "key": "TAXON_KEY", "values": ["5WZLF", "Q2M4"], "checklistKey": COL},
        {"type": "equals", "key": "MEDIA_TYPE", "value": "StillImage"},
        {"type": "in", "key": "COUNTRY", "values": ["AT", "DE"]},
        {"type": "in", "key": "BASIS_OF_RECORD", "values": ["HUMAN_OBSERVATION"]},
        {"type": "greaterThanOrEquals", "key": "YEAR", "value": "2015"},
        {"type": "lessThanOrEquals", "key": "YEAR", "value": "2024"},
    ]}  # fmt: skip
    assert request_body(KEYS, "col_xr", {"year": 2020, "country": []})["predicate"]["predicates"][2:] == [
        {"type": "greaterThanOrEquals", "key": "YEAR", "value": "2020"},
        {"type": "lessThanOrEquals", "key": "YEAR", "value": "2020"},
    ]


@pytest.mark.parametrize("keys, filters, message", [
    (KEYS | {"Aus dus": TaxonKey("gbif_backbone", "77")}, {}, "gbif_backbone:77"),
    (KEYS, {"mediatype": "StillImage"}, "mediatype"),
    (KEYS, {"year": "since 2010"}, "since2010"),
    ({}, {}, "no taxa"),
])  # fmt: skip
def test_a_request_that_would_find_something_else_is_refused_before_it_is_sent(keys, filters, message):
    with pytest.raises(Rejected, match=message):
        request_body(keys, "col_xr", filters)


def test_a_download_is_asked_for_waited_for_fetched_and_remembered(tmp_path, serve, content):
    service = serve(content, {"STATUS": ["PREPARING", "RUNNING", "SUSPENDED", "RUNNING"]})
    file = asked(tmp_path / "d")
    assert file.read_bytes() == content and file.name == f"{NUMBER}.zip"
    ((path, body, headers),) = service.posts
    assert (path, body) == ("/v1/occurrence/download/request", request_body(KEYS, "col_xr", {}))
    credentials = headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(credentials) in ("jane:s3cret:é".encode(), "jane:s3cret:é".encode("latin1"))
    assert not any("Authorization" in headers for _, _, headers in service.asked)
    assert all("jane@example.org" in headers["User-Agent"] for _, _, headers in service.asked)
    assert service.kinds() == ["STATUS"] * 5 + ["LINK", "FILE"]
    kept = json.loads((tmp_path / "d" / "download.json").read_text())
    assert (kept["key"], kept["doi"], kept["totalRecords"], kept["job"]) == (NUMBER, "10.15468/dl.abc", 3, "j1")
    assert kept["size"] == len(content) and "s3cret" not in json.dumps(kept)
    assert [record["gbifID"] for _, record in records(file, KEYS)] == ["99", "912", "1000"]
    # Once here, nothing is asked again: by the same job, by another within the days, offline.
    later = [
        asked(tmp_path / "d"),
        asked(tmp_path / "d", "j2"),
        asked(tmp_path / "d", "j3", NETWORK | {"offline": True}),
    ]
    assert later == [file] * 3 and len(service.posts) == 1 and len(service.asked) == 7


def test_an_old_download_serves_its_own_job_and_is_asked_for_anew_by_another(tmp_path, serve, content):
    service = serve(content)
    never = NETWORK | {"reuse_days": 0.0}
    asked(tmp_path / "d", "j1", never)
    asked(tmp_path / "d", "j1", never)
    asked(tmp_path / "d", "j2", never | {"offline": True})  # whatever its age
    assert len(service.posts) == 1
    asked(tmp_path / "d", "j2", never)
    assert len(service.posts) == 2
    asked(tmp_path / "d", "j2", filters={"country": ["DE"]})
    assert len(service.posts) == 3


@pytest.mark.parametrize("script", [
    {"POST": [503, "reset"]},
    {"POST": [429, 420]},
    {"POST": ["html"]},
    {"STATUS": [404, 503, "RUNNING", "reset", "html", "RUNNING", 502]},
    {"LINK": ["reset", 503]},
    {"FILE": ["reset", "html"]},
    {"FILE": [503, 404]},
    pytest.param({"FILE": ["cut"] * 6}, id="every piece that came is progress, so six breaks with three tries are no failure"),
    pytest.param({"FILE": ["cut", "html", "cut"]}, id="a page of apology does not spoil what has come"),
    pytest.param({"FILE": ["cut", "whole"]}, id="a server that knows no ranges starts from the beginning"),
    pytest.param({"FILE": ["bits"]}, id="a damaged file is thrown away"),
    pytest.param({"FILE": ["cut", "bits"]}, id="and so is one whose second half is damaged"),
])  # fmt: skip
def test_faults_end_in_the_same_file(tmp_path, serve, content, script):
    serve(content, script)
    assert asked(tmp_path / "d").read_bytes() == content
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [f"{NUMBER}.zip", "download.json"]


def test_a_broken_off_file_is_continued_where_it_broke_off(tmp_path, serve, content):
    service = serve(content, {"FILE": ["cut"]})
    asked(tmp_path / "d")
    ranges = [headers.get("Range") for kind, _, headers in service.asked if kind == "FILE"]
    assert ranges[0] is None and re.fullmatch(r"bytes=[1-9]\d*-", ranges[1])
    assert service.sent <= len(content) + 4096


@pytest.mark.parametrize("script, error, message", [
    ({"POST": [503] * 9}, Unavailable, "answered 503"),
    ({"POST": [420] * 9}, RateLimited, "too many downloads.*said so"),
    ({"POST": [413]}, Rejected, "413: said so"),
    ({"POST": [401]}, NoAccount, "does not know this user"),
    ({"POST": ["redirect:http://127.0.0.1:9/"]}, Rejected, "302"),
    ({"STATUS": ["reset"] * 9}, Unavailable, "no answer"),
    ({"STATUS": ["html"] * 9}, BadPayload, "no answer"),
    ({"LINK": ["redirect:http://example.org/x.zip"]}, Rejected, "example.org.* which is no https address"),
    ({"LINK": [f"redirect:/v1/occurrence/download/request/{NUMBER}.zip"] * 9}, Rejected, "without end"),
    ({"FILE": ["html"] * 9}, BadPayload, "no zip"),
    ({"FILE": ["bits"] * 9}, BadPayload, "damaged|no whole zip"),
    ({"FILE": [410]}, Rejected, "410"),
])  # fmt: skip
def test_an_outage_is_one_typed_error_and_the_next_run_goes_on(tmp_path, serve, content, script, error, message):
    service = serve(content, script)
    with pytest.raises(error, match=message):
        asked(tmp_path / "d")
    requested = len(service.posts) if "POST" not in script else 0
    assert not (tmp_path / "d" / f"{NUMBER}.zip").exists()
    service.script.clear()
    assert asked(tmp_path / "d").read_bytes() == content
    if requested:
        assert len(service.posts) == requested  # the same download, not a second one


@pytest.mark.parametrize("state", ["KILLED", "FAILED", "CANCELLED", "FILE_ERASED"])
def test_a_download_that_gbif_gave_up_is_forgotten_and_asked_for_anew(tmp_path, serve, content, state):
    service = serve(content, {"STATUS": ["RUNNING", state]})
    with pytest.raises(DownloadFailed, match=f"{NUMBER} is {state}.*Run again"):
        asked(tmp_path / "d")
    assert asked(tmp_path / "d").read_bytes() == content and len(service.posts) == 2


def test_a_download_with_the_columns_of_another_checklist_is_refused(tmp_path, serve, content):
    serve(content, request={"checklistKey": BACKBONE})
    with pytest.raises(DownloadFailed, match=f"taxa of checklist {BACKBONE}"):
        asked(tmp_path / "d")


def test_a_wrong_size_in_the_status_does_not_stop_a_whole_file(tmp_path, serve, content):
    serve(content, size=len(content) + 7)
    assert asked(tmp_path / "d").read_bytes() == content


def test_a_whole_part_of_a_killed_run_is_taken_without_asking_for_more(tmp_path, serve, content):
    service = serve(content, size=0)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / f"{NUMBER}.zip.part").write_bytes(content)
    assert asked(tmp_path / "d").read_bytes() == content and service.sent == 0


@pytest.mark.parametrize("name", ["GBIF_USER", "GBIF_PASSWORD"])
def test_without_an_account_nothing_is_sent_and_the_ways_out_are_named(tmp_path, serve, content, monkeypatch, name):
    service = serve(content)
    monkeypatch.delenv(name)
    with pytest.raises(NoAccount, match=r"via: search.*collection\.gbif\.archive"):
        asked(tmp_path / "d")
    assert service.posts == [] and not (tmp_path / "d").exists()


@pytest.mark.parametrize("base", ["http://api.gbif.org", "http://10.0.0.7:8080", "http://127.0.0.1.example.org"])
def test_credentials_never_travel_in_the_clear(tmp_path, monkeypatch, base):
    monkeypatch.setenv("GBIF_API_BASE", base)
    with pytest.raises(Rejected, match="password in the clear"):
        asked(tmp_path / "d")


def test_offline_what_is_not_here_is_a_loud_miss(tmp_path, serve, content):
    service = serve(content, {"STATUS": ["reset"] * 9})
    offline = NETWORK | {"offline": True}
    with pytest.raises(NotStored, match=r"offline: false"):
        asked(tmp_path / "d", network=offline)
    with pytest.raises(Unavailable):
        asked(tmp_path / "d")
    with pytest.raises(NotStored):  # asked for, but not fetched
        asked(tmp_path / "d", network=offline)
    assert len(service.posts) == 1


def test_a_changed_file_and_a_changed_memory_are_loud(tmp_path, serve, content):
    serve(content)
    file = asked(tmp_path / "d")
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(BadPayload, match=r"Delete .*download\.json"):
        asked(tmp_path / "d")
    (tmp_path / "d" / "download.json").write_text("{}")
    with pytest.raises(BadPayload, match="is not what was written there"):
        asked(tmp_path / "d")


RUN = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from taxaforge.collection.sources.gbif_download import request_archive
from taxaforge.taxonomy.keys import TaxonKey
keys = {{"Aus bus": TaxonKey("col_xr", "Q2M4"), "Aus cus": TaxonKey("col_xr", "5WZLF")}}
request_archive(keys, "col_xr", {{}}, {network!r}, Path({folder!r}), "j1", sleep=lambda s: None)
"""


def test_a_run_killed_at_any_moment_goes_on_with_the_same_download(tmp_path, serve, content):
    """Killed at four moments of a slow transfer; in the end one request, one file, its bytes."""
    service = serve(content, {"STATUS": ["RUNNING"] * 2}, slow=True)
    code = RUN.format(path=sys.path, network=NETWORK, folder=str(tmp_path / "d"))
    for sent in (1, 12_000, 25_000):
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while service.sent < sent and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    service.told.pop("slow")
    assert asked(tmp_path / "d").read_bytes() == content
    assert len(service.posts) == 1
    assert service.sent < 2 * len(content)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == [f"{NUMBER}.zip", "download.json"]


def test_the_pauses_between_two_looks_grow_to_the_timeout(tmp_path, serve, content):
    serve(content, {"STATUS": ["RUNNING"] * 12})
    pauses = []
    network = NETWORK | {"requests_per_second": 2.0, "timeout_s": 5.0}
    gbif_download.request_archive(KEYS, "col_xr", {}, network, tmp_path / "d", "j1", sleep=pauses.append)
    assert pauses[0] == 0.5 and pauses == sorted(pauses) and pauses[-1] == 5.0


def test_the_zip_of_the_tests_is_one():
    assert zipfile.ZipFile(archive(BytesIO(), [FULL], PICTURES)).testzip() is None
