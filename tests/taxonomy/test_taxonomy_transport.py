"""The seam to GBIF against a small server of our own that fails on command."""

import gzip
import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
import requests

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy import transport as seam
from taxaforge.taxonomy.keys import CHECKLISTS, BadTaxonKey
from taxaforge.taxonomy.manners import BadAddress, Pacer, api_base, canonical, retry_after, user_agent
from taxaforge.taxonomy.payloads import release_of, usable
from taxaforge.taxonomy.store import AnswerStore, DamagedStore
from taxaforge.taxonomy.transport import (
    BadPayload,
    GbifError,
    NewRelease,
    NotStored,
    RateLimited,
    Rejected,
    Transport,
    Unavailable,
    WrongPygbif,
    installed,
    open_service,
    speaking,
)

GOOD = json.dumps({"diagnostics": {"matchType": "NONE"}}).encode()
MATCH = "https://api.gbif.org/v2/species/match"
SEARCH = "https://api.gbif.org/v1/occurrence/search"
COL = CHECKLISTS["col_xr"]
ASKED = {"scientificName": "Aus bus", "checklistKey": COL}


class Server(ThreadingHTTPServer):
    """script: (status, headers, body) in order, the last one for ever; body "cut", "reset" and "drip" break off.

    Requests are noted in `seen`; those for the release of the index are answered with `release` and noted in `metadata`.
    """

    daemon_threads = True

    def __init__(self, script):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.seen, self.metadata, self.release = list(script), [], [], "1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        if "/metadata" in self.path:
            self.server.metadata.append(self.path)
            told = {"created": "2026-01-01", "mainIndex": {"clbDatasetKey": self.server.release}}
            return self.answer(200 if self.server.release else 404, {}, json.dumps(told).encode())
        self.server.seen.append((self.path, dict(self.headers)))
        return self.answer(*self.scripted())

    def scripted(self):
        script = self.server.script
        return script[0] if len(script) == 1 else script.pop(0)

    def answer(self, status, headers, body):
        if body == "reset":
            self.close_connection = True
            return
        self.send_response(status)
        length = {"cut": len(GOOD), "drip": 10_000}.get(body, len(body))
        for key, value in {"Content-Type": "application/json", "Content-Length": str(length), **headers}.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if body == "drip":
            try:
                for _ in range(100):
                    self.wfile.write(b" ")
                    time.sleep(0.02)
            except OSError:  # the client has gone
                pass
        else:
            self.wfile.write(GOOD[:10] if body == "cut" else body)
        self.close_connection = body in {"cut", "drip"}


@pytest.fixture
def serve():
    servers = []

    def start(*script, tries=4, timeout_s=2.0, **settings):
        server = Server(script)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        waits = []
        base = f"http://127.0.0.1:{server.server_port}"
        return Transport(base, user_agent("a@b.org"), timeout_s, tries, waits.append, **settings), server, waits

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
        pytest.param([(200, {}, b"")], id="nothing"),
        pytest.param([(200, {}, b"\xff\xfe\xfa")], id="not text"),
        pytest.param([(200, {}, b"[" * 100_000)], id="brackets without end"),
        pytest.param([(200, {"Content-Encoding": "gzip"}, b"no gzip")], id="not packed as said"),
        pytest.param([(408, {}, b""), (425, {}, b"")], id="told to come again"),
        pytest.param([(200, {"Content-Type": "text/html"}, b"<html>maintenance</html>")], id="maintenance page"),
        pytest.param([], id="calm"),
    ],
)
def test_a_passing_fault_ends_in_the_same_answer(serve, faults):
    http, server, _ = serve(*faults, OK)
    response = http.get(MATCH, params={"scientificName": "Aus bus"})
    assert response.content == GOOD and response.json() == json.loads(GOOD) and len(server.seen) == len(faults) + 1
    assert server.seen[-1][0] == "/v2/species/match?scientificName=Aus+bus"
    assert http.last.tries == len(faults) + 1


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
        ((200, {}, b'{"diagnostics": {"matchType": "EXACT"}}'), BadPayload, 1),
        ((203, {}, GOOD), BadPayload, 1),
        ((404, {}, b""), Rejected, 1),
        ((400, {}, b"bad"), Rejected, 1),
        ((429, {"Retry-After": "86400"}, b"[]"), RateLimited, 1),
        ((503, {"Retry-After": "86400"}, b"[]"), Unavailable, 1),
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
            http.get(SEARCH)


