"""What was answered once stays answered: across kills, across processes, and never changed unseen."""

import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from taxaforge.errors import TaxaforgeError
from taxaforge.taxonomy.store import AnswerStore, DamagedStore, Entry, StoreNotWritable


def entry(
    params="scientificName=Aus+bus",
    content=b"{}",
    release="r1",
    checklist="col_xr",
    at="2026-01-02T03:04:05Z",
    base="https://x",
):
    digest = hashlib.sha256(content).hexdigest()
    return Entry("GET", "/v2/species/match", params, base, checklist, release, at, 200, 1, digest)


@pytest.fixture
def store(tmp_path):
    return AnswerStore(tmp_path / "answers")


def test_an_answer_put_is_found_by_another_reader(store):
    store.put(entry(content=b'{"a": 1}'), b'{"a": 1}')
    store.put(entry("scientificName=Cus+dus", b"[]"), b"[]")
    for reader in (store, AnswerStore(store.root)):
        found = reader.find("/v2/species/match?scientificName=Aus+bus")
        assert found == entry(content=b'{"a": 1}') and reader.body(found) == b'{"a": 1}'
        assert reader.find("/v2/species/match?scientificName=Eus+fus") is None


def test_nothing_is_created_by_looking(store):
    assert store.find("/x") is None and store.find("/x", "https://x") is None
    assert store.release("col_xr", "https://x") is None
    assert not store.root.exists()


def test_the_files_are_named_by_content_and_the_index_is_one_line_an_answer(store):
    store.put(entry(content=b"{}"), b"{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert (store.root / "bodies" / digest[:2] / digest).read_bytes() == b"{}"
    (line,) = (store.root / "index.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line) == {
        "method": "GET", "path": "/v2/species/match", "params": "scientificName=Aus+bus", "base": "https://x", "checklist": "col_xr",
        "release": "r1", "retrievedAt": "2026-01-02T03:04:05Z", "status": 200, "tries": 1, "sha256": digest,
    }  # fmt: skip


def test_the_newest_answer_wins_and_the_older_one_stays(store):
    store.put(entry(content=b"{}", release="r1"), b"{}")
    store.put(entry(content=b"[]", release="r2"), b"[]")
    for reader in (store, AnswerStore(store.root)):
        assert reader.body(reader.find(entry().request)) == b"[]"
        assert reader.release("col_xr", "https://x") == "r2" and reader.release("gbif_backbone", "https://x") is None
    assert len(store.index.read_text().splitlines()) == 2 and store.path(entry(content=b"{}").sha256).exists()


def test_who_answered_is_part_of_the_question(store):
    store.put(entry(content=b"{}", release="r1"), b"{}")
    store.put(entry(content=b"[]", release="r9", base="http://mirror"), b"[]")
    store.put(entry("only=x", content=b"{}"), b"{}")
    for reader in (store, AnswerStore(store.root)):
        assert reader.find(entry().request, "https://x").sha256 == entry(content=b"{}").sha256
        assert reader.find(entry().request, "http://mirror").sha256 == entry(content=b"[]").sha256
        assert reader.find(entry().request) == reader.find(entry().request, "http://mirror")  # the newest of all
        assert reader.find(entry().request, "http://another") is None
        assert reader.find("/v2/species/match?only=x", "http://mirror") is None
        assert (reader.release("col_xr", "https://x"), reader.release("col_xr", "http://mirror")) == ("r1", "r9")
        assert reader.release("col_xr", "http://another") is None


def test_an_answer_without_a_release_does_not_hide_the_release_of_others(store):
    store.put(entry("a=1", release="r1"), b"{}")
    store.put(entry("a=2", release=None), b"{}")
    assert store.release("col_xr", "https://x") == "r1"


def test_an_unfinished_last_line_is_left_out_and_cut_off_by_the_next_writer(store):
    store.put(entry("a=1"), b"{}")
    whole = store.index.read_bytes()
    store.put(entry("a=2"), b"{}")
    for cut in (1, 30, len(store.index.read_bytes()) - len(whole) - 1):
        store.index.write_bytes(whole + whole[:cut])
        reader = AnswerStore(store.root)
        assert reader.find(entry("a=1").request) and reader.find(entry("a=2").request) is None
        reader.put(entry("a=2"), b"{}")
        assert len(store.index.read_bytes().splitlines()) == 2
        assert AnswerStore(store.root).find(entry("a=2").request) == entry("a=2")


def test_an_index_that_is_only_half_a_line_is_an_empty_one(store):
    store.root.mkdir(parents=True)
    store.index.write_bytes(b'{"method": "G' + b"x" * 100_000)
    assert store.find(entry().request) is None
    store.put(entry(), b"{}")
    assert store.find(entry().request) == entry() and len(store.index.read_bytes().splitlines()) == 1


def test_what_another_process_adds_is_seen(store):
    other = AnswerStore(store.root)
    store.put(entry("a=1"), b"{}")
    assert other.find(entry("a=1").request)
    other.put(entry("a=2"), b"{}")
    assert store.find(entry("a=2").request) and store.release("col_xr", "https://x") == "r1"


def test_a_deleted_body_is_a_miss_and_a_changed_one_an_error_that_names_file_and_remedy(store):
    content = b'{"usage": "Aus bus"}'
    store.put(entry(content=content), content)
    path = store.path(entry(content=content).sha256)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedStore, match="delete it and ask again") as caught:
            store.body(store.find(entry().request))
        assert str(path) in str(caught.value) and isinstance(caught.value, TaxaforgeError)
    path.unlink()
    assert store.body(store.find(entry().request)) is None


