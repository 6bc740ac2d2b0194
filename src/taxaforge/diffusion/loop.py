"""From a run's first step to its last: progress, checkpoints, looks, signals. Stages and the contour adapter share it."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from taxaforge.diffusion import devices
from taxaforge.diffusion.checkpoint import State, Stopped, opened
from taxaforge.diffusion.training import Run
from taxaforge.files import atomic, write_lines
from taxaforge.progress import Progress

LINES = 100
"""Lines of history.jsonl, at most about, besides those of validations."""

Log = Callable[[int | None, dict[str, float]], None]
Show = Callable[[str, Path], None]


@dataclass(frozen=True)
class Looks:
    """What is looked at on the way. validate: -> held-out loss. draw: (path) writes a picture. Either may be None.

    validate_every, samples_every: steps between looks. patience: validations without a new best that end
    the run; 0: none do.
    """

    validate: Callable[[], float] | None = None
    draw: Callable[[Path], None] | None = None
    validate_every: int = 0
    samples_every: int = 0
    patience: int = 0


@contextmanager
def state_of(accelerator: Accelerator, folder: str | Path, made_of: dict) -> Iterator[State]:
    """The state folder of a training: locked and written by rank 0, read by all."""
    if accelerator.is_main_process:
        with opened(folder, made_of) as state:
            yield state
    else:
        yield State(Path(folder), made_of)


def fit(
    run: Run,
    state: State,
    stop: threading.Event,
    looks: Looks,
    *,
    checkpoint_every: int,
    log: Log,
    show: Show,
    every_s: float,
) -> None:
    """Trains to the last step, or until validation says enough. Raises Stopped after a signal, with the state saved.

    Goes on from the newest whole checkpoint in `state`. Sample grids lie in its folder `samples`.
    """
    accelerator, main = run.accelerator, run.accelerator.is_main_process
    saved = state.load() if main else None
    accelerator.wait_for_everyone()  # rank 0 has put damaged checkpoints aside
    if not main:
        saved = state.load()
    if saved:
        run.restore(*saved)
    if main:
        state.note("resumed" if run.step else "started", run.step)
    progress = Progress(f"{run.stage} stage", run.steps, "steps", run.step, every_s)
    first, began = run.step, time.monotonic()
    every_line, enough = max(1, run.steps // LINES), False
    while run.step < run.steps and not enough:
        run.advance()
        last = run.step == run.steps
        held_out = None
        if looks.validate and _due(run.step, looks.validate_every, last):
            with run.averaged_in_place():
                held_out = devices.agreed(accelerator, looks.validate())
            enough = run.judge(held_out, looks.patience)
        if last or enough or held_out is not None or run.step % every_line == 0:
            line = run.line(held_out)
            if main:
                log(run.step, flat(line))
        if main:
            if looks.draw and _due(run.step, looks.samples_every, last or enough):
                name = f"step-{run.step:06d}.png"
                with run.averaged_in_place():
                    looks.draw(state.folder / "samples" / name)
                show(f"samples/{name}", state.folder / "samples" / name)
            progress(run.step, **({"loss": run.history[-1]["loss"]} if run.history else {}))
        stopping = devices.anyone(accelerator, stop.is_set())
        if main and (stopping or last or enough or run.step % checkpoint_every == 0):
            kept = state.save(run.step, *run.state())
            if stopping:
                state.note("stopped", run.step)
                raise Stopped(_farewell(run, kept))
        if stopping:
            raise Stopped(_farewell(run, True))
    if main:
        log(None, _figures(run, first, time.monotonic() - began))


def hand_on(run: Run, state: State, out: str | Path, write: Callable[[Path], None]) -> None:
    """Rank 0 makes the folder `out`: what `write` puts there, the history and the sample grids."""
    if run.accelerator.is_main_process:
        with atomic(out) as folder:
            folder.mkdir()
            write(folder)
            write_lines(folder / "history.jsonl", run.history)
            if (pictures := state.folder / "samples").is_dir():
                shutil.copytree(pictures, folder / "samples")
        state.note("finished", run.step)
    run.accelerator.wait_for_everyone()


def _due(step: int, every: int, last: bool) -> bool:
    return every > 0 and (last or step % every == 0)


def _farewell(run: Run, kept: bool) -> str:
    where = f"is saved at step {run.step} of {run.steps}" if kept else "could not be saved: the last checkpoint stands"
    return f"Stage {run.stage} was asked to stop and {where}. Run again to go on from there."


def flat(line: dict) -> dict[str, float]:
    """A line of the history as metrics: nested losses as loss/level/order, loss/time/0-249."""
    nested = {"loss_by_level": "loss/level/", "loss_by_time": "loss/time/"}
    shown = {f"{prefix}{name}": value for key, prefix in nested.items() for name, value in line[key].items()}
    plain = ("loss", "learning_rate", "images_per_second", "memory_mib", "validation_loss")
    return {name: line[name] for name in plain if name in line} | shown


def _figures(run: Run, first: int, seconds: float) -> dict[str, float]:
    """The final values of a run."""
    tail = [line["loss"] for line in run.history[-max(1, len(run.history) // 10) :]]
    figures = {"loss": sum(tail) / len(tail), "trained_parameters": float(sum(value.numel() for value in run.values))}
    if run.best:
        figures["best_validation_loss"] = run.best[0]
    if run.step > first:
        figures["images_per_second"] = (run.step - first) * run.size / seconds
    figures["memory_mib"] = devices.peak_mib(run.accelerator.device)
    return figures
