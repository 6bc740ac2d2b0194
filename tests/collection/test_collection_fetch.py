"""Fetching from strangers: what they may and may not do to us, the pace they are asked at, and what is remembered."""

import hashlib
import io
import itertools
import json
import random
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from taxaforge.collection import pictures
from taxaforge.collection.fetch import TOLD, settled
from taxaforge.collection.media import Media, Outcome
from taxaforge.collection.pictures import flaw
from taxaforge.collection.sources import Candidate, download, hosts
from taxaforge.collection.sources.download import ask, is_public, open_session
from taxaforge.collection.sources.hosts import Fetcher
from taxaforge.collection.sources.lanes import Lane, gather, observer_of
from taxaforge.taxonomy.store import DamagedStore
from taxaforge.taxonomy.transport import NotStored, Unavailable


def picture(side=40, form="JPEG", seed=0):
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(3 * side * side)).save(out, form)
    return out.getvalue()


PICTURE = picture()


@pytest.mark.parametrize("content, error", [
    (picture(), ""),
    (picture(form="PNG"), ""),
    (picture(form="TIFF"), ""),
    (b"", "empty_file"),
    (b"<html><body>moved</body></html>", "not_an_image"),
    (picture()[:400], "broken_image"),
    (picture(form="PNG")[:300], "broken_image"),
    (b"\xff\xd8\xff", "not_an_image"),
])  # fmt: skip
def test_bytes_are_decoded_before_they_are_believed(content, error):
    assert flaw(content) == error


