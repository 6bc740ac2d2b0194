"""Work in a process of its own, and what it took: for benchmarks that compare libraries side by side."""

import multiprocessing
import threading
import time
from collections.abc import Callable

import psutil

EVERY_S = 0.05


class Peak(threading.Thread):
    """Largest memory of a process and all its descendants while the block runs, in MiB.

    Proportional set size, sampled: a page that forked workers share counts once (Linux only).
    """

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.root, self.mib, self.over = psutil.Process(pid), 0.0, threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.mib = max(self.mib, self._now())
            time.sleep(EVERY_S)

    def _now(self) -> float:
        total = 0
        try:
            tree = [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            return 0.0
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue  # ended between two lines
        return total / 2**20

    def __enter__(self) -> "Peak":
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self.over.set()
        self.join()


def _answer(pipe, work: Callable, values: dict) -> None:
    pipe.send(work(**values))


def alone(work: Callable[..., dict], **values) -> dict:
    """What `work(**values)` returns in a fresh process, with `memory_mib` of that process and its children.

    `work` stands at the top of a module and measures its own time, so that starting Python is not counted.
    Raises: RuntimeError where the process ends without a result; its traceback is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, work, values))
    process.start()
    theirs.close()
    with Peak(process.pid) as peak:
        try:
            result = ours.recv()
        except EOFError:
            process.join()
            raise RuntimeError(f"{work.__name__} ended with status {process.exitcode} and gave no result") from None
        finally:
            ours.close()
    process.join()
    return result | {"memory_mib": peak.mib}
