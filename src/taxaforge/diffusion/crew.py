"""The processes of one training, seen from the one that started them: what they say, how they end, who is to blame."""

import json
import math
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from taxaforge import progress
from taxaforge.diffusion.checkpoint import SIGNALS, Stopped
from taxaforge.errors import TaxaforgeError

Log = Callable[[int | None, dict[str, float]], None]
Show = Callable[[str, Path], None]

GRACE_S = 5.0
"""After one worker failed: what the others get to leave by themselves. Nothing of theirs can be lost."""
SAVING_S = 600.0
"""After the wish to stop, and again after one worker did: what all get; rank 0 may be writing its checkpoint."""
LEAVING_S = 60.0
"""After rank 0 finished its work: what the others get to end."""


class WorkerFailed(TaxaforgeError):
    """A process of the training ended before its work was done. exit_code: of its own error, else 1."""

    def __init__(self, sentence: str, exit_code: int = 1):
        super().__init__(sentence)
        self.exit_code = exit_code


class Worker:
    """One process, seen from its parent.

    Attributes: words, its farewell, None where it gave none. last, the last line it wrote. place, how many
        had left before their work was done when it did, None while all is well with it. dismissed, it was
        told to end because another failed; overdue, it was killed because it took too long.
    """

    def __init__(self, rank: int, command: list[str], environment: dict[str, str], told: queue.Queue):
        """Starts `command` with the number of its end of the channel as one more argument."""
        self.rank, self.words, self.last = rank, None, ""
        self.place, self.dismissed, self.overdue = None, False, False
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if rank else None,
                stderr=subprocess.STDOUT if rank else subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        self.threads = [threading.Thread(target=self._echo, daemon=True)]
        self.threads.append(threading.Thread(target=self._listen, args=[told], daemon=True))
        for thread in self.threads:
            thread.start()

    def _echo(self) -> None:
        """Passes its output on, so that the log has it."""
        prefix = f"[rank {self.rank}] " if self.rank else ""
        with self.process.stdout or self.process.stderr as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip("\n")
                self.last = text.strip() or self.last
                sys.stderr.write(f"{prefix}{text}\n")  # text and end at once: the other workers' lines come meanwhile
                sys.stderr.flush()

    def _listen(self, told: queue.Queue) -> None:
        with self.channel.makefile("rb") as lines, suppress(ConnectionError):
            for line in lines:
                if line.endswith(b"\n"):  # a kill may have cut the last one
                    told.put((self, json.loads(line)))
        self.process.wait()
        self.threads[0].join(GRACE_S)  # its last words
        told.put((self, None))

    def answer(self) -> None:
        """Lets rank 0 go on after a picture."""
        with suppress(OSError):  # it is dead, and will be found to be
            self.channel.sendall(b"\n")

    def end(self) -> None:
        """Makes sure that nothing of it is left."""
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(GRACE_S)
        self.channel.close()

    @property
    def finished(self) -> bool:
        return self.process.returncode == 0

    @property
    def stopped(self) -> bool:
        """Whether it left because it was asked to; before training begins a signal just ends it."""
        if self.words:
            return self.words["stopped"]
        return not self.dismissed and -(self.process.returncode or 0) in SIGNALS

    @property
    def failed(self) -> bool:
        """Whether it said what went wrong in a sentence for people."""
        return bool(self.words) and not self.stopped and "sentence" in self.words

    @property
    def killed(self) -> bool:
        """Whether a stranger killed it: most often the kernel, for memory."""
        return self.process.returncode == -signal.SIGKILL and not self.overdue

    @property
    def guilt(self) -> int:
        """The smaller, the likelier the cause: peers of a lost worker fail, too, and may be heard first."""
        if self.killed:
            return 0
        if self.failed or self.stopped:
            return 1
        return 3 if (self.dismissed or self.overdue) and not self.words else 2


def attend(team: list[Worker], told: queue.Queue, stop: threading.Event, log: Log, show: Show) -> None:
    """Hears what the workers say until all have ended; passes on the wish to stop; takes all down when one failed."""
    running, places, asked, deadline = list(team), 0, False, math.inf
    while running:
        if stop.is_set() and not asked:
            asked, deadline = True, min(deadline, time.monotonic() + SAVING_S)
            for worker in running:
                worker.process.terminate()
        if time.monotonic() > deadline:
            deadline = math.inf
            for worker in running:
                worker.overdue = True
                worker.process.kill()
        try:
            worker, said = told.get(timeout=0.1)
        except queue.Empty:
            continue
        if said is None:
            running.remove(worker)
        elif "log" in said:
            log(*said["log"])
            continue
        elif "progress" in said:
            progress.passed_on(said["progress"])
            continue
        elif "show" in said:
            name, path = said["show"]
            show(name, Path(path))
            worker.answer()
            continue
        else:
            worker.words = said
        if worker.finished:
            left_s = LEAVING_S if worker.rank == 0 else math.inf
        elif worker.place is None:
            worker.place, places = places, places + 1
            if worker.words and worker.stopped:
                left_s = SAVING_S
            else:  # of what the others do now nothing can become of use
                left_s = GRACE_S
                for other in running:
                    if other is not worker:
                        other.dismissed = True
                        other.process.terminate()
        else:
            continue
        deadline = min(deadline, time.monotonic() + left_s)


def judge(team: list[Worker]) -> None:
    """Nothing where the work is done. Raises Stopped or WorkerFailed otherwise."""
    lead = team[0]
    gone = [worker for worker in team if worker.place is not None]
    if lead.finished and all(worker.overdue for worker in gone):
        return
    first = min(gone, key=lambda worker: (worker.guilt, worker.place))
    if first.stopped and lead.failed:  # while it saved
        first = lead
    if first.stopped:
        raise Stopped(
            lead.words["sentence"]
            if lead.words and lead.stopped
            else "The training was asked to stop and saved nothing new; its last checkpoint, if there is one, stands. "
            "Run again to go on."
        )
    if first.failed:
        raise WorkerFailed(first.words["sentence"], first.words["exit_code"])
    code = first.process.returncode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if first.overdue:
        how = "did not end when it was asked to, and was killed"
    last = (first.words or {}).get("crashed", first.last)
    said = f"; its last words: {last}" if last else ""
    memory = " Was it the memory? Try a smaller batch or micro_batch." if first.killed else ""
    raise WorkerFailed(
        f"Rank {first.rank} of {len(team)} {how}{said}.{memory} The others were ended with it, the log has all that "
        "was written. Run again to go on from the last checkpoint."
    )
