"""From the spool into a real SQLite store and back out through MLflow's own client."""

import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from taxaforge import tables
from taxaforge.tracking.ship import ship, ship_and_mark
from taxaforge.tracking.spool import Recorder, close_invocation

SCHEMA = tables.Schema("t", ("identifier",), {"identifier": tables.Column("string", "id")})


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A database with MLflow's tables: making them takes seconds, copying them none."""
    folder = tmp_path_factory.mktemp("store")
    with Recorder(folder / "spool", meta("seed", "seed")):
        pass
    assert ship(spool=folder / "spool", uri=f"sqlite:///{folder}/db", experiment="seed", artifact_root=folder).sent == 1
    return (folder / "db").read_bytes()


@pytest.fixture
def place(tmp_path, monkeypatch, empty_store):
    """A working directory with a database; paths in records are relative to it, as Snakemake's are."""
    monkeypatch.chdir(tmp_path)
    Path("results").mkdir()
    Path("results/mlflow.db").write_bytes(empty_store)
    monkeypatch.setitem(WHERE, "uri", f"sqlite:///{tmp_path}/results/mlflow.db")  # mlflow keeps a store by its uri
    return tmp_path


WHERE = {
    "spool": "results/state/spool",
    "uri": "sqlite:///results/mlflow.db",
    "experiment": "taxaforge",
    "artifact_root": "results/mlartifacts",
}


def meta(record, rule, **more):
    return {
        "record_id": record,
        "invocation": "inv-1",
        "invocation_started": 1000.0,
        "run_name": "moths",
        "rule": rule,
        "wildcards": {},
        "name": rule,
        "key": "k" * 12,
        "git_commit": "abc123",
        "params": {},
        "inputs": {},
        "outputs": {},
        "log": None,
        "benchmark": None,
        "threads": 1,
        **more,
    }


def client():
    from mlflow import MlflowClient

    return MlflowClient(WHERE["uri"])


def runs():
    """Every run by record id; None is the parent."""
    found = client().search_runs([client().get_experiment_by_name(WHERE["experiment"]).experiment_id], max_results=1000)
    by_record = {run.data.tags.get("taxaforge.record"): run for run in found}
    assert len(by_record) == len(found), "a record or parent has two runs"
    return by_record


def written(path, text="x"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def two_jobs():
    """curate writes a table, train_stage reads it and logs a curve."""
    table = "results/collection/metadata.parquet"
    with Recorder(WHERE["spool"], meta("a", "curate", outputs={"metadata": table})):
        tables.write(SCHEMA, [{"identifier": "1"}, {"identifier": "2"}], table)
    stage = meta(
        "b",
        "train_stage",
        name="train_stage family",
        wildcards={"stage": "family"},
        params={"cfg": {"steps": 20, "base": {"rate": 0.001}, "levels": ["order", "family"], "note": "n" * 9000}},
        inputs={"metadata": table, "absent": "nowhere.txt"},
        outputs={"model": "results/diffusion/family", "parts": ["results/s/0/m.json", "results/s/1/m.json"]},
        log="results/logs/b.log",
        benchmark="results/benchmarks/b.jsonl",
    )
    with Recorder(WHERE["spool"], stage) as record:
        for step in (5, 10, 15):
            record.log(step, {"loss": 1 / step, "images": 64 * step})
        record.log(None, {"final": 0.25})
        record.attach("samples/step-000015.png", written("results/work/grid.png"))
        written("results/diffusion/family/unet/config.json", "{}")
        for part in stage["outputs"]["parts"]:
            written(part, part)
        written(stage["log"], "hello")
    written(stage["benchmark"], json.dumps({"s": 12.5, "max_rss": 300.0, "h:m:s": "0:00:12", "mean_load": None}) + "\n")


def test_a_record_comes_back_out_of_the_store_with_everything_it_held(place):
    two_jobs()
    shipped = ship(**WHERE)
    assert (shipped.sent, shipped.failed, shipped.message) == (2, 0, "")
    found = runs()
    parent, curate, stage = found[None], found["a"], found["b"]
    assert parent.info.run_name == "moths" and parent.info.status == "FINISHED" and parent.info.start_time == 1_000_000
    assert stage.data.tags["mlflow.parentRunId"] == curate.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert stage.info.run_name == "train_stage family" and stage.info.status == "FINISHED"
    assert stage.data.params["cfg.steps"] == "20" and stage.data.params["cfg.base.rate"] == "0.001"
    assert stage.data.params["cfg.levels"] == '["order", "family"]' and len(stage.data.params["cfg.note"]) == 6000
    assert stage.data.metrics["final"] == 0.25
    assert stage.data.metrics["benchmark.wall_s"] == 12.5 and stage.data.metrics["benchmark.peak_mib"] == 300.0
    curve = client().get_metric_history(stage.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(5, 0.2), (10, 0.1), (15, 1 / 15)]
    tags = stage.data.tags
    assert tags["rule"] == "train_stage" and tags["wildcards.stage"] == "family" and tags["lineage_key"] == "k" * 12
    assert tags["git_commit"] == tags["mlflow.source.git.commit"] == "abc123"
    assert tags["input.metadata"] == curate.info.run_id and "input.absent" not in tags
    (entry,) = stage.inputs.dataset_inputs
    assert entry.dataset.name == "metadata" and json.loads(entry.dataset.profile) == {"num_rows": 2}
    assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "metadata"}


