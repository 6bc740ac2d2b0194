"""What a job leaves behind, with nothing but the standard library."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from taxaforge.tracking.records import Makers, Scrubber, flatten, load, without_credentials
from taxaforge.tracking.spool import Recorder


def test_events_are_readable_while_the_job_runs_and_the_record_appears_at_its_end(tmp_path):
    with Recorder(tmp_path, {"rule": "fit", "invocation": "i", "record_id": "r"}) as record:
        record.log(3, {"loss": 0.5})
        (event,) = [json.loads(line) for line in (tmp_path / "r/events.jsonl").read_text().splitlines()]
        assert event["step"] == 3 and event["values"] == {"loss": 0.5}
        assert not (tmp_path / "r/record.json").exists() and not load(tmp_path)[0][0].over
    record = load(tmp_path)[0][0]
    assert record.over and record.meta["status"] == "finished" and record.meta["ended"] >= record.meta["started"]


def test_an_exception_is_recorded_and_passes_on(tmp_path):
    with pytest.raises(SystemExit), Recorder(tmp_path, {"rule": "fit", "invocation": "i", "record_id": "r"}):
        raise SystemExit(143)
    meta = load(tmp_path)[0][0].meta
    assert meta["status"] == "failed" and meta["error"] == "SystemExit: 143"


def test_the_sentence_for_people_stands_above_the_exit_status(tmp_path):
    with pytest.raises(SystemExit), Recorder(tmp_path, {"rule": "fit", "invocation": "i"}) as record:
        record.fail("No GPU is visible.")
        raise SystemExit(1)
    assert load(tmp_path)[0][0].meta["error"] == "No GPU is visible."


def test_a_silent_recorder_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Recorder.silent() as record:
        record.log(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_attempts_of_one_job_get_folders_of_their_own(tmp_path):
    for _ in range(3):
        with Recorder(tmp_path, {"rule": "fit", "invocation": "i", "name": "fit a/b ../c"}):
            pass
    assert len(load(tmp_path)[0]) == 3


def test_numbers_that_json_does_not_know_survive(tmp_path):
    with Recorder(tmp_path, {"rule": "fit", "invocation": "i", "record_id": "r"}) as record:
        record.log(1, {"loss": float("nan"), "top": float("inf")})
    values = load(tmp_path)[0][0].events()[0]["values"]
    assert values == {"loss": "nan", "top": "inf"}


def test_a_spool_that_cannot_be_written_costs_one_warning_and_no_job(tmp_path, capsys):
    (tmp_path / "spool").write_text("a file, not a folder")
    with Recorder(tmp_path / "spool", {"rule": "fit", "invocation": "i"}) as record:
        record.log(1, {"loss": 1.0})
        done = True
    assert done and capsys.readouterr().err.count("Warning:") == 1


def test_the_recorder_imports_nothing_heavy():
    code = "import sys, taxaforge.tracking.spool, taxaforge.tracking.ship; print(sorted(m for m in sys.modules if '.' not in m))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{heavy}'" in names for heavy in ("mlflow", "numpy", "pandas", "torch", "pyarrow", "pydantic"))


def test_the_maker_of_an_input_is_the_last_that_ended_before_the_reader_started(tmp_path):
    def make(record, started, ended, status="finished"):
        folder = tmp_path / record
        folder.mkdir()
        value = {"record_id": record, "invocation": "i", "started": started, "ended": ended, "status": status}
        (folder / "record.json").write_text(json.dumps({**value, "outputs": {"model": "results/model"}}))

    make("first", 0, 1)
    make("broken", 1, 2, "failed")
    make("second", 5, 6)
    makers = Makers(load(tmp_path)[0])
    assert makers.before(Path("results/model"), 3).id == "first"
    assert makers.before(Path("results/model/unet/config.json"), 7).id == "second"
    assert makers.before(Path("results/model"), 0.5) is None
    assert makers.newest(Path("results/model")).id == "second"


def test_nested_settings_get_dotted_names():
    assert dict(flatten({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}})) == {"a.b.c": 1, "d": [1, 2], "e": {}}


@pytest.mark.parametrize(
    "uri, bare, user, password",
    [
        pytest.param("http://h:5000/x", "http://h:5000/x", None, None, id="none"),
        pytest.param("https://me:p%40ss@h/x", "https://h/x", "me", "p@ss", id="percent-encoded password"),
        pytest.param("sqlite:///results/mlflow.db", "sqlite:///results/mlflow.db", None, None, id="file keeps slashes"),
    ],
)
def test_credentials_are_taken_out_of_a_uri(uri, bare, user, password):
    assert without_credentials(uri) == (bare, user, password)


def test_the_scrubber_knows_uris_and_given_secrets():
    scrub = Scrubber("hunter2", None, "")
    assert scrub("postgresql://u:pw@db/x and hunter2!") == "postgresql://***@db/x and ***!"
    assert scrub("mail me@example.org at 10:30, http://plain/x") == "mail me@example.org at 10:30, http://plain/x"


def test_a_picture_is_copied_into_the_record_and_its_line_names_it(tmp_path):
    picture = tmp_path / "grid.png"
    picture.write_bytes(b"first")
    with Recorder(tmp_path / "spool", {"rule": "fit", "invocation": "i", "record_id": "r"}) as record:
        record.log(5, {"loss": 0.5})
        record.attach("samples/step-000005.png", picture)
        picture.write_bytes(b"what the job draws next")
        (found,) = load(tmp_path / "spool")[0]
        point, shown = found.events()
        assert (point["step"], shown["artifact"]) == (5, "samples/step-000005.png") and shown["time"] >= point["time"]
        assert found.picture(shown).read_bytes() == b"first"


@pytest.mark.parametrize("name, kept", [
    pytest.param("/etc/x.png", "etc/x.png", id="no absolute path"),
    pytest.param("../../x.png", "x.png", id="no way up"),
    pytest.param("a/../b/./x.png", "a/b/x.png", id="no way up in the middle"),
    pytest.param("a\\..\\x.png", "a/x.png", id="nor in the other system's way"),
    pytest.param("level: order/%2e%2e/x?.png", "level_ order/_2e_2e/x_.png", id="nothing that an address would read"),
])  # fmt: skip
def test_a_picture_never_leaves_its_record(tmp_path, name, kept):
    picture = tmp_path / "grid.png"
    picture.write_bytes(b"x")
    with Recorder(tmp_path / "spool", {"rule": "fit", "invocation": "i", "record_id": "r"}) as record:
        record.attach(name, picture)
    assert (tmp_path / "spool/r/artifacts" / kept).read_bytes() == b"x"
    assert load(tmp_path / "spool")[0][0].events()[0]["artifact"] == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "spool"]


@pytest.mark.parametrize("name", ["", "/", "../..", "./..."])
def test_a_name_of_nothing_is_refused(tmp_path, name):
    with Recorder(tmp_path, {"rule": "fit", "invocation": "i"}) as record, pytest.raises(ValueError, match="no name"):
        record.attach(name, tmp_path / "grid.png")


def test_a_picture_that_cannot_be_copied_costs_one_warning_and_leaves_no_line(tmp_path, capsys):
    with Recorder(tmp_path, {"rule": "fit", "invocation": "i"}) as record:
        record.attach("a.png", tmp_path / "nowhere.png")
        record.attach("b.png", tmp_path / "nowhere.png")
    assert capsys.readouterr().err.count("Warning:") == 1 and load(tmp_path)[0][0].events() == []


def test_a_silent_recorder_shows_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(b"x")
    with Recorder.silent() as record:
        record.attach("a.png", "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_job_that_stopped_with_its_work_saved_has_not_failed(tmp_path):
    with pytest.raises(SystemExit), Recorder(tmp_path, {"rule": "fit", "invocation": "i"}) as record:
        record.fail("Saved at step 40.", "stopped")
        raise SystemExit(75)
    meta = load(tmp_path)[0][0].meta
    assert (meta["status"], meta["error"]) == ("stopped", "Saved at step 40.")