def test_a_bomb_stays_packed(monkeypatch):
    content = picture()
    monkeypatch.setattr(pictures, "LARGEST_PIXELS", 1000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert flaw(content) == "too_many_pixels"


@pytest.mark.filterwarnings("ignore")
def test_no_damage_to_a_file_stops_the_run():
    chance = random.Random(7)
    for form in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        whole, found = picture(24, form), set()
        for _ in range(60):
            damaged = bytearray(whole)
            for _ in range(chance.choice((1, 3, 10))):
                damaged[chance.randrange(min(len(damaged), chance.choice((64, 400, 10**6))))] = chance.randrange(256)
            found.add(flaw(bytes(damaged[: chance.choice((None, chance.randrange(len(damaged))))])))
        assert found <= {"", "empty_file", "not_an_image", "broken_image", "too_many_pixels"} and len(found) > 1


# ------------------------------------------------------------------------------------------- strange hosts


class Strangers(ThreadingHTTPServer):
    """A host on loopback whose paths behave as they are called; `asked` lists (time, path, headers)."""

    daemon_threads = True

    def __init__(self, answer=None):
        self.asked, self.peak, self.active, self.lock = [], 0, 0, threading.Lock()
        self.own = answer
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def paths(self):
        return [path for _, path, _ in self.asked]

    def handle_error(self, request, client_address):
        """Clients that hang up are what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        with server.lock:
            server.asked.append((time.monotonic(), self.path, dict(self.headers)))
            attempt = server.paths().count(self.path)
            server.active += 1
            server.peak = max(server.peak, server.active)
        try:
            (server.own or usual)(self, urlsplit(self.path), attempt)
        finally:
            with server.lock:
                server.active -= 1

    def say(self, status=200, body=b"", length=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None


def usual(self, at, attempt):
    name, options = at.path.strip("/").split("/")[0], parse_qs(at.query)
    if name == "to":
        self.say(302, Location=options["url"][0])
    elif name == "circle":
        self.say(302, Location=self.path)
    elif name == "noai":
        self.say(200, PICTURE, X_Robots_Tag="noindex, " + options["tag"][0])
    elif name == "short":
        self.say(200, PICTURE[:200], length=len(PICTURE))
    elif name == "drip":
        self.send_response(200)
        self.send_header("Content-Length", str(len(PICTURE)))
        self.end_headers()
        for i in range(len(PICTURE)):
            self.wfile.write(PICTURE[i : i + 1])
            self.wfile.flush()
            time.sleep(0.05)
    elif name == "huge":
        self.say(200, PICTURE + bytes(5000))
    elif name == "page":
        self.say(200, b"<html>" * 100_000, Content_Type="image/jpeg")
    elif name == "status":
        self.say(int(options["code"][0]))
    elif name == "busy":
        if attempt <= int(options["times"][0]):
            self.say(int(options["code"][0]), **({"Retry_After": options["after"][0]} if "after" in options else {}))
        else:
            self.say(200, PICTURE)
    elif name == "tagged":
        body = picture(seed=int(options["version"][0]))
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        if self.headers.get("If-None-Match") == tag:
            self.say(304, ETag=tag)
        else:
            self.say(200, body, ETag=tag, Last_Modified=formatdate(1_700_000_000, usegmt=True))
    else:
        self.say(200, PICTURE)


@pytest.fixture
def host():
    server = Strangers()
    yield server
    server.shutdown()
    server.server_close()


def once(url, timeout_s=2.0, private=True, **known):
    with open_session("test", private) as session:
        return ask(session, url, timeout_s, private=private, **known)


@pytest.mark.parametrize("path, error", [
    ("/plain", ""),
    ("/status?code=404", "http_404"),
    ("/status?code=410", "http_410"),
    ("/status?code=204", "http_204"),
    pytest.param("/status?code=304", "http_304", id="nobody asked whether it had changed"),
    ("/noai?tag=noai", "robots_noai"),
    ("/noai?tag=noimageai", "robots_noai"),
    ("/noai?tag=somebot: NoAI", "robots_noai"),
    pytest.param("/noai?tag=noarchive", "", id="other wishes are not about us"),
    ("/page", "not_an_image"),
    ("/short", "connection"),
])  # fmt: skip
def test_every_answer_is_a_picture_or_one_code(host, path, error):
    reply = once(host.url + path.replace(" ", "%20"))
    assert (reply.error, reply.content) == (error, b"" if error else PICTURE)


def test_a_body_that_drips_has_an_end(host):
    began = time.monotonic()
    assert once(host.url + "/drip", timeout_s=0.2).error == "timeout"  # each drop comes in time, the picture never
    assert time.monotonic() - began < 2.0


def test_a_body_that_is_too_large_is_broken_off(host, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_BYTES", len(PICTURE) + 100)
    assert once(host.url + "/huge").error == "too_large"
    assert once(host.url + "/plain").error == ""


@pytest.mark.parametrize("url, error", [
    ("http://127.0.0.1:9/x.jpg", "private_address"),
    ("http://169.254.169.254/latest", "private_address"),
    ("http://[::1]/x.jpg", "private_address"),
    ("http://[::ffff:127.0.0.1]/x.jpg", "private_address"),
    ("http://192.168.1.1/x.jpg", "private_address"),
    ("http://localhost:9/x.jpg", "private_address"),
    pytest.param("http://2130706433/x.jpg", "private_address", id="127.0.0.1 as one number"),
    pytest.param("http://0x7f.1/x.jpg", "private_address", id="127.0.0.1 in hexadecimal"),
    ("file:///etc/passwd", "bad_address"),
    ("ftp://host/x.jpg", "bad_address"),
    ("not an address", "bad_address"),
    ("http://[broken/x.jpg", "bad_address"),
    ("http://host:port/x.jpg", "bad_address"),
    ("http:///x.jpg", "bad_address"),
    ("https://x.example/" + "a" * 5000, "bad_address"),
    ("", "bad_address"),
])  # fmt: skip
def test_addresses_of_strangers_do_not_reach_into_this_network(url, error):
    reply = once(url, private=False)
    assert (reply.error, reply.content) == (error, b"")


@pytest.mark.parametrize("address, public", [
    ("93.184.216.34", True), ("2606:4700::1111", True), ("64:ff9b::5db8:d822", True),
    ("10.0.0.1", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False),
    ("fe80::1%eth0", False), ("fd00::1", False), ("::", False), ("ff02::1", False), ("2002:7f00:1::", False),
    ("64:ff9b::a00:1", False),
])  # fmt: skip
def test_which_addresses_lie_in_the_open_internet(address, public):
    assert is_public(address) is public


@pytest.fixture
def names(monkeypatch):
    """Name -> address of a name server of our own; 127.0.0.1 stands for a public address."""
    known, looked_up, real = {}, Counter(), socket.getaddrinfo

    def lookup(name, *args, **options):
        looked_up[name] += 1
        to = known.get(name, name)
        return real(next(to) if isinstance(to, itertools.chain) else to, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(download, "is_public", lambda address: address == "127.0.0.1" or is_public(address))
    known["looked up"] = looked_up
    return known


def test_a_name_that_leads_into_this_network_is_refused(host, names):
    names["evil.example"] = "127.0.0.2"
    assert once(f"http://evil.example:{host.server_port}/plain", private=False).error == "private_address"
    assert host.asked == []


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(host, names):
    names["rebound.example"] = itertools.chain(["127.0.0.1"], itertools.repeat("127.0.0.2"))
    assert once(f"http://rebound.example:{host.server_port}/plain", private=False).content == PICTURE
    assert names["looked up"]["rebound.example"] == 1


# --------------------------------------------------------------------------------- many at once, and what is kept


def network(store, **other):
    return {
        "contact": "a@b.org", "timeout_s": 2.0, "tries": 4, "requests_per_second": 1000.0, "store": str(store),
        "reuse_days": 30.0, "image_requests_per_second": 1000.0, "image_workers": 6, "allow_private_hosts": True,
        "offline": False,
    } | other  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(hosts, "FIRST_PAUSE_S", 0.01)


def fetched(urls, store, job="a", **other):
    """url -> outcome, in one go."""
    media = Media(store / "media", job)
    with Fetcher(media, network(store, **other)) as fetcher:
        for url in urls:
            fetcher.ask(url)
        found = [fetcher.next() for _ in urls]
    return {outcome.url: outcome for outcome in found}


def test_a_redirect_into_this_network_is_rejected_and_the_others_go_on(host, names, tmp_path, monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", host.url)
    names["photos.example"] = "127.0.0.1"
    base = f"http://photos.example:{host.server_port}"
    urls = [f"{base}/to?url={target}" for target in (
        "http://127.0.0.2:80/x", "http://169.254.169.254/latest", "http://localhost/x", "file:///etc/passwd", "http://[broken/",
    )]  # fmt: skip
    urls += [f"{base}/to?url=/plain", f"{base}/circle", f"{base}/plain"]
    found = fetched(urls, tmp_path, allow_private_hosts=False)
    assert [found[url].errorCode for url in urls] == [
        "private_address", "private_address", "private_address", "bad_address", "bad_address", "", "too_many_redirects", "",
    ]  # fmt: skip
    assert found[urls[5]].finalUrl == f"{base}/plain"
    assert host.paths().count("/circle") == 1 + hosts.MOST_REDIRECTS


@pytest.mark.parametrize("code", [429, 503])
def test_faults_that_pass_are_outlasted_and_others_are_not_asked_again(host, tmp_path, code):
    urls = [
        f"{host.url}/busy?times=3&code={code}",
        f"{host.url}/busy?times=4&code={code}",
        f"{host.url}/status?code=404",
    ]
    found = fetched(urls, tmp_path)
    assert [found[url].errorCode for url in urls] == ["", f"http_{code}", "http_404"]
    assert [found[url].tries for url in urls] == [4, 4, 1] == [host.paths().count(url[len(host.url) :]) for url in urls]


def test_a_host_that_asks_for_a_pause_is_left_alone_meanwhile(host, tmp_path):
    busy = f"{host.url}/busy?times=1&code=429&after=1"
    fetched([busy, *(f"{host.url}/plain?{n}" for n in range(6))], tmp_path, image_workers=1)
    times = [at for at, path, _ in host.asked]
    assert times[1] - times[0] > 0.95  # nobody else was asked of that host, either


def test_a_host_that_asks_for_a_day_is_given_up(host, tmp_path):
    url = f"{host.url}/busy?times=1&code=503&after=86400"
    assert fetched([url], tmp_path)[url].errorCode == "http_503"
    assert len(host.asked) == 1


def test_each_host_has_its_own_pace_and_a_slow_one_keeps_nobody_waiting(host, tmp_path):
    def slow(self, at, attempt):
        time.sleep(0.3)
        self.say(200, PICTURE)

    other = Strangers(slow)
    began = time.monotonic()
    urls = [f"{other.url}/{n}" for n in range(6)] + [f"{host.url}/{n}" for n in range(10)]
    fetched(urls, tmp_path, image_requests_per_second=20.0)
    took = time.monotonic() - began
    other.shutdown()
    at = [when for when, _, _ in host.asked]
    assert all(late - early > 0.04 for early, late in itertools.pairwise(at))  # 20 a second: 0.05 s apart
    assert at[-1] - began < 0.75 and took < 1.2
    assert other.peak <= hosts.MOST_A_HOST


def test_a_job_asks_nothing_twice_and_another_only_whether_it_has_changed(host, tmp_path):
    urls = [f"{host.url}/tagged?version=1", f"{host.url}/status?code=410", f"{host.url}/plain"]
    first = fetched(urls, tmp_path, job="a")
    assert fetched(urls, tmp_path, job="a") == first and len(host.asked) == 3
    second = fetched(urls, tmp_path, job="b")
    assert [second[url].sha256 for url in urls] == [first[url].sha256 for url in urls]
    conditions = [headers.get("If-None-Match") for _, path, headers in host.asked[3:] if "tagged" in path]
    assert conditions == [first[urls[0]].etag] and first[urls[0]].etag
    assert second[urls[0]].etag == first[urls[0]].etag


def test_a_picture_that_has_changed_is_fetched_anew(tmp_path):
    version = [1]

    def answer(self, at, attempt):
        usual(self, urlsplit(f"/tagged?version={version[0]}"), attempt)

    server = Strangers(answer)
    url = f"{server.url}/one"
    before = fetched([url], tmp_path, job="a")[url]
    version[0] = 2
    after = fetched([url], tmp_path, job="b")[url]
    assert fetched([url], tmp_path, job="a", offline=True)[url] == before  # a job stays with what it had
    server.shutdown()
    assert before.sha256 != after.sha256 == hashlib.sha256(picture(seed=2)).hexdigest()


def test_offline_serves_the_store_whatever_its_job_and_names_what_it_lacks(host, tmp_path):
    urls = [f"{host.url}/plain", f"{host.url}/status?code=404"]
    first = fetched(urls, tmp_path, job="a")
    again = fetched(urls, tmp_path, job="b", offline=True)
    assert len(host.asked) == 2
    assert [again[url].sha256 for url in urls] == [first[url].sha256 for url in urls]
    with pytest.raises(NotStored, match=r"/other is not in .*offline: false"):
        fetched([f"{host.url}/other"], tmp_path, offline=True)
    media = Media(tmp_path / "media", "a")
    media.path(first[urls[0]].sha256).unlink()
    with pytest.raises(NotStored, match="/plain is not in"):
        fetched(urls, tmp_path, offline=True)
    assert fetched(urls, tmp_path, job="a")[urls[0]].sha256 == first[urls[0]].sha256  # online it is fetched again


def test_a_flipped_byte_in_the_store_is_loud(host, tmp_path):
    url = f"{host.url}/plain"
    path = Media(tmp_path / "media", "a").path(fetched([url], tmp_path)[url].sha256)
    body = bytearray(path.read_bytes())
    body[100] ^= 1
    path.write_bytes(body)
    with pytest.raises(DamagedStore, match=r"its SHA-256 is not its name.*Delete it"):
        fetched([url], tmp_path)


def test_half_a_line_of_a_killed_writer_is_left_out_and_cut_off(host, tmp_path):
    url = f"{host.url}/plain"
    fetched([url], tmp_path)
    index = tmp_path / "media/index.jsonl"
    whole = index.read_bytes()
    index.write_bytes(whole + whole[:-2] + b"x" * 1000)
    assert fetched([url], tmp_path)[url].sha256 and len(host.asked) == 1
    fetched([url + "?2"], tmp_path)
    assert len([json.loads(line) for line in index.read_text().splitlines()]) == 2
    index.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(DamagedStore, match=r"index\.jsonl, line 1, is no record"):
        fetched([url], tmp_path)


def test_several_processes_may_write_into_one_store(tmp_path):
    stores = [Media(tmp_path, f"job{n}") for n in range(4)]
    content = [picture(seed=n) for n in range(5)]

    def write(media):
        for n in range(25):
            body = content[n % 5]
            media.put(Outcome(f"http://x/{n}", media.job, hashlib.sha256(body).hexdigest()), body)

    threads = [threading.Thread(target=write, args=(media,)) for media in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for media in stores:
        again = Media(tmp_path, media.job)
        assert all(again.settled(f"http://x/{n}") for n in range(25))
    assert sum(path.is_file() for path in (tmp_path / "bodies").rglob("*")) == 5


def test_an_error_that_may_pass_stays_until_the_job_is_finished(host, tmp_path):
    """A restart after a kill must not see more than the undisturbed run did; the run after the next may."""
    url = f"{host.url}/busy?times=2&code=503"
    assert fetched([url], tmp_path, tries=2)[url].errorCode == "http_503"
    assert fetched([url], tmp_path, tries=2)[url].errorCode == "http_503" and len(host.asked) == 2
    assert fetched(
        [f"{host.url}/status?code=503"], tmp_path, job="another", tries=1
    )  # it, too, has one to be forgotten
    Media(tmp_path / "media", "another").finish()
    assert fetched([url], tmp_path, tries=2)[url].errorCode == "http_503"
    lasting = [f"{host.url}/plain", f"{host.url}/status?code=404"]
    fetched(lasting, tmp_path)
    Media(tmp_path / "media", "a").finish()
    assert fetched([url, *lasting], tmp_path, tries=2)[url].errorCode == ""
    assert [host.paths().count(one[len(host.url) :]) for one in lasting] == [1, 1]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_dead_host_is_an_error_of_its_pictures(host, tmp_path, monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", host.url)
    dead = [f"http://127.0.0.1:{closed_port()}/{n}" for n in range(10)]
    found = fetched([*dead, f"{host.url}/plain"], tmp_path)
    assert {(found[url].errorCode, found[url].tries) for url in dead} == {("connection", 4)}
    monkeypatch.setattr(hosts, "GIVEN_UP_S", 0.0)  # dead for long: it is not asked four times for every picture
    assert {one.tries for one in fetched(dead, tmp_path, job="b").values()} == {1}
    assert found[f"{host.url}/plain"].sha256


def test_an_outage_of_the_own_network_is_no_error_of_a_picture(tmp_path, monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", f"http://127.0.0.1:{closed_port()}")
    url = f"http://127.0.0.1:{closed_port()}/x"
    with pytest.raises(Unavailable, match="the network is down"):
        fetched([url], tmp_path, tries=2)
    assert Media(tmp_path / "media", "a").settled(url) is None


def test_where_other_hosts_answer_the_network_is_up_even_without_gbif(host, tmp_path, monkeypatch):
    monkeypatch.setenv("GBIF_API_BASE", f"http://127.0.0.1:{closed_port()}")
    dead = f"http://127.0.0.1:{closed_port()}/x"
    found = fetched([f"{host.url}/plain", dead, f"{host.url}/short"], tmp_path, tries=3, image_workers=1)
    assert [found[url].errorCode for url in (f"{host.url}/plain", dead, f"{host.url}/short")] == [
        "",
        "connection",
        "connection",
    ]


def test_a_fault_in_a_thread_reaches_whoever_waits(host, tmp_path, monkeypatch):
    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(Media, "put", full)
    with pytest.raises(OSError, match="no space left"):
        fetched([f"{host.url}/plain"], tmp_path)


# --------------------------------------------------------------------------------------------- the n first successes


def patient(pictures, outcomes, wanted, per_observer):
    """One person who fetches one after the other: rows and what was asked."""
    rows, asked, kept, first = [], [], Counter(), {}
    for found in pictures:
        if kept.total() == wanted:
            break
        if any((row.identifier, row.gbifID) == (found.identifier, found.gbifID) for row in rows):
            continue
        known = first.setdefault(found.identifier, len(rows))
        if known < len(rows):  # another occurrence of a picture that was looked at
            if not found.errorCode:
                found = replace(found, errorCode=rows[known].errorCode, content=rows[known].content)
        elif not found.errorCode:
            if kept[observer_of(found)] >= per_observer:
                found = replace(found, errorCode="observer_has_enough")
            else:
                asked.append(found.identifier)
                error = outcomes[found.identifier]
                kept[observer_of(found)] += not error
                found = replace(found, errorCode=error, content=None if error else "body")
        rows.append(found)
    return rows, asked


class Shuffled:
    """Stands for the fetcher: gives the outcomes of what is under way in any order."""

    def __init__(self, outcomes, chance):
        self.outcomes, self.chance, self.under_way, self.asked = outcomes, chance, [], []

    def ask(self, url):
        assert url not in self.under_way
        self.under_way.append(url)
        self.asked.append(url)

    def next(self):
        url = self.under_way.pop(self.chance.randrange(len(self.under_way)))
        error = self.outcomes[url]
        return Outcome(url, sha256=None if error else "0" * 64, errorCode=error)


@pytest.mark.parametrize("seed", range(40))
def test_many_at_once_keep_and_ask_exactly_what_one_after_the_other_would(seed):
    chance = random.Random(seed)
    species = {}
    for n in range(chance.randrange(1, 5)):
        species[f"Aus s{n}"] = [
            Candidate(
                f"http://x/{chance.randrange(12) if chance.random() < 0.3 else f'{n}-{k}'}", f"Aus s{n}",
                errorCode="licence_missing" if chance.random() < 0.3 else "",
                recordedBy=chance.choice((None, "Ada", "ADA ", "Bea", "Cai")), gbifID=str(k // 2),
            )
            for k in range(chance.randrange(40))
        ]  # fmt: skip
    urls = sorted({found.identifier for found in itertools.chain(*species.values())})
    outcomes = {url: chance.choice(("", "", "", "http_404")) for url in urls}
    wanted, per_observer = chance.randrange(1, 12), chance.randrange(1, 5)
    fetcher = Shuffled(outcomes, chance)
    lanes = [Lane(name, iter(found), wanted, per_observer) for name, found in species.items()]
    rows = list(gather(lanes, fetcher, lambda sha256: "body", chance.randrange(1, 9)))
    expected, asked = [], set()
    for found in species.values():
        theirs, urls = patient(found, outcomes, wanted, per_observer)
        expected, asked = expected + theirs, asked | set(urls)
    assert rows == expected
    assert set(fetcher.asked) == asked


def test_pictures_of_one_occurrence_count_as_one_observer_where_nobody_is_named():
    of = lambda **known: observer_of(Candidate("x", "Aus bus", **known))  # noqa: E731
    assert of(gbifID="1") == of(gbifID="1") != of(gbifID="2")
    assert of(recordedBy="Ada  Løve", gbifID="1") == of(recordedBy="ada løve", gbifID="2")
    assert of(recordedBy="Ada", recordedByID="orcid:1") == of(recordedBy="A. Love", recordedByID="orcid:1")


# ---------------------------------------------------------------- what a picture is said to be


def said(identifier="u", species="Aus bus", error="", **known):
    return dict.fromkeys(TOLD) | {
        "identifier": identifier, "scientificName": species, "errorCode": error, "file_name": None if error else "images/a/a.jpg",
        "sha256": None if error else "a", "license": "CC0-1.0",
    } | known  # fmt: skip


def test_a_picture_of_two_occurrences_is_a_row_for_each_whatever_their_order():
    listed = [
        said(gbifID="1", recordedBy="Ann"),
        said(gbifID="2", recordedBy="Bob"),
        said(gbifID="2", recordedBy="Bob"),
    ]
    rows = settled([dict(row) for row in listed])
    assert [row["gbifID"] for row in rows] == ["1", "2"] and all(row["file_name"] for row in rows)
    assert rows[0]["identifier"] == "u" and rows[1]["identifier"].startswith("u#")
    assert settled([dict(row) for row in reversed(listed)]) == rows


def test_a_licence_that_is_refused_once_is_refused():
    rows = settled([said(gbifID="1"), said(gbifID="2", error="licence_not_allowed", license="CC-BY-NC-4.0")])
    assert sorted(row["errorCode"] for row in rows) == ["licence_not_allowed", "two_licences"]
    assert not any(row["file_name"] for row in rows)


def test_a_picture_of_two_species_is_of_neither():
    (row,) = settled([said(species="Bus aus"), said(species="Aus bus")])
    assert (row["errorCode"], row["file_name"], row["scientificName"]) == ("two_species", None, "Aus bus")


def test_an_address_that_comes_again_is_fetched_once_and_both_occurrences_are_told():
    def picture(url, occurrence, error=""):
        return Candidate(url, "Aus bus", gbifID=occurrence, recordedBy=f"by {occurrence}", errorCode=error)

    pictures = [picture("a", "1"), picture("b", "1"), picture("a", "2"), picture("a", "2"), picture("c", "3")]
    asked = []
    lane = Lane("Aus bus", iter(pictures), wanted=3, per_observer=5)
    lane.advance(asked.append)
    assert asked == ["a", "b", "c"]
    for url in ("c", "a", "b"):
        lane.settle(Outcome(url, sha256="x"), f"file of {url}", asked.append)
    rows = list(lane.rows())
    assert [(row.identifier, row.gbifID, row.content) for row in rows] == [
        ("a", "1", "file of a"), ("b", "1", "file of b"), ("a", "2", "file of a"), ("c", "3", "file of c"),
    ]  # fmt: skip


def test_nobody_is_no_observer_whose_share_could_be_used_up():
    pictures = [Candidate(f"u{k}", "Aus bus", gbifID=str(k), recordedBy="anonymous") for k in range(5)]
    asked = []
    Lane("Aus bus", iter(pictures), wanted=5, per_observer=1).advance(asked.append)
    assert len(asked) == 5


def test_headers_that_come_drop_by_drop_end_as_a_timeout(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            taken, _ = server.accept()
            with taken, suppress(OSError):
                taken.recv(65536)
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 400:
                    taken.sendall(bytes([byte]))
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        with open_session("test", private=True) as session:
            reply = ask(session, f"http://127.0.0.1:{server.getsockname()[1]}/a.jpg", timeout_s=0.3, private=True)
        assert (reply.error, reply.content) == ("timeout", b"")
        assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    "address", ["fec0::1", "192.0.0.8", "10.0.0.1", "::1", "169.254.169.254", "100.64.0.1", "fc00::1"]
)
def test_addresses_of_nobody_in_the_open_internet_are_private(address):
    assert not is_public(address)


def test_a_timeout_of_a_later_job_does_not_hide_a_picture_from_those_who_must_not_ask(tmp_path):
    body = b"picture"
    digest = hashlib.sha256(body).hexdigest()
    Media(tmp_path, "a").put(Outcome("u", "a", sha256=digest), body)
    Media(tmp_path, "b").put(Outcome("u", "b", errorCode="timeout", passing=True))
    assert Media(tmp_path, "c").any_age("u").sha256 == digest
    Media(tmp_path, "d").put(Outcome("u", "d", errorCode="http_410"))
    assert Media(tmp_path, "e").any_age("u").errorCode == "http_410"