def artifacts(run, path=""):
    found = []
    for item in client().list_artifacts(run.info.run_id, path):
        found += artifacts(run, item.path) if item.is_dir else [item.path]
    return sorted(found)


def test_outputs_log_and_benchmark_become_artifacts_without_hiding_each_other(place):
    two_jobs()
    ship(**WHERE)
    run = runs()["b"]
    assert artifacts(run) == [
        "benchmark/b.jsonl",
        "log/b.log",
        "outputs/model/family/unet/config.json",
        "outputs/parts/0/m.json",
        "outputs/parts/1/m.json",
        "samples/step-000015.png",
    ]
    assert (
        Path(client().download_artifacts(run.info.run_id, "outputs/parts/1/m.json")).read_text() == "results/s/1/m.json"
    )
    assert list(Path("results/mlartifacts").iterdir())


def test_sending_twice_changes_nothing_and_writes_nothing(place, monkeypatch):
    from mlflow import MlflowClient

    two_jobs()
    ship(**WHERE)
    before = {record: run.info.run_id for record, run in runs().items()}
    for name in CALLS:
        monkeypatch.setattr(MlflowClient, name, lambda *args, **kwargs: pytest.fail("the store has it all"))
    assert ship(**WHERE).sent == 0
    assert {record: run.info.run_id for record, run in runs().items()} == before


CALLS = ("create_run", "log_batch", "log_inputs", "log_artifact", "log_artifacts", "set_terminated")


def summary(run):
    """What must not depend on crashes: everything but ids."""
    tags = {name: value for name, value in run.data.tags.items() if "artifact" not in name}
    stable = {name: value for name, value in tags.items() if name not in ("mlflow.parentRunId", "input.metadata")}
    files = [] if run.data.tags["taxaforge.kind"] == "invocation" else artifacts(run)
    curve = [(point.step, point.value) for point in client().get_metric_history(run.info.run_id, "loss")]
    entries = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
    return run.info.status, stable, run.data.params, run.data.metrics, files, curve, entries


def send_and_crash(monkeypatch, at, after):
    """One round that dies at the `at`-th writing call to the store, before or after it took effect. Did it die?"""
    from mlflow import MlflowClient

    count = [0]

    def wrapped(right):
        def call(self, *args, **kwargs):
            count[0] += 1
            if count[0] == at and not after:
                raise KeyboardInterrupt
            value = right(self, *args, **kwargs)
            if count[0] == at:
                raise KeyboardInterrupt
            return value

        return call

    with monkeypatch.context() as patched:
        for name in CALLS:
            patched.setattr(MlflowClient, name, wrapped(getattr(MlflowClient, name)))
        try:
            ship(**WHERE)
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("after", [False, True], ids=["before the store hears it", "after the store did it"])
def test_a_crash_at_any_call_changes_nothing_once_the_spool_is_sent_again(place, monkeypatch, after):
    two_jobs()
    ship(**WHERE)
    expected = {record: summary(run) for record, run in runs().items()}
    for at in range(1, 100):
        monkeypatch.setitem(WHERE, "experiment", f"crash {at}")  # a new store, as far as the spool knows
        if not send_and_crash(monkeypatch, at, after):
            break
        ship(**WHERE)
        assert {record: summary(run) for record, run in runs().items()} == expected, f"crash at call {at}"
    assert at > 12


