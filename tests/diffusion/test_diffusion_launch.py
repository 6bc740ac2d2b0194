"""Several processes behave as one function call: same words, same errors, and none is left behind.

The first half replaces `stage.train` in the workers by a few lines without torch; the second trains for real.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from taxaforge import progress
from taxaforge.diffusion import checkpoint, crew, launch
from taxaforge.diffusion.checkpoint import Stopped
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines

STAND_IN = """
import ctypes, json, os, signal, sys, threading, time, types
from pathlib import Path
from types import SimpleNamespace

def train(*, what, folder, log=None, show=None, **rest):
    from taxaforge.diffusion.checkpoint import Stopped, stop_flag
    from taxaforge.errors import TaxaforgeError
    rank = int(os.environ["RANK"])
    if what == "slow start" and rank == 1:
        Path(folder, "pid-1").write_text(str(os.getpid()))
        time.sleep(60)
    with stop_flag() as stop:
        Path(folder, f"pid-{rank}").write_text(str(os.getpid()))
        act(what, Path(folder), rank, log, show, rest, stop, Stopped, TaxaforgeError)

def everyone(folder):
    while len(list(folder.glob("pid-*"))) < int(os.environ["WORLD_SIZE"]):
        time.sleep(0.01)

def act(what, folder, rank, log, show, rest, stop, Stopped, TaxaforgeError):
    everyone(folder)
    if what == "report":
        assert (log is None) == (show is None) == (rank > 0)
        (folder / f"facts-{rank}.json").write_text(json.dumps({"environment": dict(os.environ), "rest": rest}))
        print("to stdout", rank); print("to stderr", rank, file=sys.stderr)
        if log:
            log(1, {"loss": 0.5, "bad": float("nan")})
            (folder / "new.png").write_text("picture")
            show("samples/new.png", folder / "new.png")
            (folder / "new.png").unlink()
            log(None, {"loss": 0.25})
    elif what == "progress":
        from taxaforge.progress import Progress
        Progress(f"stand in {rank}", 2, "steps")(2)
    elif what == "train":
        while not stop.is_set():
            time.sleep(0.01)
        if rank == 0:
            time.sleep(0.5)  # the checkpoint takes its time, the others have left
            (folder / "saved").write_text("")
        raise Stopped(f"Saved at step 2 by rank {rank}.")
    elif what == "slow start":
        while True:
            time.sleep(0.01)
    elif what == "saving fails":
        while not stop.is_set():
            time.sleep(0.01)
        if rank == 0:
            time.sleep(0.3)
            raise TaxaforgeError("The state folder is gone.")
        raise Stopped("Rank 1 believes that all is saved.")
    elif what == "sentence" and rank == 1:
        error = TaxaforgeError("The pack is empty. Remake it.")
        error.exit_code = 5
        raise error
    elif what == "crash" and rank == 1:
        raise ValueError("shapes (3,) and (4,)")
    elif what == "die" and rank == 1:
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "echo of a death":  # a peer notices and speaks before the parent sees the corpse
        if rank == 1:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("Connection closed by peer")
    elif what == "hang at the end" and rank == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    elif what == "hang at the end":
        log(1, {"loss": 1.0})
    else:
        while True:  # deaf to SIGTERM: a collective that waits for a lost peer
            time.sleep(0.01)