def test_a_dripping_server_is_not_waited_for_without_end(serve, monkeypatch):
    monkeypatch.setattr(seam, "LONGEST_ANSWER_S", 0.1)
    http, server, _ = serve((200, {}, "drip"), OK)
    began = time.monotonic()
    assert http.get(MATCH).content == GOOD and len(server.seen) == 2
    assert time.monotonic() - began < 1.5


def test_an_endless_body_is_broken_off(serve, monkeypatch):
    monkeypatch.setattr(seam, "LARGEST_ANSWER", 10_000)
    http, _, _ = serve((200, {}, b"[" + b"1," * 50_000 + b"1]"), tries=2)
    with pytest.raises(Unavailable):
        http.get("https://api.gbif.org/v1/dataset/x")


def test_a_packed_answer_is_unpacked(serve):
    http, _, _ = serve((200, {"Content-Encoding": "gzip"}, gzip.compress(GOOD)))
    assert http.get(MATCH).content == GOOD


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
        ("nan", None),
        ("1e400", float("inf")),
    ],
)
def test_retry_after_values(value, seconds):
    assert retry_after(value, NOW) == seconds


USAGE = {"key": "9", "name": "Aus bus L."}


def match(kind="EXACT", **members):
    return {"usage": USAGE, "diagnostics": {"matchType": kind}} | members


@pytest.mark.parametrize(
    "path, body, right",
    [
        ("/v2/species/match", {"diagnostics": {"matchType": "NONE"}}, True),
        ("/v2/species/match", match(), True),
        ("/v2/species/match", match(classification=[{"key": "1", "name": "Animalia", "rank": "KINGDOM"}]), True),
        ("/v2/species/match", {"diagnostics": {"matchType": "NONE", "alternatives": [match()]}}, True),
        ("/v2/species/match", {"diagnostics": {}}, False),
        ("/v2/species/match", {"diagnostics": {"matchType": None}}, False),
        ("/v2/species/match", {"diagnostics": {"matchType": "EXACT"}}, False),
        ("/v2/species/match", {"diagnostics": {"matchType": "HIGHERRANK"}, "usage": {}}, False),
        ("/v2/species/match", match(usage={"name": "Aus bus"}), False),
        ("/v2/species/match", match(usage={"key": "9"}), False),
        ("/v2/species/match", match(usage=["9"]), False),
        ("/v2/species/match", match(acceptedUsage={"key": "9"}), False),
        ("/v2/species/match", match(classification=[{"key": "1", "name": "Animalia"}]), False),
        ("/v2/species/match", match(classification=["Animalia"]), False),
        ("/v2/species/match", match(usage=USAGE | {"rank": "SPECIES", "status": "ACCEPTED", "authorship": ""}), True),
        ("/v2/species/match", match(usage=USAGE | {"rank": None}), False),
        ("/v2/species/match", match(usage=USAGE | {"status": 1}), False),
        ("/v2/species/match", match(usage=USAGE | {"authorship": ["L."]}), False),
        ("/v2/species/match", match(usage=USAGE | {"canonicalName": {}}), False),
        ("/v2/species/match", match(usage=USAGE | {"key": 9}), False),
        ("/v2/species/match", match(usage=USAGE | {"name": " "}), False),
        ("/v2/species/match", match(usage=USAGE | {"name": "Aus \ud800"}), False),
        ("/v2/species/match", match(acceptedUsage=USAGE | {"rank": None}), False),
        ("/v2/species/match", match(classification=[{"key": "1", "name": "A", "rank": None}]), False),
        ("/v2/species/match", match(classification=[{"key": 1, "name": "A", "rank": "KINGDOM"}]), False),
        ("/v2/species/match", match(diagnostics={"matchType": "EXACT", "confidence": "96"}), False),
        ("/v2/species/match", match(diagnostics={"matchType": "EXACT", "confidence": 96}), True),
        ("/v1/occurrence/search", {"results": [{"media": None}], "endOfRecords": True, "facets": None}, True),
        ("/v1/occurrence/search", {"results": [{"media": ["x"]}], "endOfRecords": True}, False),
        ("/v1/occurrence/search", {"results": [], "endOfRecords": True, "facets": ["x"]}, False),
        ("/v2/species/match", match(classification=None), False),
        ("/v2/species/match", {"diagnostics": {"matchType": "NONE", "alternatives": [{"usage": {"key": 1}}]}}, False),
        ("/v2/species/match", {"diagnostics": {"matchType": "NONE", "alternatives": ["x"]}}, False),
        ("/v2/species/match", [], False),
        ("/v2/species/match", {"message": "no"}, False),
        ("/v2/species/match/metadata", {"mainIndex": {}}, True),
        ("/v2/species/match/metadata", {"created": "today"}, False),
        ("/v1/occurrence/search", {"results": [], "endOfRecords": True}, True),
        ("/v1/occurrence/search", {"results": [{}], "endOfRecords": True, "count": 1}, True),
        ("/v1/occurrence/search", {"results": [], "endOfRecords": True, "count": None}, False),
        ("/v1/occurrence/search", {"results": ["x"], "endOfRecords": True}, False),
        ("/v1/occurrence/search", {"results": []}, False),
        ("/v1/dataset/x", {"message": "no"}, False),
        ("/v1/dataset/x", {"key": "x", "message": "yes"}, True),
        ("/v1/dataset/x", "text", False),
    ],
)
def test_a_body_must_have_the_shape_of_an_answer(path, body, right):
    assert usable(path, body) is right


