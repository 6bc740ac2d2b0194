"""Progress for long work: done, rate and time left, as plain lines that also suit a log file."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

_terminal: TextIO | None = None


def echo_to(stream: TextIO | None) -> None:
    """Also shows every progress line on `stream`; None ends that.

    A job's output goes into its log. The job that has the machine to itself shows its progress on
    the terminal as well; one line of many parallel jobs would only flicker.
    """
    global _terminal
    _terminal = stream


def passed_on(line: str) -> None:
    """Shows a line that another process of the same job has printed, where `echo_to` says; the log has it already."""
    if _terminal is not None:
        print(line, file=_terminal, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """`progress = Progress("species stage", 400, "steps")`, then `progress(done, loss=0.1)`.

    Prints at most one line every `every_s` seconds, and always the last one. A resumed job gives
    `start`, so that the rate counts only what this process did.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        start: int = 0,
        every_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ):
        self.label, self.total, self.unit, self.start, self.every_s, self.now = label, total, unit, start, every_s, now
        self.began = self.printed = now()

    def __call__(self, done: int, **values: float) -> None:
        now = self.now()
        if done < self.total and now - self.printed < self.every_s:
            return
        self.printed = now
        rate = (done - self.start) / max(now - self.began, 1e-9)
        left = (self.total - done) / rate if rate > 0 else 0.0
        shown = "".join(f", {name} {value:.4g}" for name, value in values.items())
        line = (
            f"{self.label}: {done}/{self.total} {self.unit} ({done / max(self.total, 1):.0%}), "
            f"{rate:.3g} {self.unit}/s, {_clock(left)} left{shown}"
        )
        for stream in filter(None, (sys.stderr, _terminal)):
            print(line, file=stream, flush=True)
