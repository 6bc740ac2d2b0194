"""What stands between a Snakemake rule and one function: log, threads, GPU, record, errors.

    with job(snakemake) as run:              # before torch is imported
        from taxaforge.diffusion.stage import train
        train(..., log=run.log, device=run.device)

A TaxaforgeError ends the job with its sentence and its `exit_code`; any other error keeps its
traceback, which also stands in the log. Nothing in here changes a result.
"""

import fcntl
import gc
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from taxaforge import progress
from taxaforge.energy import joules
from taxaforge.errors import TaxaforgeError
from taxaforge.files import write_json
from taxaforge.tracking.spool import SPOOL, Recorder

STATE = Path("results/state")


@dataclass(frozen=True)
class Run:
    """What a function gets from its job.

    log(step, values): metrics; step None for final ones. device: "cpu" or "cuda". processes: among how
    many the job may divide its work: one a GPU held for it, on the CPU `runtime.processes`. runtime:
    section `runtime`. state_dir: survives a failed or killed job, own to rule, wildcards and lineage key.
    """

    recorder: Recorder
    device: str
    processes: int
    runtime: dict
    state_dir: Path
    terminal: TextIO

    def tell(self, message: str) -> None:
        """A line for whoever watches the workflow, besides the log."""
        print(message, file=self.terminal, flush=True)

    def log(self, step: int | None, values: dict[str, float]) -> None:
        self.recorder.log(step, values)

    def show(self, name: str, path: str | Path) -> None:
        """Offers a picture to tracking while the job runs; name like "samples/step-000500.png"."""
        self.recorder.attach(name, path)

    def forget_earlier(self) -> None:
        """Removes what this job kept under other settings."""
        own = self.state_dir.name
        for other in self.state_dir.parent.glob("*"):
            if other.name != own and other.name.partition("-")[2] == own.partition("-")[2]:
                shutil.rmtree(other)

    @property
    def features(self) -> Path:
        """Folder of features of frozen models, which jobs share; named by content, so nothing in it grows stale."""
        return STATE / "features"

    @property
    def commit(self) -> str:
        return os.environ.get("TAXAFORGE_COMMIT", "unknown")

    @property
    def network(self) -> dict:
        """Section `network`, and whether to stay offline."""
        return json.loads(os.environ["TAXAFORGE_NETWORK"])

    @property
    def invocation(self) -> str:
        """Names this invocation of the workflow."""
        return os.environ.get("TAXAFORGE_INVOCATION", "by-hand")

    @property
    def training(self) -> dict:
        """What a training may know of the machine."""
        names = {"training_micro_batch": "micro_batch", "gradient_checkpointing": "gradient_checkpointing"}
        own = {argument: self.runtime[name] for name, argument in names.items() if name in self.runtime}
        return {"device": self.device, "every_s": self.every_s, **own}

    @property
    def every_s(self) -> float:
        return self.runtime.get("progress_every_s", 5.0)


class NoGpu(TaxaforgeError):
    """The settings ask for a GPU that is not there."""


@contextmanager
def job(snakemake, record: bool = True) -> Iterator[Run]:
    """Runs the block as a job of the workflow. See the module's first lines.

    Args:
        snakemake: the object that Snakemake gives to a script.
        record: False for the job that ships the records.
    """
    gc.set_threshold(50_000, 20, 100)  # importing torch makes no garbage; looking for it takes a tenth of that time
    runtime = json.loads(os.environ.get("TAXAFORGE_RUNTIME", "{}"))
    state_dir = STATE / snakemake.rule / "-".join([snakemake.params.key, *map(str, snakemake.wildcards)])
    with ExitStack() as stack:
        terminal = stack.enter_context(_output_into(snakemake.log[0] if snakemake.log else os.devnull))
        if snakemake.threads >= int(os.environ.get("TAXAFORGE_CORES") or 0):
            progress.echo_to(terminal)  # alone on the machine: its progress is what there is to see
            stack.callback(progress.echo_to, None)
        recorder = stack.enter_context(Recorder(SPOOL, _facts(snakemake)) if record else Recorder.silent())
        try:
            os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
            gpus = int(snakemake.resources.get("gpu", 0) or 0)
            if runtime.get("hub_offline"):  # read by the libraries when they are imported
                os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
            device, held = stack.enter_context(_device(runtime.get("device", "auto"), gpus))
            processes = max(held, 1) if device == "cuda" else runtime.get("processes", 1)
            with _energy(_visible_gpus() if held else [], _benchmark(snakemake)):
                yield Run(recorder, device, processes, runtime, state_dir, terminal)
        except TaxaforgeError as error:
            for stream in (sys.stderr, terminal):
                print(f"{snakemake.rule}: {error}", file=stream, flush=True)
            recorder.fail(str(error), "stopped" if error.exit_code == os.EX_TEMPFAIL else "failed")
            raise SystemExit(error.exit_code) from None
        except BaseException as error:
            traceback.print_exc()  # into the log; the interpreter prints it too, but only after the block
            recorder.fail(f"{type(error).__name__}: {error}")
            raise