@pytest.mark.parametrize(
    "body, release",
    [
        ({"created": "2026-01-01", "mainIndex": {"clbDatasetKey": 3}}, "3 built 2026-01-01"),
        ({"mainIndex": {"clbDatasetKey": "3"}}, "3"),
        ({"created": "2026-01-01", "mainIndex": {}}, "built 2026-01-01"),
        ({"mainIndex": {"datasetTitle": "COL"}}, None),
    ],
)
def test_the_release_is_what_the_metadata_tell_and_no_more(body, release):
    assert release_of(body) == release


# ---------------------------------------------------------------------------------------- one spelling of a question

NASTY = [
    "Müller & Cie",
    "Aus bus (L., 1758)",
    "a=b&c=d",
    "50 % [sic]",
    "d'Urv.",
    "Salix ×fragilis",
    "x+y z",
    "#?/",
    "日本",
    "A\tB",
    "*~._-",
]


def test_what_is_sent_is_what_was_meant_for_any_character(serve):
    http, server, _ = serve((200, {}, b"{}"))
    for text in NASTY:
        http.get("https://api.gbif.org/v1/any", {"q": text, "b": text, "checklistKey": COL})
        sent = urlsplit(server.seen[-1][0]).query
        assert parse_qsl(sent, keep_blank_values=True, strict_parsing=True) == [
            ("b", text),
            ("checklistKey", COL),
            ("q", text),
        ]
        assert sent == canonical({"checklistKey": COL, "q": text, "b": text}) == http.last.request.split("?", 1)[1]


def test_order_accents_and_false_flags_do_not_make_another_question():
    draw = random.Random(3)
    for _ in range(200):
        params = {name: draw.choice(NASTY) for name in draw.sample("abcdefgh", 4)}
        shuffled = dict(draw.sample(sorted(params.items()), 4))
        decomposed = {name: unicodedata.normalize("NFD", value) for name, value in shuffled.items()}
        noise = draw.choice([{}, {"verbose": "false"}, {"strict": False, "year": None}, {"verbose": None}])
        assert canonical(params) == canonical(shuffled) == canonical(decomposed | noise)


