"""Measuring many pictures at once, in processes that never outlive the one that asked."""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from taxaforge.collection.quality import measure
from taxaforge.errors import TaxaforgeError

CHUNK = 16
"""Pictures a worker takes at a time: enough to make the way there cheap, few enough to share out evenly."""


class WorkerDied(TaxaforgeError):
    """A process that read pictures was killed."""


def measure_all(paths: Sequence[str | Path], workers: int) -> Iterator[dict]:
    """`quality.measure` of every path, in their order, whatever the number of workers.

    A worker holds one picture at a time, so memory grows with workers and with the largest picture,
    not with how many there are.

    Raises: WorkerDied, naming the pictures that were being read.
    """
    if workers <= 1 or len(paths) <= CHUNK:
        yield from map(measure, paths)
        return
    # Fork: a job's script has no guard against being imported a second time, as spawn would.
    context = multiprocessing.get_context("fork")
    done = 0
    with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
        try:
            for row in pool.map(measure, paths, chunksize=CHUNK):
                yield row
                done += 1
        except BrokenProcessPool as error:
            last = min(done + workers * CHUNK * 2, len(paths)) - 1
            raise WorkerDied(
                f"A process that reads pictures was killed somewhere between {paths[done]} and {paths[last]}. Most often "
                "memory ran out: run with fewer cores, or take pictures of hundreds of megapixels out of the source."
            ) from error


def _end_with_parent() -> None:
    """Lets a worker end when its parent was killed; it would wait for work for ever."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
