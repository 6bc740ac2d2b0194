"""One run, one release; and what a name that the service refuses does to the others."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from taxaforge.taxonomy.answers import Answer
from taxaforge.taxonomy.asking import GIVE_UP_AFTER, HOPELESS, REFUSED_AT_MOST, NamesNotAnswered, ask_all, question
from taxaforge.taxonomy.sources import gbif
from taxaforge.taxonomy.taxa_list import LONGEST, Entry
from taxaforge.taxonomy.transport import (
    BadPayload,
    GbifError,
    NewRelease,
    NoJson,
    RateLimited,
    Rejected,
    Unavailable,
)


def keyed(*written):
    entries = [Entry(n, name, "", None, {}) for n, name in enumerate(written, 1)]
    return {question(entry.parsed(), entry): entry.parsed() for entry in entries}


@pytest.fixture
def service(monkeypatch):
    """A service that knows no name, of release `release`; `asked` and `metadata` are what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            body = {"diagnostics": {"matchType": "NONE"}}
            if "/metadata" in self.path:
                server.metadata.append(self.path)
                body = {"mainIndex": {"clbDatasetKey": server.release}}
            else:
                server.asked.append(parse_qs(urlsplit(self.path).query)["scientificName"][0])
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.asked, server.metadata, server.release = True, [], [], "R1"
    monkeypatch.setenv("GBIF_API_BASE", f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


LETTERS = [f"Nomen {letter}us" for letter in "abcde"]


def releases(network, names):
    with gbif.session("col_xr", network) as ask:
        answers, failures = ask_all(keyed(*names), ask)
    assert not failures and len(answers) == len(names)
    return {answers[key].evidence[0].release for key in answers}


@pytest.mark.parametrize("new", [0, 2, 4])
def test_a_run_with_one_new_question_is_of_the_release_that_the_service_has(service, network, new):
    known = [name for n, name in enumerate(LETTERS) if n != new]
    assert releases(network, known) == {"R1"}
    service.release, service.asked[:], service.metadata[:] = "R2", [], []
    assert releases(network, LETTERS) == {"R2"}  # wherever in the alphabet the new one stands
    assert sorted(service.asked) == LETTERS and len(service.metadata) == 1
    assert releases(network, LETTERS) == {"R2"}
    assert len(service.asked) == 5 and len(service.metadata) == 1


def test_a_run_with_one_new_question_of_the_same_release_asks_only_that(service, network):
    releases(network, LETTERS[:4])
    service.asked.clear()
    assert releases(network, LETTERS) == {"R1"} and service.asked == LETTERS[4:]


def test_a_run_that_the_store_answers_asks_nobody(service, network):
    releases(network, LETTERS)
    service.release, service.asked[:], service.metadata[:] = "R2", [], []
    assert releases(network, LETTERS[1:]) == {"R1"} and not service.asked and not service.metadata


def test_a_store_of_two_releases_ends_in_one(service, network):
    releases(network, LETTERS[2:])
    service.release = "R2"
    releases(network, LETTERS[:2])
    service.release, service.metadata[:] = "R3", []
    assert releases(network, LETTERS) == {"R3"} and len(service.metadata) == 1


def test_answers_before_the_new_release_are_thrown_away():
    tries = []

    def ask(name, hints):
        tries.append(name.canonical)
        if tries.count("Nomen cus") == 1 and name.canonical == "Nomen cus":
            raise NewRelease("new")
        return Answer(match_type=str(len(tries)))

    answers, failures = ask_all(keyed(*LETTERS), ask)
    assert not failures and [answer.match_type for answer in answers.values()] == list("45678")


NAMES = [f"Nomen {a}{b}us" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"]


def failing(error, bad):
    def ask(name, hints):
        if name.canonical in bad:
            raise error("https://api.gbif.org answered 414.")
        return Answer()

    return ask


@pytest.mark.parametrize("error", [Rejected, BadPayload])
def test_names_that_fail_for_good_do_not_keep_the_later_ones_from_being_asked(error):
    bad = NAMES[3 : 3 + 4 * GIVE_UP_AFTER]
    answers, failures = ask_all(keyed(*NAMES), failing(error, bad))
    assert len(answers) == len(NAMES) - len(bad) and {key[0] for key in failures} == set(bad)
    assert all(type(failure) is error and "correct or delete" in str(failure) for failure in failures.values())


@pytest.mark.parametrize("error", [Unavailable, RateLimited, NoJson])
def test_a_service_out_of_order_is_left_in_peace(error):
    answers, failures = ask_all(keyed(*NAMES), failing(error, NAMES))
    assert not answers and sum("Not asked" not in str(failure) for failure in failures.values()) == GIVE_UP_AFTER
    assert HOPELESS not in " ".join(map(str, failures.values()))


def test_a_service_that_refuses_everything_is_not_asked_everything():
    answers, failures = ask_all(keyed(*NAMES), failing(Rejected, NAMES))
    assert not answers and len(failures) == len(NAMES) > REFUSED_AT_MOST
    assert sum("Not asked" in str(failure) for failure in failures.values()) == len(NAMES) - REFUSED_AT_MOST


def said(reasons, **more):
    return str(NamesNotAnswered(reasons, 9, len(reasons), **more))


def test_the_remedy_is_that_of_the_failure():
    refused, waiting = {"Aus bus": f"414. {HOPELESS}"}, {f"Cus d{n}us": "503." for n in range(9)}
    assert "correct or delete them" in said(refused) and "Run the same command again" not in said(refused)
    assert "Run the same command again" in said(waiting) and "correct or delete" not in said(waiting)
    both = said(waiting | refused)
    assert "correct or delete them" in both and "Run the same command again" in both
    assert "'Aus bus'" in both  # whom a person must see to, is not hidden behind those who only wait
    assert "taxonomy.offline" in said(refused, offline=True)


@pytest.mark.parametrize("column", ["name", "author", "hints"])
def test_a_cell_of_endless_text_is_no_question(column):
    long = "Aus bus " + "x" * 10_000
    cells = {"name": "Aus bus", "author": "", "hints": {}} | {column: {"family": long} if column == "hints" else long}
    entry = Entry(1, cells["name"], cells["author"], None, cells["hints"])
    name = entry.parsed()
    assert name.problem == "excluded_name_type" and "shorten the cell" in name.why and name.verbatim == cells["name"]
    assert question(name, entry) is None


@pytest.mark.parametrize("letter", ["x", "é", "日"])
def test_the_longest_question_fits_into_an_address(letter):
    from taxaforge.taxonomy.manners import canonical

    def entry(count):
        return Entry(1, "Aus bus", letter * count, None, {"family": "Aidae"})

    fits = max(count for count in range(LONGEST) if not entry(count).parsed().problem)
    assert fits > 300 and len(canonical({"a": entry(fits).author})) < 8_000


def test_a_refused_name_is_an_error_and_never_no_match(service, network):
    with gbif.session("col_xr", network | {"tries": 1}) as ask:
        service.RequestHandlerClass.do_GET = lambda self: self.send_error(414)
        answers, failures = ask_all(keyed("Aus bus"), ask)
    (failure,) = failures.values()
    assert not answers and isinstance(failure, Rejected) and isinstance(failure, GbifError) and "414" in str(failure)