def test_different_questions_stay_different():
    spelt = [canonical({"a": text}) for text in NASTY]
    assert len(set(spelt)) == len(NASTY)
    assert canonical({"verbose": "true"}) == canonical({"verbose": True}) == "verbose=true" != canonical({})
    assert canonical({"hasCoordinate": "false"}) == "hasCoordinate=false"
    assert canonical({"year": ["2001", "2000"]}) == canonical({"year": ("2000", "2001")}) == "year=2000&year=2001"


def test_the_base_address_comes_from_the_environment(monkeypatch):
    monkeypatch.delenv("GBIF_API_BASE", raising=False)
    assert api_base() == "https://api.gbif.org"
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:1/")
    assert api_base() == "http://127.0.0.1:1"
    for wrong in ("api.gbif.org", "ftp://api.gbif.org", "http://", "http://[x", "http://x:port", "http://x:99999", "http://a b",
                  "http://x/?key=1", "http://x#y"):  # fmt: skip
        monkeypatch.setenv("GBIF_API_BASE", wrong)
        with pytest.raises(BadAddress, match="GBIF_API_BASE is"):
            api_base()
    for right in ("http://[::1]:80", "https://mirror.example/gbif/@api"):
        monkeypatch.setenv("GBIF_API_BASE", right)
        assert api_base() == right


@pytest.mark.parametrize(
    "wrong", ["https://user:pw-9@mirror.example", "user:pw-9@mirror", "http://u:pw-9@[x", "http://x?token=pw-9",
              "https://pw-9@mirror.example/?t=pw-9", "http://u:p@pw-9@x"],
)  # fmt: skip
def test_a_password_in_the_base_address_is_refused_and_not_repeated(monkeypatch, wrong):
    monkeypatch.setenv("GBIF_API_BASE", wrong)
    with pytest.raises(BadAddress, match="neither user nor password") as caught:
        api_base()
    assert "pw-9" not in str(caught.value)


def test_no_base_address_is_a_traceback(monkeypatch):
    draw = random.Random(5)
    for _ in range(2000):
        text = draw.choice(["", "http://", "https://x"]) + "".join(
            draw.choice("[]@:/?#%.x9é \\") for _ in range(draw.randrange(9))
        )
        monkeypatch.setenv("GBIF_API_BASE", text)
        with suppress(BadAddress):
            api_base()


def test_no_retry_after_is_a_traceback():
    draw = random.Random(6)
    parts = [
        "Thu,",
        "01",
        "Jan",
        "2026",
        "99999999",
        "00:01:00",
        "GMT",
        "+9999999999999",
        "-0000",
        "1e999",
        ":",
        "x",
        "25:61:61",
    ]
    for _ in range(3000):
        seconds = retry_after(" ".join(draw.choices(parts, k=draw.randrange(8))), NOW)
        assert seconds is None or seconds >= 0


def test_any_contact_fits_into_a_header(serve):
    http, server, _ = serve((200, {}, b"{}"))
    http.agent = user_agent("Zoë 日本\r\nX-Evil: 1")
    http.get("https://api.gbif.org/v1/any")
    assert server.seen[0][1]["User-Agent"] == user_agent("Zo? ?? X-Evil: 1") and "X-Evil" not in server.seen[0][1]


def test_requests_are_paced_on_one_clock_for_all_who_ask():
    clock, waits = [0.0], []

    def sleep(seconds):
        waits.append(seconds)
        clock[0] += seconds

    pace = Pacer(4.0, lambda: clock[0], sleep)
    began = []
    for pause in (0, 0, 0.1, 0, 5.0, 0):
        clock[0] += pause
        pace()
        began.append(clock[0])
    assert began == [0.0, 0.25, 0.5, 0.75, 5.75, 6.0] and waits == pytest.approx([0.25, 0.15, 0.25, 0.25])