@contextmanager
def _energy(gpus: list[str], benchmark: str) -> Iterator[None]:
    """Leaves the energy of a job that succeeds beside its benchmark, where its GPUs tell it."""
    before = joules(gpus)
    yield
    after = joules(gpus)
    if before is not None and after is not None:
        write_json(Path(benchmark).with_suffix(".energy.json"), {"joules": after - before})


def _facts(snakemake) -> dict:
    """What a record says about a job before it runs."""
    wildcards = dict(snakemake.wildcards.items())
    return {
        "invocation": os.environ.get("TAXAFORGE_INVOCATION", "by-hand"),
        "invocation_started": float(os.environ.get("TAXAFORGE_INVOCATION_STARTED", time.time())),
        "git_commit": os.environ.get("TAXAFORGE_COMMIT", "unknown"),
        "run_name": os.environ.get("TAXAFORGE_RUN_NAME", "taxaforge"),
        "rule": snakemake.rule,
        "wildcards": wildcards,
        "name": " ".join([snakemake.rule, *wildcards.values()]),
        "key": snakemake.params.key,
        "params": snakemake.params.get("cfg", {}),
        "inputs": _paths(snakemake.input),
        "outputs": _paths(snakemake.output),
        "log": snakemake.log[0] if snakemake.log else None,
        "benchmark": _benchmark(snakemake),
        "threads": snakemake.threads,
    }


def _benchmark(snakemake) -> str:
    """Where Snakemake writes this job's benchmark: the one layout that all rules use."""
    return str(Path("results/benchmarks", snakemake.rule, "-".join(map(str, snakemake.wildcards)) or "job")) + ".jsonl"


def _paths(files) -> dict[str, str | list[str]]:
    named = {
        name: [str(p) for p in value] if isinstance(value, (list, tuple)) else str(value)
        for name, value in files.items()
    }
    known = {path for value in named.values() for path in ([value] if isinstance(value, str) else value)}
    rest = [str(path) for path in files if str(path) not in known]
    return {**named, **({"files": rest} if rest else {})}


@contextmanager
def _output_into(log: str) -> Iterator:
    """Sends standard output and error of the process, C libraries included, to the log; yields the terminal."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [os.dup(1), os.dup(2)]
    terminal = os.fdopen(os.dup(saved[1]), "w", encoding="utf-8", errors="replace")
    with Path(log).open("a", encoding="utf-8", buffering=1) as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with redirect_stdout(file), redirect_stderr(file):
                yield terminal
        finally:
            for target, source in zip((1, 2), saved, strict=True):
                os.dup2(source, target)
                os.close(source)
            terminal.close()


@contextmanager
def _device(wanted: str, gpus: int) -> Iterator[tuple[str, int]]:
    """ "cuda" and how many devices of this machine the job asked for and holds, or "cpu" and 0."""
    visible = _visible_gpus() if wanted != "cpu" else []
    if wanted == "cuda" and not visible:
        raise NoGpu(
            "runtime.device is 'cuda', but no GPU is visible. Set it to 'auto' or 'cpu', or run where a GPU is."
        )
    if gpus > len(visible) and wanted != "cpu":
        raise NoGpu(
            f"This job asks for {gpus} GPU(s), {len(visible)} visible. Set runtime.gpus to {len(visible)}, or run where more are."
        )
    if gpus == 0 or not visible or "SLURM_JOB_ID" in os.environ:  # Slurm hands out devices itself
        yield ("cuda", gpus) if visible else ("cpu", 0)
        return
    with _slots(visible, gpus) as held:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
        yield "cuda", len(held)


def _visible_gpus() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [gpu for gpu in listed.split(",") if gpu.strip()]
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return [line.split(":")[0].removeprefix("GPU ") for line in answer.stdout.splitlines() if line.startswith("GPU ")]


@contextmanager
def _slots(visible: list[str], count: int) -> Iterator[list[str]]:
    """Holds `count` of the visible devices, one lock file each, so that parallel jobs never share one.

    Snakemake counts GPUs but does not say which. All are taken at once or none, and one job takes at a
    time, so jobs that each hold a part of what they need cannot wait for each other.
    """
    folder = STATE / "gpu"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "turn.lock").open("w") as turn:
        while True:
            fcntl.flock(turn, fcntl.LOCK_EX)
            held = _free(folder, visible, count)
            fcntl.flock(turn, fcntl.LOCK_UN)
            if held:
                break
            time.sleep(2)
    try:
        yield list(held)
    finally:
        for file in held.values():
            file.close()


def _free(folder: Path, visible: list[str], count: int) -> dict[str, TextIO]:
    """`count` devices that no job holds, each with its locked file; none where fewer are free."""
    held = {}
    for gpu in visible:
        file = (folder / f"{gpu.replace('/', '_')}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held[gpu] = file
        except BlockingIOError:
            file.close()
        if len(held) == count:
            return held
    for file in held.values():
        file.close()
    return {}