stage = types.ModuleType("taxaforge.diffusion.stage")
stage.train = train
sys.modules["taxaforge.diffusion.stage"] = stage
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A folder for what the workers leave; they run STAND_IN."""
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=os.pathsep)
    monkeypatch.setattr(crew, "GRACE_S", 0.5)
    monkeypatch.setattr(crew, "LEAVING_S", 0.5)
    folder = tmp_path / "left"
    folder.mkdir()
    return folder


def alive(folder: Path, within_s: float = 0.0) -> list[str]:
    """Workers that still run after a while."""
    until = time.monotonic() + within_s
    while True:
        left = []
        for file in folder.glob("pid-*"):
            try:
                state = Path("/proc", file.read_text(), "stat").read_text().rsplit(")", 1)[1].split()[0]
            except FileNotFoundError:
                continue
            left += [file.name] if state != "Z" else []
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.02)


def wait_for(*paths: Path, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while not all(path.exists() and path.stat().st_size for path in paths):
        assert time.monotonic() < until, f"{paths} did not appear"
        time.sleep(0.01)


def pids(folder: Path, processes: int = 2) -> list[Path]:
    return [folder / f"pid-{rank}" for rank in range(processes)]


def parent(folder: Path, what: str, processes: int = 2, saving_s: float = 60.0) -> subprocess.Popen:
    """A process that trains with two workers, and prints how that ended."""
    code = f"""
        from taxaforge.diffusion import crew, launch
        from taxaforge.errors import TaxaforgeError
        crew.GRACE_S, crew.SAVING_S = 0.5, {saving_s}
        try:
            launch.train({processes}, what={what!r}, folder={str(folder)!r})
            print("done")
        except TaxaforgeError as error:
            print(type(error).__name__, error.exit_code, error)
        """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_process_is_a_plain_call(monkeypatch):
    seen = {}
    stage = SimpleNamespace(train=lambda **arguments: seen.update(arguments))
    monkeypatch.setattr("taxaforge.diffusion.stage", stage, raising=False)
    launch.train(1, log=print, show=repr, stage="order", seed=3)
    assert seen == {"log": print, "show": repr, "stage": "order", "seed": 3}


def test_metrics_pictures_and_output_of_rank_0_arrive_in_order(stand_in, capfd):
    heard = []
    launch.train(
        2, what="report", folder=stand_in, seed=3, init=None, cfg={"levels": ["a"], "ema": 0.5},
        log=lambda step, values: heard.append((step, values)),
        show=lambda name, path: heard.append((name, Path(path).read_text())),
    )  # fmt: skip
    assert heard[0][0] == 1 and heard[0][1]["loss"] == 0.5 and heard[0][1]["bad"] != heard[0][1]["bad"]
    assert heard[1:] == [("samples/new.png", "picture"), (None, {"loss": 0.25})]
    said = capfd.readouterr()
    assert "to stdout 0" in said.out.splitlines() and "to stderr 0" in said.err.splitlines()
    assert {"[rank 1] to stdout 1", "[rank 1] to stderr 1"} <= set(said.err.splitlines())
    facts = json.loads((stand_in / "facts-0.json").read_text())
    assert facts["rest"] == {"seed": 3, "init": None, "cfg": {"levels": ["a"], "ema": 0.5}}


def test_progress_of_rank_0_reaches_the_terminal_of_a_job_that_is_alone_there(stand_in, capfd):
    terminal = io.StringIO()
    progress.echo_to(terminal)
    try:
        launch.train(2, what="progress", folder=str(stand_in))
    finally:
        progress.echo_to(None)
    assert terminal.getvalue().startswith("stand in 0: 2/2 steps (100%)") and terminal.getvalue().count("\n") == 1
    log = capfd.readouterr().err
    assert log.count("stand in 0: 2/2") == 1 and log.count("[rank 1] stand in 1: 2/2") == 1


def test_each_worker_learns_who_it_is_and_shares_the_threads(stand_in, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("TAXAFORGE_RUNTIME", "{}")
    monkeypatch.setenv("RANK", "9")
    launch.train(3, what="report", folder=stand_in)
    told = [json.loads((stand_in / f"facts-{rank}.json").read_text())["environment"] for rank in range(3)]
    for rank, environment in enumerate(told):
        assert environment["RANK"] == environment["LOCAL_RANK"] == str(rank)
        assert environment["WORLD_SIZE"] == environment["LOCAL_WORLD_SIZE"] == "3"
        assert environment["OMP_NUM_THREADS"] == "2" and environment["TAXAFORGE_RUNTIME"] == "{}"
        assert environment["MASTER_ADDR"] == "127.0.0.1"
    assert len({environment["MASTER_PORT"] for environment in told}) == 1


@pytest.mark.parametrize("what, words, code", [
    pytest.param("sentence", r"^The pack is empty\. Remake it\.$", 5, id="a sentence comes back as it is"),
    pytest.param("crash", r"Rank 1 of 2 ended with exit code 1; .*ValueError: shapes \(3,\) and", 1, id="a crash"),
    pytest.param("die", r"Rank 1 of 2 was killed by SIGKILL; its last words: about to die\. Was it the", 1, id="a kill"),
    pytest.param("echo of a death", r"Rank 1 of 2 was killed by SIGKILL", 1, id="not what its peers say about it"),
])  # fmt: skip
def test_a_worker_that_fails_takes_the_others_down_and_is_named(stand_in, what, words, code, capfd):
    with pytest.raises(crew.WorkerFailed, match=words) as raised:
        launch.train(2, what=what, folder=stand_in)
    assert raised.value.exit_code == code and isinstance(raised.value, TaxaforgeError)
    assert alive(stand_in) == []
    assert ("Traceback" in capfd.readouterr().err) == (what in ("crash", "echo of a death"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_all_and_waits_until_rank_0_has_saved(stand_in, number):
    process = parent(stand_in, "train")
    wait_for(*pids(stand_in))
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert out.strip() == "Stopped 75 Saved at step 2 by rank 0.", err
    assert (stand_in / "saved").exists() and alive(stand_in) == []


def test_workers_that_were_stopped_by_others_are_no_failure(stand_in):
    process = parent(stand_in, "train")
    wait_for(*pids(stand_in))
    for file in pids(stand_in):  # as Slurm does: to every process, here without the parent
        os.kill(int(file.read_text()), signal.SIGTERM)
    assert process.communicate(timeout=60)[0].strip() == "Stopped 75 Saved at step 2 by rank 0."


def test_a_signal_before_training_began_stops_at_once(stand_in):
    process = parent(stand_in, "slow start")
    wait_for(*pids(stand_in))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert out.startswith("Stopped 75 The training was asked to stop and saved nothing new"), err
    assert alive(stand_in) == []


def test_workers_that_are_deaf_to_the_wish_are_ended_in_the_end(stand_in):
    process = parent(stand_in, "deaf", saving_s=0.5)
    wait_for(*pids(stand_in))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert out.startswith("WorkerFailed 1 Rank ") and "did not end when it was asked to" in out, out + err
    assert alive(stand_in) == []


def test_a_failure_while_saving_is_not_reported_as_saved(stand_in):
    process = parent(stand_in, "saving fails")
    wait_for(*pids(stand_in))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60)[0].strip() == "WorkerFailed 1 The state folder is gone."


def test_finished_work_counts_when_another_rank_will_not_leave(stand_in):
    heard, began = [], time.monotonic()
    launch.train(2, what="hang at the end", folder=stand_in, log=lambda step, values: heard.append(step))
    assert heard == [1] and alive(stand_in) == []
    assert time.monotonic() - began < 30  # it would leave after a minute


def test_an_error_of_the_callers_own_ends_the_workers(stand_in):
    def refuse(step, values):
        raise KeyError("no such run")

    with pytest.raises(KeyError, match="no such run"):
        launch.train(2, what="hang at the end", folder=stand_in, log=refuse)
    assert alive(stand_in) == []


@pytest.mark.parametrize("what", ["train", "deaf"])
def test_workers_do_not_outlive_a_killed_parent(stand_in, what):
    process = parent(stand_in, what, processes=3)
    wait_for(*pids(stand_in, 3))
    assert len(alive(stand_in)) == 3
    process.kill()
    process.communicate()
    assert alive(stand_in, within_s=5) == []


def test_a_worker_whose_parent_is_gone_before_it_looks_ends_itself(stand_in, tmp_path):
    request, (ours, theirs) = tmp_path / "request.json", socket.socketpair()
    request.write_text(json.dumps({"parent": 1, "arguments": {"what": "deaf", "folder": str(stand_in)}}))
    command = [sys.executable, "-m", "taxaforge.diffusion.launch", request, str(theirs.fileno())]
    with ours, theirs:
        environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "1"}
        done = subprocess.run(command, pass_fds=[theirs.fileno()], env=environment, timeout=60)
    assert done.returncode == 1 and not list(stand_in.iterdir())


def test_the_request_does_not_stay_behind(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(launch.tempfile, "tempdir", str(tmp_path / "path"))
    launch.train(2, what="report", folder=stand_in)
    assert [path.name for path in (tmp_path / "path").glob("taxaforge-*")] == []


def test_whoever_starts_workers_needs_no_torch():
    code = "import sys, taxaforge.diffusion.launch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# From here on `stage.train` is the real one.


@pytest.fixture(scope="module")
def real(files, cfg_of, tmp_path_factory):
    """(arguments of a stage, folder of an undisturbed training by two processes, what that logged)."""
    cfg = cfg_of(steps=40, batch_size=6, checkpoint_every=2)
    arguments = {"stage": "base", "cfg": cfg, "seed": 3, **files}
    folder, logged = tmp_path_factory.mktemp("real"), []
    launch.train(
        2, **arguments, out=folder / "two", state_dir=folder / "state",
        log=lambda step, values: logged.append((step, values)),
    )  # fmt: skip
    return arguments, folder / "two", logged


def curve(folder: Path) -> list[float]:
    return [line["loss"] for line in read_lines(folder / "history.jsonl")]


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.safetensors"))}


def test_two_processes_learn_what_one_learns_from_the_same_batch(real, tmp_path):
    arguments, two, logged = real
    launch.train(1, **arguments, out=tmp_path / "one", state_dir=tmp_path / "state")
    assert len(curve(two)) == 40
    assert curve(two) == pytest.approx(curve(tmp_path / "one"), rel=2e-4)
    for key in ("loss_by_level", "loss_by_time"):
        one, both = (read_lines(folder / "history.jsonl")[0][key] for folder in (tmp_path / "one", two))
        assert both == pytest.approx(one, rel=1e-5)
    assert [values["loss"] for step, values in logged if step] == curve(two) and logged[-1][0] is None


def test_two_processes_that_are_killed_and_stopped_end_bit_for_bit_where_undisturbed_ones_do(real, tmp_path):
    arguments, two, _ = real
    places = {"out": tmp_path / "out", "state_dir": tmp_path / "state"}
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in (arguments | places).items()}
    code = f"from taxaforge.diffusion import launch\nlaunch.train(2, **{plain!r})"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not list(places["state_dir"].glob("step-*.json")):
        assert process.poll() is None
        time.sleep(0.005)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    for rank, worker in enumerate(workers):
        (tmp_path / f"pid-{rank}").write_text(worker)
    assert len(workers) == 2 and alive(tmp_path, within_s=5) == []
    assert not places["out"].exists()

    def ask_to_stop(step, values):
        if step and step >= 25:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match=r"is saved at step \d+ of 40"):
        launch.train(2, **arguments, **places, log=ask_to_stop)
    launch.train(2, **arguments, **places)
    events = [(line["event"], line["step"]) for line in read_lines(places["state_dir"] / "events.jsonl")]
    assert [event for event, _ in events] == ["started", "resumed", "stopped", "resumed", "finished"]
    assert 0 < events[1][1] < 25 <= events[2][1] == events[3][1] < 40
    assert content(places["out"]) == content(two) and curve(places["out"]) == curve(two)


@pytest.mark.slow
def test_a_sentence_of_the_real_stage_comes_back(real, tmp_path):
    arguments, _, _ = real
    with checkpoint.opened(tmp_path / "state", {}), pytest.raises(crew.WorkerFailed, match="is still training in"):
        launch.train(2, **arguments, out=tmp_path / "out", state_dir=tmp_path / "state")