def test_every_attempt_waits_for_its_turn(serve):
    turns = []
    http, server, _ = serve((503, {}, b""), (503, {}, b""), OK, pace=lambda: turns.append(len(server.seen)))
    http.get(SEARCH.replace("search", "x"))
    assert turns == [0, 1, 2]


def network(store, **changes):
    return {
        "contact": "a@b.org", "timeout_s": 2.0, "tries": 2, "requests_per_second": 1000.0, "store": str(store), "reuse_days": 30.0,
        "image_requests_per_second": 5.0, "image_workers": 1, "allow_private_hosts": False, "offline": False,
    } | changes  # fmt: skip


def test_two_services_open_at_a_time_share_pace_but_no_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:1")
    a, b = open_service(network(tmp_path)), open_service(network(tmp_path))
    assert a.pace is b.pace and a.session is not b.session
    assert a.agent == user_agent("a@b.org") and a.tries == 2 and a.timeout_s == 2.0 and a.base == "http://127.0.0.1:1"
    assert a.store.root == tmp_path / "answers"


# ---------------------------------------------------------------------------------------- the store behind the seam


@pytest.fixture
def kept(serve, tmp_path):
    """`kept(*script)`: a transport with a store, its server, and a clock `at` that can be turned."""

    def start(*script, **settings):
        at = [datetime(2026, 1, 1, tzinfo=UTC)]
        settings = {"store": AnswerStore(tmp_path / "answers"), "reuse_days": 30.0, "now": lambda: at[0], **settings}
        http, server, _ = serve(*script, **settings)
        return http, server, at

    return start


def again(http, **settings):
    """Another session with the same store, later."""
    settings = {"reuse_days": 30.0, "now": http.now, "store": AnswerStore(http.store.root)} | settings
    return Transport(http.base, http.agent, 2.0, 2, lambda seconds: None, **settings)


def test_evidence_says_what_was_asked_of_which_release_when_and_in_how_many_tries(kept):
    http, server, _ = kept((503, {}, b""), OK)
    http.get(MATCH, ASKED)
    assert http.last.request == f"/v2/species/match?checklistKey={COL}&scientificName=Aus+bus"
    assert (http.last.checklist, http.last.release, http.last.tries) == ("col_xr", "1 built 2026-01-01", 2)
    assert http.last.retrievedAt == "2026-01-01T00:00:00Z"
    assert http.store.path(http.last.sha256).read_bytes() == GOOD
    assert server.metadata == [f"/v2/species/match/metadata?checklistKey={COL}"]


def test_a_stored_answer_costs_no_request_at_all_and_keeps_its_evidence(kept):
    http, server, at = kept(OK)
    first = http.get(MATCH, ASKED)
    later = again(http)
    at[0] += timedelta(days=30)
    second = later.get(MATCH, {"verbose": "false", **ASKED})
    assert second.content == first.content and second.json() == first.json() and later.last == http.last
    assert len(server.seen) == 1 and len(server.metadata) == 1


def test_the_release_is_asked_once_a_session_and_checklist(kept):
    http, server, _ = kept(OK)
    for checklist in (COL, CHECKLISTS["gbif_backbone"]):
        for name in ("Aus bus", "Cus dus"):
            http.get(MATCH, {"scientificName": name, "checklistKey": checklist})
    assert len(server.seen) == 4 and len(server.metadata) == 2


def test_an_old_answer_is_asked_for_anew(kept):
    http, server, at = kept(OK)
    http.get(MATCH, ASKED)
    at[0] += timedelta(days=30, seconds=1)
    later = again(http)
    later.get(MATCH, ASKED)
    assert len(server.seen) == 2 and later.last.retrievedAt == "2026-01-31T00:00:01Z"


