"""Whatever happens to a job or a disk, the next attempt finds a checkpoint that is exactly what was written."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from taxaforge.diffusion import checkpoint, tensorfile
from taxaforge.files import read_lines

MADE_OF = {"stage": "order", "seed": 3, "cfg": {"steps": 10, "rate": 1e-4}}


def tensors(step: int, count: int = 3) -> dict[str, torch.Tensor]:
    """Values that tell which step they belong to."""
    return {f"layer {n}": torch.full((50, 7 + n), step + n / 8) for n in range(count)}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def fill(folder: Path, *steps: int) -> None:
    with checkpoint.opened(folder, MADE_OF) as state:
        for step in steps:
            assert state.save(step, tensors(step), {"history": [step]})


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*step-*"))


def events(folder: Path) -> list[tuple[str, int]]:
    return [(line["event"], line["step"]) for line in read_lines(folder / "events.jsonl")]


def pair(step: int, prefix: str = "") -> list[str]:
    return [f"{prefix}step-{step:08d}.json", f"{prefix}step-{step:08d}.safetensors"]


def run(code: str, *arguments, **keywords) -> subprocess.Popen:
    text = f"import sys\nimport torch\nfrom taxaforge.diffusion import checkpoint\nMADE_OF = {MADE_OF!r}\n{code}"
    return subprocess.Popen([sys.executable, "-c", text, *map(str, arguments)], text=True, **keywords)


def test_what_was_saved_comes_back(tmp_path):
    wide = torch.arange(12.0).reshape(3, 4)
    values = {
        "0-d": torch.tensor(2.5),
        "empty": torch.zeros(0, 5),
        "bf16": torch.randn(3, 3).bfloat16(),
        "fp16": torch.randn(5).half(),
        "double": torch.randn(2).double(),
        "int64": torch.tensor([2**62, -1]),
        "bytes": torch.tensor([1, 2, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "whole": wide,
        "row of whole": wide[1],
        "turned": wide.t(),
        "channels last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "trained": torch.nn.Parameter(torch.randn(2)),
        "not finite": torch.tensor([float("inf"), -0.0]),
    }
    facts = {"history": [{"loss": 0.1, "step": 3}], "seconds": 1.25, "name": "Große Königslibelle", "none": None}
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert state.load() is None
        assert state.save(7, values, facts)
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        step, found, said = state.load()
    assert (step, said) == (7, facts) and same(found, values)


@pytest.mark.parametrize("values", [{}, {"one": torch.ones(3, dtype=torch.bool)}, tensors(5)])
def test_safetensors_reads_the_file_and_the_digest_is_that_of_its_bytes(tmp_path, values):
    path = tmp_path / "x.safetensors"
    size, digest = tensorfile.write(path, values)
    assert same(load_file(path), values)
    assert size == path.stat().st_size
    assert subprocess.check_output(["sha256sum", path], text=True).split()[0] == digest


def test_every_tensor_starts_at_a_multiple_of_its_element_size(tmp_path):
    values = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(3).half(), "c": torch.ones(1, dtype=torch.int64)}
    tensorfile.write(tmp_path / "x", values)
    raw = (tmp_path / "x").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    assert length % 8 == 0
    assert all(header[name]["data_offsets"][0] % value.element_size() == 0 for name, value in values.items())


def test_an_element_type_without_a_code_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"'z' is torch\.complex64"):
        tensorfile.write(tmp_path / "x", {"z": torch.zeros(1, dtype=torch.complex64)})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_are_saved_and_loaded(tmp_path):
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        values = {"x": torch.randn(5, 3, device="cuda").t()}
        assert state.save(1, values, {})
        _, found, _ = state.load("cuda")
    assert found["x"].device.type == "cuda" and torch.equal(found["x"], values["x"])


def test_two_generations_stay_and_nothing_else(tmp_path):
    fill(tmp_path, 1, 2, 3)
    assert files(tmp_path) == pair(2) + pair(3)
    assert not list(tmp_path.glob(".step*"))


def test_the_same_step_saved_again_counts(tmp_path):
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        for value in range(1, 6):
            assert state.save(4, tensors(value), {"value": value})
            step, found, facts = state.load()
            assert step == 4 and facts == {"value": value} and same(found, tensors(value))
            assert len(files(tmp_path)) == 2


def test_the_same_step_saved_again_leaves_the_first_whole_until_it_is_complete(tmp_path, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert state.save(4, tensors(1), {"value": 1})
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.json, "dump", full)  # the tensors fit, their record does not
            assert state.save(4, tensors(2), {"value": 2}) is False
        step, found, facts = state.load()
    assert step == 4 and facts == {"value": 1} and same(found, tensors(1)) and files(tmp_path) == pair(4)
    assert "the one of step 4 stays" in capfd.readouterr().err


def test_a_run_that_went_back_does_not_meet_its_old_future(tmp_path):
    fill(tmp_path, 10, 20)
    fill(tmp_path, 15)
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert state.load()[0] == 15
    assert files(tmp_path) == sorted(pair(10) + pair(15))


def test_a_state_of_other_settings_is_refused_and_kept(tmp_path):
    fill(tmp_path, 1, 2)
    with (
        checkpoint.opened(tmp_path, {**MADE_OF, "seed": 4}) as state,
        pytest.raises(checkpoint.OtherTraining, match="other settings or data"),
    ):
        state.load()
    with checkpoint.opened(tmp_path, dict(reversed(MADE_OF.items()))) as state:  # order of keys is no setting
        assert state.load()[0] == 2


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 4
    path.write_bytes(raw)


DAMAGES = {
    "tensors cut short": lambda folder, step: os.truncate(folder / pair(step)[1], 100),
    "tensors empty": lambda folder, step: os.truncate(folder / pair(step)[1], 0),
    "tensors with a flipped bit": lambda folder, step: flip(folder / pair(step)[1]),
    "tensors gone": lambda folder, step: (folder / pair(step)[1]).unlink(),
    "tensors of another step": lambda folder, step: tensorfile.write(folder / pair(step)[1], tensors(99)),
    "record cut short": lambda folder, step: os.truncate(folder / pair(step)[0], 100),
    "record empty": lambda folder, step: os.truncate(folder / pair(step)[0], 0),
    "record with a flipped bit": lambda folder, step: flip(folder / pair(step)[0]),
    "record with another loss": lambda folder, step: (folder / pair(step)[0]).write_text(
        (folder / pair(step)[0]).read_text().replace(f'"history": [{step}]', '"history": [7]')
    ),
    "record is no object": lambda folder, step: (folder / pair(step)[0]).write_text("[]"),
    "record is no text": lambda folder, step: (folder / pair(step)[0]).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_newest_checkpoint_is_passed_over_with_a_message(tmp_path, damage, capfd):
    fill(tmp_path, 10, 20)
    damage(tmp_path, 20)
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        step, found, facts = state.load()
    assert (step, facts) == (10, {"history": [10]}) and same(found, tensors(10))
    said = capfd.readouterr().err
    assert "step 20 is damaged" in said and "goes on from step 10" in said and str(tmp_path / "step-00000020") in said
    assert events(tmp_path) == [("fell_back", 10)]
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert state.load()[0] == 10 and not capfd.readouterr().err  # told once
        assert state.save(20, tensors(20), {}) and state.load()[0] == 20
    assert files(tmp_path) == sorted(pair(10) + pair(20))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_with_all_checkpoints_damaged_training_starts_afresh_with_a_message(tmp_path, damage, capfd):
    fill(tmp_path, 15, 20)
    damage(tmp_path, 20)
    damage(tmp_path, 15)
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert state.load() is None
        said = capfd.readouterr().err
        assert "step 20 is damaged" in said and "step 15 is damaged" in said and said.count("starts afresh") == 2
        assert state.save(1, tensors(1), {}) and state.load()[0] == 1
    assert files(tmp_path) == pair(1)
    assert events(tmp_path) == [("fell_back", 0)]


def test_a_checkpoint_that_may_not_be_read_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    fill(tmp_path, 10, 20)

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checkpoint, "sha256_of", refuse)
    with (
        checkpoint.opened(tmp_path, MADE_OF) as state,
        pytest.raises(checkpoint.Unreadable, match=r"Permission denied.*Make it readable"),
    ):
        state.load()
    assert files(tmp_path) == sorted(pair(10) + pair(20))


FOREVER = """
with checkpoint.opened(sys.argv[1], MADE_OF) as state:
    found = state.load()
    step = found[0] if found else 0
    while True:
        step += 1
        assert state.save(step, {f"layer {n}": torch.full((50, 7 + n), step + n / 8) for n in range(40)}, {"of": step})
        print(step, flush=True)