def test_putting_an_answer_again_mends_its_damaged_body(store):
    store.put(entry(), b"{}")
    store.path(entry().sha256).write_bytes(b"{ ")
    store.put(entry(), b"{}")
    assert store.body(store.find(entry().request)) == b"{}"


def test_bytes_under_another_name_are_refused(store):
    with pytest.raises(ValueError, match="other bytes"):
        store.put(entry(content=b"{}"), b"[]")
    assert not store.root.exists()


@pytest.mark.parametrize(
    "line", [b"not json\n", b"{}\n", b"[]\n", b"\n", b"\x00\x00\n", b'{"retrievedAt": "yesterday"}\n', b"\xff\n"]
)
def test_a_broken_line_that_is_complete_is_an_error_with_its_number(store, line):
    store.put(entry(), b"{}")
    store.index.write_bytes(store.index.read_bytes() + line)
    with pytest.raises(DamagedStore, match=r"index\.jsonl, line 2 is no record"):
        AnswerStore(store.root).find("/anything")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_nothing_is_named(store):
    store.root.parent.chmod(0o500)
    with pytest.raises(StoreNotWritable, match=r"network\.store"):
        store.put(entry(), b"{}")
    store.root.parent.chmod(0o700)


def test_a_store_below_a_file_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreNotWritable, match=r"network\.store"):
        AnswerStore(tmp_path / "file" / "answers").put(entry(), b"{}")


WRITER = """
import hashlib, sys
from taxaforge.taxonomy.store import AnswerStore, Entry
root, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = AnswerStore(root)
for number in range(count):
    content = (f"{{{who}-{number}}}" * 300).encode()
    digest = hashlib.sha256(content).hexdigest()
    store.put(Entry("GET", "/x", f"n={who}-{number}", "b", "col_xr", None, "2026-01-01T00:00:00Z", 200, 1, digest), content)
    print(f"{who}-{number}", flush=True)
"""


def writer(root, who, count):
    command = [sys.executable, "-c", WRITER, str(root), who, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def complete(store, name):
    found = store.find(f"/x?n={name}")
    return found is not None and store.body(found) == (f"{{{name}}}" * 300).encode()


def test_writers_at_the_same_time_lose_nothing(store):
    running = [writer(store.root, who, 40) for who in "abc"]
    names = [line.strip() for process in running for line in process.communicate(timeout=60)[0].splitlines()]
    assert len(names) == 120 and all(complete(store, name) for name in names)
    assert len(store.index.read_bytes().splitlines()) == 120


def test_a_writer_waits_for_the_one_before(store):
    store.put(entry("a=1"), b"{}")
    with store.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = threading.Thread(target=AnswerStore(store.root).put, args=(entry("a=2"), b"{}"))
        second.start()
        second.join(0.3)
        assert second.is_alive() and store.find(entry("a=2").request) is None
    second.join(10)
    assert store.find(entry("a=2").request)


def test_sigkill_at_any_moment_loses_nothing_that_was_finished(store):
    finished, draw = [], random.Random(1)
    for round_ in range(6):
        process = writer(store.root, f"r{round_}", 100_000)
        finished.append(process.stdout.readline().strip())  # it is at work
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        finished += process.communicate()[0].split("\n")[:-1]
    assert len(finished) > 6 and all(complete(AnswerStore(store.root), name) for name in finished)
    store.put(entry(), b"{}")
    assert store.body(store.find(entry().request)) == b"{}"
    lines = store.index.read_bytes().splitlines()
    assert len(finished) <= len(lines) - 1 <= len(finished) + 6  # at most one of each round was put and not yet said


def test_a_writer_killed_between_body_and_line_leaves_no_answer(store, monkeypatch):
    def die(self, line):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AnswerStore, "_write_line", die)
        with pytest.raises(KeyboardInterrupt):
            store.put(entry(), b"{}")
    assert store.path(entry().sha256).exists() and store.find(entry().request) is None
    store.put(entry(), b"{}")
    assert store.find(entry().request) == entry()


def test_places_only_are_held_in_memory(store):
    store.root.mkdir(parents=True)
    line = json.dumps(replace(entry(), params="PARAMS").__dict__)
    store.index.write_text("".join(line.replace("PARAMS", f"n={n}") + "\n" for n in range(2000)))
    assert (
        store.find("/v2/species/match?n=1999").params == "n=1999"
        and store.find("/v2/species/match?n=0").params == "n=0"
    )
    (places,) = store.places.values()
    assert len(places) == 2000 and all(type(place) is int for place in places.values())