def test_once_the_release_is_known_answers_of_another_one_are_asked_for_anew(kept):
    http, server, _ = kept(OK)
    for name in ("Aus bus", "Cus dus"):
        http.get(MATCH, {"scientificName": name, "checklistKey": COL})
    server.release = "2"
    later = again(http)
    later.get(MATCH, {"scientificName": "Aus bus", "checklistKey": COL})  # nothing to ask yet: nobody is asked
    assert len(server.seen) == 2 and later.last.release.startswith("1 ")
    with pytest.raises(NewRelease, match="release '2 built 2026-01-01' of col_xr now") as caught:
        later.get(MATCH, {"scientificName": "Eus fus", "checklistKey": COL})
    assert isinstance(caught.value, GbifError) and len(server.seen) == 2
    for name in ("Eus fus", "Cus dus"):
        later.get(MATCH, {"scientificName": name, "checklistKey": COL})
        assert later.last.release.startswith("2 ")
    assert len(server.seen) == 4
    last = again(http)  # the store speaks with two voices now: the older one is a reason to ask
    last.get(MATCH, {"scientificName": "Aus bus", "checklistKey": COL})
    assert len(server.seen) == 5 and last.last.release.startswith("2 ")
    silent = again(http)
    for name in ("Aus bus", "Cus dus", "Eus fus"):
        silent.get(MATCH, {"scientificName": name, "checklistKey": COL})
    assert len(server.seen) == 5 and len(server.metadata) == 3


def test_another_process_that_brings_a_newer_release_does_not_mix_them(kept):
    http, server, _ = kept(OK)
    for name in ("Aus bus", "Cus dus"):
        http.get(MATCH, {"scientificName": name, "checklistKey": COL})
    server.release = "2"
    later, other = again(http), again(http)
    later.get(MATCH, ASKED)
    other.get(MATCH, {"scientificName": "Eus fus", "checklistKey": COL})
    with pytest.raises(NewRelease):  # its newest answer is of 2 now, but one of 1 was handed out
        later.get(MATCH, {"scientificName": "Eus fus", "checklistKey": COL})
    later.get(MATCH, ASKED)
    assert later.last.release.startswith("2 ")


def test_answers_of_two_releases_are_not_mixed_while_nobody_tells_which_is_right(kept):
    http, server, _ = kept(OK)
    http.get(MATCH, {"scientificName": "Aus bus", "checklistKey": COL})
    server.release = "2"
    again(http).get(MATCH, {"scientificName": "Cus dus", "checklistKey": COL})
    server.release = None
    later = again(http)
    releases = []
    for name in ("Aus bus", "Cus dus"):
        later.get(MATCH, {"scientificName": name, "checklistKey": COL})
        releases.append(later.last.release)
    assert releases == ["1 built 2026-01-01", None] and len(server.seen) == 3


def test_an_answer_of_another_service_counts_offline_only_and_the_own_one_first(kept, serve):
    mirror, mirrored, _ = kept((200, {}, json.dumps(match()).encode()))
    mirror.get(MATCH, ASKED)
    gbif, server, _ = kept(OK)
    assert gbif.get(MATCH, ASKED).content == GOOD and len(server.seen) == 1 and len(server.metadata) == 1
    mirror.store = AnswerStore(gbif.store.root)
    assert again(mirror).get(MATCH, ASKED).json()["usage"] == USAGE and len(mirrored.seen) == 1
    for base, usage in ((mirror.base, USAGE), (gbif.base, None), ("http://127.0.0.1:9", None)):
        offline = again(gbif, offline=True)
        offline.base = base
        assert offline.get(MATCH, ASKED).json().get("usage") == usage
    mirror.store.path(mirror.last.sha256).unlink()
    assert again(mirror, offline=True).get(MATCH, ASKED).content == GOOD