"""


def test_a_kill_at_any_moment_of_saving_leaves_the_last_checkpoint_or_the_next(tmp_path):
    moments, last = random.Random(5), 0
    for _ in range(20):
        # forked after the imports: the twentieth start is as fast as the first
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.dup2(writing, 1)
                sys.argv[1:] = [str(tmp_path)]
                sys.stdout = os.fdopen(1, "w", closefd=False)
                exec(FOREVER, {"checkpoint": checkpoint, "torch": torch, "sys": sys, "MADE_OF": MADE_OF})
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading) as said:
            assert said.readline(), "the first save of this attempt failed"
            time.sleep(moments.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            returned = [last + 1, *map(int, said.read().split())][-1]
        with checkpoint.opened(tmp_path, MADE_OF) as state:
            step, found, facts = state.load()
        assert returned <= step <= returned + 1
        assert facts == {"of": step} and same(found, tensors(step, 40))
        assert not list(tmp_path.glob(".*")) and len(files(tmp_path)) <= 8
        last = step
    assert not (tmp_path / "events.jsonl").exists()  # nothing was ever damaged


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
big = {"x": torch.ones(200_000)}
with checkpoint.opened(sys.argv[1], MADE_OF) as state:
    assert state.save(1, {"x": torch.zeros(10)}, {}) and state.save(2, {"x": torch.zeros(20)}, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    print(state.save(3, big, {}), state.load()[0], flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, [resource.getrlimit(resource.RLIMIT_FSIZE)[1]] * 2)
    print(state.save(4, big, {}), state.load()[0], flush=True)
"""


