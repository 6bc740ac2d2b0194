"""A download of GBIF from the request to the collection's candidates: one server that is GBIF and image host at once."""

import io
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.collection.fetch import fetch
from taxaforge.collection.schema import CANDIDATES
from taxaforge.taxonomy.transport import NotStored

KEY = "0000001-260101000000000"
BY = "http://creativecommons.org/licenses/by/4.0/"
CORE = (
    "gbifID",
    "speciesKey",
    "species",
    "basisOfRecord",
    "countryCode",
    "recordedBy",
    "eventDate",
    "datasetKey",
    "license",
)
MEDIA = ("gbifID", "type", "identifier", "license", "creator")
OCCURRENCES = [
    ("1", "Q2M4", "Aus bus", "HUMAN_OBSERVATION", "DE", "Ann", "2024-05-01", "d1", "CC_BY_NC_4_0"),
    ("2", "Q2M4", "Aus bus", "HUMAN_OBSERVATION", "DE", "Bob", "2024-05-02", "d1", "CC_BY_4_0"),
    ("3", "Q2M4", "Aus bus", "HUMAN_OBSERVATION", "FR", "Cai", "2024-05-02", "d1", "CC_BY_4_0"),
]


def picture(number):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()


def archive(host):
    """Like GBIF's, with the pictures on `host`; occurrence 2 has a licence that is not accepted."""
    media = [
        (row[0], "StillImage", f"{host}/picture/{row[0]}.jpg", BY if row[0] != "2" else "All rights reserved", row[5])
        for row in OCCURRENCES
    ]

    def described(tag, kind, file, terms):
        fields = "".join(f'<field index="{i}" term="http://x.org/{term}"/>' for i, term in enumerate(terms))
        marker = "id" if tag == "core" else "coreid"
        return (
            f'<{tag} rowType="{kind}" encoding="UTF-8" fieldsTerminatedBy="\\t" linesTerminatedBy="\\n" fieldsEnclosedBy="" '
            f'ignoreHeaderLines="1"><files><location>{file}</location></files><{marker} index="0"/>{fields}</{tag}>'
        )

    text = lambda terms, rows: "".join("\t".join(row) + "\n" for row in (terms, *rows))  # noqa: E731
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(
            "meta.xml",
            '<archive xmlns="http://rs.tdwg.org/dwc/text/">'
            + described("core", "http://rs.tdwg.org/dwc/terms/Occurrence", "occurrence.txt", CORE)
            + described("extension", "http://rs.gbif.org/terms/1.0/Multimedia", "multimedia.txt", MEDIA)
            + "</archive>",
        )
        file.writestr("occurrence.txt", text(CORE, OCCURRENCES))
        file.writestr("multimedia.txt", text(MEDIA, media))
    return out.getvalue()


class Gbif(ThreadingHTTPServer):
    """Answers a request, a status, a file and pictures; remembers what was asked."""

    def __init__(self):
        self.asked = []
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.archive = archive(self.url)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        self.server.asked.append(("request", json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.reply(201, KEY.encode(), "text/plain")

    def do_GET(self):
        self.server.asked.append(("get", self.path))
        if self.path.startswith("/picture/"):
            self.reply(200, picture(int(self.path.split("/")[-1].partition(".")[0])), "image/jpeg")
        elif self.path.endswith(f"/download/{KEY}"):
            told = {
                "key": KEY,
                "status": "SUCCEEDED",
                "doi": "10.15468/dl.x",
                "size": len(self.server.archive),
                "totalRecords": 3,
            }
            self.reply(200, json.dumps(told).encode(), "application/json")
        else:
            self.reply(200, self.server.archive, "application/octet-stream")

    def reply(self, status, content, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def gbif(monkeypatch):
    with Gbif() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        monkeypatch.setenv("GBIF_USER", "jane")
        monkeypatch.setenv("GBIF_PASSWORD", "secret-word")
        yield server
        server.shutdown()


def collect(folder, store, job, offline=False, **settings):
    folder.mkdir()
    (folder / "classes.json").write_text(json.dumps([{"species": "Aus bus", "taxonID": "col_xr:Q2M4"}]))
    cfg = {
        "images_per_species": 5, "images_per_observer": 5, "licences": ["CC-BY-4.0"], "country": ["DE"], "year": "", "archive": "",
        "basis_of_record": ["HUMAN_OBSERVATION"], "via": "download", "allow_private_hosts": True,
    }  # fmt: skip
    network = {
        "contact": "", "timeout_s": 2.0, "tries": 2, "requests_per_second": 1000.0, "store": str(store), "reuse_days": 30.0,
        "image_requests_per_second": 1000.0, "image_workers": 2, "offline": offline,
    }  # fmt: skip
    fetch(
        classes=folder / "classes.json", source="gbif", cfg=cfg | settings, seed=0, taxonomy={"checklist": "col_xr"},
        network=network, job=job, out_table=folder / "c/candidates.parquet", out_images=folder / "c/images",
        out_origin=folder / "c/origin.json",
    )  # fmt: skip
    rows = tables.read(CANDIDATES, folder / "c/candidates.parquet")
    return {row["gbifID"]: row for row in rows}, json.loads((folder / "c/origin.json").read_text())


def test_a_download_becomes_candidates_with_its_doi(gbif, tmp_path):
    rows, origin = collect(tmp_path / "a", tmp_path / "store", "one")
    assert {key: row["errorCode"] for key, row in rows.items()} == {
        "1": "",
        "2": "licence_unknown",
        "3": "other_country",
    }
    assert (tmp_path / "a/c" / rows["1"]["file_name"]).read_bytes() == picture(1)
    assert (rows["1"]["license"], rows["1"]["licenseVerbatimRecord"]) == ("CC-BY-4.0", "CC_BY_NC_4_0")
    assert (origin["via"], origin["doi"], origin["kept"]) == ("download", "10.15468/dl.x", 1)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"secret-word" not in written


def test_another_job_with_the_same_request_asks_for_no_second_download_and_another_request_does(gbif, tmp_path):
    collect(tmp_path / "a", tmp_path / "store", "one")
    collect(tmp_path / "b", tmp_path / "store", "two", licences=["CC-BY-4.0", "CC0-1.0"], images_per_species=3)
    assert [kind for kind, _ in gbif.asked].count("request") == 1
    rows, origin = collect(tmp_path / "c", tmp_path / "store", "two", offline=True)
    assert rows["1"]["errorCode"] == "" and origin["doi"] == "10.15468/dl.x"
    collect(tmp_path / "d", tmp_path / "store", "two", country=["FR"])
    assert [kind for kind, _ in gbif.asked].count("request") == 2


def test_offline_without_the_download_says_what_is_missing(gbif, tmp_path):
    with pytest.raises(NotStored, match=r"nobody may be asked.*offline: false.*collection\.gbif\.archive"):
        collect(tmp_path / "a", tmp_path / "store", "one", offline=True)
    assert gbif.asked == []