def test_a_release_that_nobody_tells_stays_unknown_and_is_not_asked_for_ever(kept, capsys):
    http, server, _ = kept(OK)
    server.release = None
    http.get(MATCH, ASKED)
    assert http.last.release is None and "release of col_xr is unknown" in capsys.readouterr().err
    later = again(http)
    later.get(MATCH, ASKED)
    assert len(server.seen) == 1 and len(server.metadata) == 1
    server.release = "1"  # the service has recovered
    later.releases.clear()
    with pytest.raises(NewRelease):
        later.get(MATCH, {"scientificName": "Cus dus", "checklistKey": COL})
    later.get(MATCH, {"scientificName": "Cus dus", "checklistKey": COL})
    later.get(MATCH, ASKED)
    assert later.last.release == "1 built 2026-01-01" and len(server.seen) == 3


def test_while_nobody_tells_the_release_answers_are_judged_by_their_age(kept):
    http, server, _ = kept(OK)
    for name in ("Aus bus", "Cus dus"):
        http.get(MATCH, {"scientificName": name, "checklistKey": COL})
    server.release = None
    later = again(http)
    for name in ("Eus fus", "Aus bus", "Cus dus"):
        later.get(MATCH, {"scientificName": name, "checklistKey": COL})
    assert len(server.seen) == 3 and later.last.release == "1 built 2026-01-01"


def test_pages_of_occurrences_need_no_release_even_beside_names_that_have_one(kept):
    http, server, _ = kept(OK, (200, {}, b'{"results": [{}], "endOfRecords": true}'))
    page = {"taxonKey": "Q2M4", "checklistKey": COL}
    http.get(MATCH, ASKED)
    http.get(SEARCH, page)
    later = again(http)
    later.get(SEARCH, page)
    assert len(server.seen) == 2 and len(server.metadata) == 1 and later.last.release is None


@pytest.mark.parametrize(
    "url, response",
    [
        (MATCH, (503, {}, b"")),
        (MATCH, (404, {}, b"")),
        (MATCH, (429, {}, b"[]")),
        (MATCH, (200, {}, b"<html>")),
        (MATCH, (200, {}, "cut")),
        (MATCH, (200, {}, b'{"message": "no"}')),
        (SEARCH, (200, {}, b'{"results": "no"}')),
    ],
)
def test_what_is_no_answer_is_never_kept(kept, url, response):
    http, _, _ = kept(response, tries=2)
    with pytest.raises(GbifError):
        http.get(url, {"checklistKey": COL})
    assert not http.store.root.exists() and http.last is None


def test_an_empty_page_is_handed_out_but_not_kept(kept):
    empty, facets = (
        b'{"results": [], "endOfRecords": true, "count": 0}',
        b'{"results": [], "endOfRecords": true, "facets": [{"counts": [1]}]}',
    )
    http, server, _ = kept((200, {}, empty), (200, {}, empty), (200, {}, facets))
    for _ in range(2):
        assert http.get(SEARCH, {"taxonKey": "N", "checklistKey": COL}).json()["results"] == []
    assert len(server.seen) == 2 and not http.store.root.exists()
    for _ in range(2):
        http.get(SEARCH, {"taxonKey": "N", "checklistKey": COL, "limit": 0})
    assert len(server.seen) == 3


def test_offline_answers_come_from_the_store_at_any_age_and_of_any_release(kept):
    http, server, at = kept(OK)
    http.get(MATCH, ASKED)
    at[0] += timedelta(days=3000)
    server.release = "2"
    offline = again(http, offline=True)
    assert offline.get(MATCH, ASKED).content == GOOD and offline.last == http.last
    assert len(server.seen) == 1 and len(server.metadata) == 1


def test_offline_a_miss_is_loud_and_nobody_is_asked(kept):
    http, server, _ = kept(OK, offline=True)
    with pytest.raises(NotStored, match=r"scientificName=Aus\+bus is not among .*offline: false") as caught:
        http.get(MATCH, ASKED)
    assert isinstance(caught.value, GbifError) and not server.seen and not server.metadata
    assert not http.store.root.exists()