def test_where_the_disk_takes_no_more_the_checkpoint_before_stays_and_training_goes_on(tmp_path):
    process = run(LIMITED, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.split() == ["False", "2", "True", "4"]
    for words in ("step 3 could not be written", "File too large", "step 2 stays", "free space"):
        assert words in err
    assert len(err.splitlines()) == 1
    assert events(tmp_path) == [("not_saved", 3)]
    assert files(tmp_path) == sorted(pair(2) + pair(4))


def test_on_a_really_full_file_system_nothing_is_lost_and_nothing_is_left_behind(tmp_path, capfd):
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot mount a small file system here: {made.stderr.strip()}")
    try:
        folder = tmp_path / "state"
        with checkpoint.opened(folder, MADE_OF) as state:
            assert state.save(1, tensors(1), {})
            assert state.save(2, {"x": torch.ones(300_000)}, {}) is False  # by itself larger than the disk
            assert state.load()[0] == 1 and files(folder) == pair(1) and not list(folder.glob(".*"))
            (tmp_path / "others").write_bytes(bytes(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_bsize))
            assert os.statvfs(tmp_path).f_bavail == 0
            assert state.save(3, tensors(3), {}) is False
            state.note("finished", 3)  # not even this line fits a new block; that is no reason to fail
        with checkpoint.opened(folder, MADE_OF) as state:  # nor to take up the lock
            assert state.load()[0] == 1
            (tmp_path / "others").unlink()
            assert state.save(3, tensors(3), {}) and state.load()[0] == 3
        said = capfd.readouterr().err
        assert said.count("No space left on device") == 2 and said.count("step 1 stays") == 2
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_line_that_does_not_fit_leaves_the_lines_before_and_after_whole(tmp_path):
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with checkpoint.opened(sys.argv[1], MADE_OF) as state:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    state.note("started", 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((state.folder / "events.jsonl").stat().st_size + 10, hard))
    state.note("lost", 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    state.note("finished", 2)
"""
    assert run(code, tmp_path).wait(60) == 0
    assert events(tmp_path) == [("started", 0), ("finished", 2)]


def test_a_second_process_is_refused_with_the_first_ones_number_until_that_is_gone(tmp_path):
    with checkpoint.opened(tmp_path, MADE_OF):
        pass  # who held it before is not blamed
    code = "with checkpoint.opened(sys.argv[1], MADE_OF):\n    print('open', flush=True)\n    sys.stdin.read()"
    process = run(code, tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "open\n"
    refused = pytest.raises(checkpoint.AlreadyTraining, match=rf"^Process {process.pid} on \S+ is still training")
    with refused, checkpoint.opened(tmp_path, MADE_OF):
        pass
    process.kill()
    process.communicate()
    with checkpoint.opened(tmp_path, MADE_OF):
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(checkpoint.fcntl, "flock", refuse)
    with (
        pytest.raises(checkpoint.CannotLock, match=r"Function not implemented.*flock"),
        checkpoint.opened(tmp_path, {}),
    ):
        pass


def test_only_an_unfinished_checkpoint_is_removed_on_opening(tmp_path):
    fill(tmp_path, 10, 20)
    for name in (".step-00000030.safetensors.99.part", "step-00000030.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"half")
    with checkpoint.opened(tmp_path, MADE_OF) as state:
        assert files(tmp_path) == sorted(pair(10) + pair(20)) and (tmp_path / "notes.txt").exists()
        assert state.load()[0] == 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_is_a_wish_while_training_and_what_it_was_afterwards(number):
    before = signal.getsignal(number)
    with checkpoint.stop_flag() as flag:
        assert not flag.is_set()
        os.kill(os.getpid(), number)
        assert flag.wait(1)
    assert signal.getsignal(number) is before


def test_a_stopped_training_asks_the_scheduler_to_try_again():
    assert checkpoint.Stopped.exit_code == 75


def test_waiting_for_signals_needs_no_torch():
    code = "import sys, taxaforge.diffusion.checkpoint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