def test_a_dead_server_costs_a_warning_and_the_records_go_later(place, capsys):
    two_jobs()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    began = time.monotonic()
    shipped = ship(**{**WHERE, "uri": f"http://127.0.0.1:{port}"})
    assert time.monotonic() - began < 5
    assert (shipped.sent, shipped.failed) == (0, 2)
    assert "does not answer" in shipped.message and "no result is lost" in shipped.message
    assert capsys.readouterr().err.count("Warning:") == 1
    assert ship(**WHERE).sent == 2 and set(runs()) == {None, "a", "b"}


def test_the_shipping_job_leaves_its_outcome_even_when_nothing_could_be_sent(place):
    two_jobs()
    heard = []
    ship_and_mark(
        spool=WHERE["spool"],
        uri="http://127.0.0.1:9",
        experiment="e",
        marker="results/shipped.json",
        invocation="i",
        tell=heard.append,
    )
    assert len(heard) == 1 and "no result is lost" in heard[0]
    outcome = json.loads(Path("results/shipped.json").read_text())
    assert (outcome["sent"], outcome["failed"]) == (0, 2) and "does not answer" in outcome["message"]


def test_a_server_that_accepts_and_never_answers_costs_less_than_ten_seconds(place):
    two_jobs()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        shipped = ship(**{**WHERE, "uri": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        assert time.monotonic() - began < 10 and shipped.failed == 2


def test_one_record_the_store_refuses_does_not_hold_back_the_others(place, capsys):
    two_jobs()
    record = Path(WHERE["spool"], "a", "events.jsonl")
    record.write_text('{"step": 1, "values": {"loss": "no number"}, "time": 1}\n')
    shipped = ship(**WHERE)
    assert (shipped.sent, shipped.failed) == (1, 1) and "a (" in shipped.message
    record.write_text("")
    assert ship(**WHERE).sent == 1


def test_an_unreadable_record_is_named_and_the_rest_is_sent(place, capsys):
    two_jobs()
    written(WHERE["spool"] + "/torn/record.json", '{"record_id"')
    shipped = ship(**WHERE)
    assert shipped.sent == 2 and shipped.failed == 1 and "torn" in shipped.message


def test_a_running_job_shows_live_and_each_round_adds_only_what_is_new(place, monkeypatch):
    from mlflow import MlflowClient

    right, points = MlflowClient.log_batch, []
    monkeypatch.setattr(
        MlflowClient,
        "log_batch",
        lambda self, run, metrics, *rest: (points.append(len(metrics)), right(self, run, metrics, *rest))[1],
    )
    with Recorder(WHERE["spool"], meta("r", "train_stage")) as record:
        record.log(1, {"loss": 1.0})
        assert ship(**WHERE).sent == 0  # without live a running job is left alone
        assert ship(**WHERE, live=True).sent == 0
        run = runs()["r"]
        assert run.info.status == runs()[None].info.status == "RUNNING"
        record.log(2, {"loss": 0.5})
        ship(**WHERE, live=True)
        assert [p.step for p in client().get_metric_history(run.info.run_id, "loss")] == [1, 2]
        assert points == [1, 1]
    assert ship(**WHERE, live=True).sent == 1
    assert runs()["r"].info.status == runs()[None].info.status == "FINISHED"
    assert runs()["r"].info.run_id == run.info.run_id


def test_follow_waits_for_the_benchmark_that_snakemake_writes_after_the_job(place):
    with Recorder(WHERE["spool"], meta("r", "fit", benchmark="results/b.jsonl")):
        pass
    assert ship(**WHERE, live=True).sent == 0
    written("results/b.jsonl", '{"s": 2.0}\n')
    assert ship(**WHERE, live=True).sent == 1
    assert runs()["r"].data.metrics == {"benchmark.wall_s": 2.0}


def test_a_failed_job_says_why_and_a_retry_that_succeeds_finishes_the_invocation(place):
    with pytest.raises(ZeroDivisionError), Recorder(WHERE["spool"], meta("one", "fit", started=time.time() - 9)):
        _ = 1 / 0
    ship(**WHERE)
    found = runs()
    assert found["one"].info.status == found[None].info.status == "FAILED"
    assert found["one"].data.tags["error"] == "ZeroDivisionError: division by zero"
    with Recorder(WHERE["spool"], meta("two", "fit")):
        pass
    ship(**WHERE)
    found = runs()
    assert found["two"].info.status == found[None].info.status == "FINISHED" and len(found) == 3


def test_the_workflow_has_the_last_word_on_its_status_and_killed_jobs_end_with_it(place):
    killed = Recorder(WHERE["spool"], meta("k", "fit"))
    killed.__enter__()
    killed.log(1, {"loss": 1.0})
    close_invocation(WHERE["spool"], "inv-1", "failed")
    assert ship(**WHERE).sent == 1
    assert runs()["k"].info.status == "KILLED" and runs()[None].info.status == "FAILED"
    assert ship(**WHERE).sent == 0


@pytest.mark.parametrize("count, zipped", [(50, False), (51, True)])
def test_a_folder_of_more_than_fifty_files_travels_as_one_archive_with_a_listing(place, count, zipped):
    with Recorder(WHERE["spool"], meta("i", "draw", outputs={"images": "results/images"})):
        for number in range(count):
            written(f"results/images/sp/{number:02d}.png", "p" * number)
    ship(**WHERE)
    names = artifacts(runs()["i"])
    if not zipped:
        assert len(names) == count
        return
    assert names == ["outputs/images/images.files.tsv", "outputs/images/images.zip"]
    place = client().download_artifacts(runs()["i"].info.run_id, names[1])
    with zipfile.ZipFile(place) as archive:
        assert len(archive.namelist()) == count and archive.read("images/sp/07.png") == b"p" * 7
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_an_output_that_a_later_job_replaced_is_not_shown_as_the_earlier_ones(place):
    for record, started in (("old", time.time() - 100), ("new", time.time())):
        with Recorder(WHERE["spool"], meta(record, "fit", outputs={"m": "results/m.txt"}, started=started)):
            written("results/m.txt", record)
    ship(**WHERE)
    assert artifacts(runs()["old"]) == [] and "results/m.txt" in runs()["old"].data.tags["outputs.missing"]
    assert artifacts(runs()["new"]) == ["outputs/m/m.txt"]


def test_a_new_database_gets_the_whole_history(place, empty_store, monkeypatch):
    two_jobs()
    ship(**WHERE)
    Path("results/other.db").write_bytes(empty_store)
    monkeypatch.setitem(WHERE, "uri", f"sqlite:///{place}/results/other.db")
    assert ship(**WHERE).sent == 2 and set(runs()) == {None, "a", "b"}


def test_credentials_reach_neither_the_store_nor_a_message(place, capsys, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # restored after the test
    secret = "hunter2secret"
    uri = f"http://me:{secret}@127.0.0.1:9"
    params = {"runtime": {"tracking_uri": uri, "other": "postgresql://u:otherpass@db/x"}}
    values = meta("s", "fit", params=params, wildcards={"uri": uri}, log="results/l.log", name=f"fit {uri}")
    with pytest.raises(ValueError), Recorder(WHERE["spool"], values):
        written("results/l.log", f"connecting to {uri}")
        raise ValueError(f"cannot reach {uri}")
    assert secret not in ship(**{**WHERE, "uri": uri}).message
    ship(**WHERE)
    run = runs()["s"]
    log = Path(client().download_artifacts(run.info.run_id, "log/l.log")).read_text()
    seen = json.dumps(run.to_dictionary()) + log + "".join(capsys.readouterr())
    assert secret not in seen and "otherpass" not in seen and "***@127.0.0.1:9" in seen


def test_the_command_sends_the_spool_and_says_so(place):
    two_jobs()
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-m", "taxaforge.tracking", "ship"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0 and done.stdout.strip() == "2 records sent, 0 waiting." and done.stderr == ""


def shown(record, name, content="picture"):
    record.attach(name, written("results/work/grid.png", content))


@pytest.fixture
def uploads(monkeypatch):
    """Names of the files that were sent as they are, in order."""
    from mlflow import MlflowClient

    right, sent = MlflowClient.log_artifact, []
    monkeypatch.setattr(
        MlflowClient,
        "log_artifact",
        lambda self, run, file, place=None: (sent.append(Path(file).name), right(self, run, file, place))[1],
    )
    return sent


def test_a_running_jobs_pictures_and_points_show_before_it_ends(place, uploads):
    with Recorder(WHERE["spool"], meta("r", "train_stage")) as record:
        record.log(5, {"loss": 1.0, "loss/level/order": 1.5, "loss/time/0-249": 0.25})
        shown(record, "samples/step-000005.png", "grid of step 5")
        ship(**WHERE)
        assert "r" not in runs()  # without live a running job is left alone
        ship(**WHERE, live=True)
        run = runs()["r"]
        assert run.info.status == "RUNNING" and artifacts(run) == ["samples/step-000005.png"]
        assert run.data.metrics == {"loss": 1.0, "loss/level/order": 1.5, "loss/time/0-249": 0.25}
        copy = client().download_artifacts(run.info.run_id, "samples/step-000005.png")
        assert Path(copy).read_text() == "grid of step 5"
        record.log(10, {"loss": 0.5})
        shown(record, "samples/step-000010.png")
        ship(**WHERE, live=True)
        ship(**WHERE, live=True)
        assert artifacts(run) == ["samples/step-000005.png", "samples/step-000010.png"]
        assert [p.step for p in client().get_metric_history(run.info.run_id, "loss")] == [5, 10]
        shown(record, "last.png")
    assert ship(**WHERE, live=True).sent == 1
    assert artifacts(run) == ["last.png", "samples/step-000005.png", "samples/step-000010.png"]
    assert uploads == ["step-000005.png", "step-000010.png", "last.png"]


def test_pictures_of_a_job_that_nobody_followed_go_with_its_end_once(place, uploads):
    with Recorder(WHERE["spool"], meta("r", "train_stage")) as record:
        shown(record, "a/one.png", "old")
        shown(record, "a/two.png")
        shown(record, "a/one.png", "new")
    Path(WHERE["spool"], "r/artifacts/a/two.png").unlink()
    assert ship(**WHERE).sent == 1 and ship(**WHERE).sent == 0
    run = runs()["r"]
    assert uploads == ["one.png"]  # shown twice, sent once, as it was at the end; one that is gone holds nothing up
    assert Path(client().download_artifacts(run.info.run_id, "a/one.png")).read_text() == "new"


def test_a_picture_the_store_refuses_is_sent_later_and_those_before_it_are_not_sent_again(place, uploads, monkeypatch):
    from mlflow import MlflowClient

    right = MlflowClient.log_artifact
    with Recorder(WHERE["spool"], meta("r", "train_stage")) as record:
        record.log(1, {"loss": 1.0})
        shown(record, "one.png")
        shown(record, "two.png")

        def full(self, run, file, place=None):
            if "two" in file:
                raise OSError("No space left on device")
            right(self, run, file, place)

        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, "log_artifact", full)
            assert "No space left" in ship(**WHERE, live=True).message
        assert runs()["r"].data.metrics == {"loss": 1.0}
    assert ship(**WHERE).sent == 1
    assert artifacts(runs()["r"]) == uploads == ["one.png", "two.png"]


def test_a_stopped_job_shows_as_killed_with_its_sentence_until_it_goes_on(place):
    with pytest.raises(SystemExit), Recorder(WHERE["spool"], meta("one", "fit", started=time.time() - 9)) as record:
        record.fail("Stage base is saved at step 40 of 100. Run again to go on from there.", "stopped")
        raise SystemExit(75)
    assert ship(**WHERE).sent == 1
    found = runs()
    assert found["one"].info.status == found[None].info.status == "KILLED"
    assert found["one"].data.tags["error"] == "Stage base is saved at step 40 of 100. Run again to go on from there."
    with Recorder(WHERE["spool"], meta("two", "fit")):
        pass
    ship(**WHERE)
    assert runs()["two"].info.status == runs()[None].info.status == "FINISHED"
    assert runs()["one"].info.status == "KILLED"


def test_a_failure_counts_for_more_than_a_stop(place):
    for rule, status in (("fit", "stopped"), ("draw", "failed")):
        with Recorder(WHERE["spool"], meta(rule, rule)) as record:
            record.fail("why", status)
    ship(**WHERE)
    assert runs()[None].info.status == "FAILED"