def test_a_deleted_body_is_a_loud_miss_offline_and_asked_for_anew_online(kept):
    http, server, _ = kept(OK)
    http.get(MATCH, ASKED)
    http.store.path(http.last.sha256).unlink()
    with pytest.raises(NotStored, match="Aus"):
        again(http, offline=True).get(MATCH, ASKED)
    assert again(http).get(MATCH, ASKED).content == GOOD and len(server.seen) == 2
    assert again(http, offline=True).get(MATCH, ASKED).content == GOOD


@pytest.mark.parametrize("offline", [True, False])
def test_a_flipped_byte_stops_the_run(kept, offline):
    http, server, _ = kept(OK)
    http.get(MATCH, ASKED)
    path = http.store.path(http.last.sha256)
    path.write_bytes(GOOD.replace(b"NONE", b"NINE"))
    with pytest.raises(DamagedStore, match=path.name):
        again(http, offline=offline).get(MATCH, ASKED)
    assert len(server.seen) == 1


def test_a_stored_body_that_a_stricter_check_refuses_is_no_answer_any_more(kept, monkeypatch):
    http, server, _ = kept(OK)
    monkeypatch.setattr(seam, "usable", lambda path, body: True)
    http.get(MATCH, ASKED)
    monkeypatch.setattr(seam, "usable", lambda path, body: "EXACT" in str(body) or "metadata" in path)
    server.script = [(200, {}, json.dumps(match()).encode())]
    assert again(http).get(MATCH, ASKED).json()["usage"] == USAGE


@pytest.mark.parametrize("key", [5133088, np.int64(5133088), 5133088.0, "5133088", [5133088], np.str_("Q2M4")])
def test_a_loose_key_is_refused_before_any_request(kept, key):
    from pygbif import occurrences

    http, server, _ = kept(OK)
    with pytest.raises(BadTaxonKey), installed(http):
        occurrences.search(taxonKey=key, checklistKey=COL)
    assert not server.seen


# ---------------------------------------------------------------------------------------- the seam itself


def test_the_seam_is_undone_whatever_happens(serve):
    import pygbif.gbifutils

    before, handlers = pygbif.gbifutils.requests, logging.getLogger().handlers[:]
    http, _, _ = serve((404, {}, b""))
    with pytest.raises(Rejected), installed(http):
        from pygbif import species

        assert pygbif.gbifutils.requests is http
        species.name_backbone(scientificName="Aus bus", checklistKey=COL)
    assert pygbif.gbifutils.requests is before and before is requests
    assert logging.getLogger().handlers == handlers


def test_two_transports_take_turns_in_one_process(serve):
    import pygbif.gbifutils

    (a, server_a, _), (b, server_b, _) = serve((200, {}, b"{}")), serve((200, {}, b"{}"))
    with speaking(a):
        with speaking(b):
            pygbif.gbifutils.gbif_GET("https://api.gbif.org/v1/b", {})
        pygbif.gbifutils.gbif_GET("https://api.gbif.org/v1/a", {})
    assert pygbif.gbifutils.requests is requests
    assert [path for path, _ in server_a.seen] == ["/v1/a"] and [path for path, _ in server_b.seen] == ["/v1/b"]


@pytest.mark.parametrize("broken", [lambda name=None: None, None])
def test_another_pygbif_is_refused_by_name(serve, monkeypatch, broken):
    from pygbif import species

    seam._pygbif.cache_clear()
    with (
        monkeypatch.context() as patch,
        pytest.raises(WrongPygbif, match=r"no species\.name_backbone .*pygbif==0\.7\.0"),
    ):
        patch.setattr(species, "name_backbone", broken)
        with installed(serve(OK)[0]):
            pass
    with installed(serve(OK)[0]):
        pass


def test_resolving_offline_loads_neither_torch_nor_pygbif_nor_matplotlib():
    code = (
        "import sys, taxaforge.taxonomy.resolve, taxaforge.taxonomy.tree; "
        "sys.exit(str({'torch', 'pygbif', 'matplotlib', 'pandas'} & set(sys.modules)) if {'torch', 'pygbif', 'matplotlib', 'pandas'}"
        " & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert done.returncode == 0, done.stderr
