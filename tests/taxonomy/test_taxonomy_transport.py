"""The seam to GBIF against a small server of our own that fails on command."""

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy import transport as seam
from taxaforge.taxonomy.transport import (
    BadPayload,
    GbifError,
    RateLimited,
    Rejected,
    Transport,
    Unavailable,
    api_base,
    installed,
    retry_after,
    usable,
    user_agent,
)

GOOD = json.dumps({"diagnostics": {"matchType": "NONE"}}).encode()
MATCH = "https://api.gbif.org/v2/species/match"


class Server(ThreadingHTTPServer):
    """script: (status, headers, body) in order, the last one for ever; body "cut" and "reset" break off."""

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.seen = list(script), []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        status, headers, body = self.server.script[0] if len(self.server.script) == 1 else self.server.script.pop(0)
        if body == "reset":
            self.close_connection = True
            return
        self.send_response(status)
        length = len(GOOD) if body == "cut" else len(body)
        for key, value in {"Content-Type": "application/json", "Content-Length": str(length), **headers}.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        self.wfile.write(GOOD[:10] if body == "cut" else body)
        self.close_connection = body == "cut"


@pytest.fixture
def serve():
    servers = []

    def start(*script, tries=4, timeout_s=2.0):
        server = Server(script)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        waits = []
        return (
            Transport(f"http://127.0.0.1:{server.server_port}", user_agent("a@b.org"), timeout_s, tries, waits.append),
            server,
            waits,
        )

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


OK = (200, {}, GOOD)


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([(429, {"Retry-After": "3"}, b"[]")] * 2, id="429 twice"),
        pytest.param([(503, {}, b"<html>")] * 3, id="503 three times"),
        pytest.param([(200, {}, "cut")], id="cut body"),
        pytest.param([(200, {}, GOOD[:-3])], id="cut JSON"),
        pytest.param([(200, {}, "reset")], id="reset"),
        pytest.param([(200, {"Content-Type": "text/html"}, b"<html>maintenance</html>")], id="maintenance page"),
        pytest.param([], id="calm"),
    ],
)
def test_a_passing_fault_ends_in_the_same_answer(serve, faults):
    http, server, _ = serve(*faults, OK)
    response = http.get(MATCH, params={"scientificName": "Aus bus"})
    assert response.content == GOOD and len(server.seen) == len(faults) + 1
    assert server.seen[-1][0] == "/v2/species/match?scientificName=Aus+bus"


@pytest.mark.parametrize("content_type", ["application/json;charset=UTF-8", None])
def test_pygbif_sees_the_content_type_it_compares_with(serve, content_type):
    http, _, _ = serve((200, {"Content-Type": content_type}, GOOD))
    assert http.get(MATCH).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "fault, error, asked",
    [
        ((429, {}, b"[]"), RateLimited, 4),
        ((503, {}, b""), Unavailable, 4),
        ((200, {}, "reset"), Unavailable, 4),
        ((200, {}, b"<html>"), BadPayload, 4),
        ((200, {}, b'{"message": "Unable to support API v1"}'), BadPayload, 1),
        ((200, {}, b"{}"), BadPayload, 1),
        ((404, {}, b""), Rejected, 1),
        ((400, {}, b"bad"), Rejected, 1),
        ((429, {"Retry-After": "86400"}, b"[]"), RateLimited, 1),
    ],
)
def test_a_lasting_fault_ends_in_its_typed_error(serve, fault, error, asked):
    http, server, _ = serve(fault)
    with pytest.raises(error, match=r"127\.0\.0\.1"):
        http.get(MATCH)
    assert len(server.seen) == asked
    assert issubclass(error, GbifError) and issubclass(error, TaxaforgeError)


def test_a_silent_server_is_not_waited_for_without_end():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        http = Transport(f"http://127.0.0.1:{silent.getsockname()[1]}", "x", 0.2, 2, lambda seconds: None)
        with pytest.raises(Unavailable, match="ReadTimeout"):
            http.get(MATCH)


def test_retry_after_in_seconds_and_as_a_date_is_honoured(serve):
    http, _, waits = serve((429, {"Retry-After": "7"}, b""), OK)
    http.get(MATCH)
    assert waits == [7.0]
    due = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    http, _, waits = serve((503, {"Retry-After": due}, b""), OK)
    http.get(MATCH)
    assert 18 < waits[0] <= 20


def test_without_retry_after_the_pauses_grow_and_differ(serve):
    http, _, waits = serve((503, {}, b""), tries=6)
    with pytest.raises(Unavailable):
        http.get(MATCH)
    assert len(waits) == 5 and all(0.25 * 2**n <= wait <= 0.75 * 2**n for n, wait in enumerate(waits))
    assert len({wait / 2**n for n, wait in enumerate(waits)}) == 5


def test_one_connection_and_an_honest_user_agent(serve):
    http, server, _ = serve(OK)
    ports = []
    server.finish_request = lambda request, address: (ports.append(address), Handler(request, address, server))
    for _ in range(3):
        http.get(MATCH, headers={"user-agent": "Mozilla/5.0"})
    assert len(ports) == 1
    assert {headers["User-Agent"] for _, headers in server.seen} == {user_agent("a@b.org")}
    assert user_agent("a@b.org").startswith("taxaforge/") and "no contact" in user_agent(" ")


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "value, seconds",
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("0", 0),
        ("120", 120),
        ("-5", 0),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60),
        ("Thu, 01 Jan 2026 00:01:00 -0000", 60),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
    ],
)
def test_retry_after_values(value, seconds):
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    "path, body, right",
    [
        ("/v2/species/match", {"diagnostics": {"matchType": "NONE"}}, True),
        ("/v2/species/match", {"diagnostics": {}}, False),
        ("/v2/species/match", [], False),
        ("/v2/species/match", {"message": "no"}, False),
        ("/v1/occurrence/search", {"results": [], "endOfRecords": True}, True),
        ("/v1/occurrence/search", {"results": []}, False),
        ("/v1/dataset/x", {"message": "no"}, False),
        ("/v1/dataset/x", {"key": "x", "message": "yes"}, True),
        ("/v1/dataset/x", "text", False),
    ],
)
def test_a_body_must_have_the_shape_of_an_answer(path, body, right):
    assert usable(path, body) is right


def test_the_base_address_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("GBIF_API_BASE", raising=False)
    assert api_base() == "https://api.gbif.org"
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:1/")
    assert api_base() == "http://127.0.0.1:1"


def test_the_seam_is_undone_whatever_happens(serve):
    import pygbif.gbifutils

    before, handlers = pygbif.gbifutils.requests, logging.getLogger().handlers[:]
    http, _, _ = serve((404, {}, b""))
    with pytest.raises(Rejected), installed(http):
        from pygbif import species

        assert pygbif.gbifutils.requests is http
        species.name_backbone(scientificName="Aus bus", checklistKey=seam.CHECKLISTS["col_xr"])
    assert pygbif.gbifutils.requests is before and before is requests
    assert logging.getLogger().handlers == handlers


def test_resolving_offline_loads_neither_torch_nor_pygbif_nor_matplotlib():
    code = (
        "import sys, taxaforge.taxonomy.resolve, taxaforge.taxonomy.tree; "
        "sys.exit(str({'torch', 'pygbif', 'matplotlib', 'pandas'} & set(sys.modules)) if {'torch', 'pygbif', 'matplotlib', 'pandas'}"
        " & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
