"""Several processes of one machine train one stage together; whoever asked for it sees one function call.

    train(4, stage="order", ..., log=run.log, show=run.show)
     |- python -m taxaforge.diffusion.launch request.json <channel>     rank 0: metrics, pictures, sentences come back
     |- python -m taxaforge.diffusion.launch request.json <channel>     rank 1: sentences come back
     ...

What is asked for stands in the request. A channel is one end of a socket pair, with a JSON object a line.
A worker never outlives the one that started it: the kernel ends it with its parent, even after SIGKILL.
"""

import ctypes
import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from taxaforge import progress
from taxaforge.diffusion.checkpoint import SIGNALS, Stopped, stop_flag
from taxaforge.diffusion.crew import Log, Show, Worker, attend, judge
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_json

PR_SET_PDEATHSIG = 1


def train(
    processes: int,
    *,
    log: Log = lambda step, values: None,
    show: Show = lambda name, path: None,
    **arguments,
) -> None:
    """Trains a stage in `processes` processes; in this one where that is 1.

    Args:
        log, show: called in this process, in the order in which rank 0 calls its own; `show` returns
            before rank 0 goes on, so that the picture is still there.
        arguments: of `stage.train`; plain values and paths. OMP_NUM_THREADS is divided among the processes.
    Raises: Stopped after a signal, with the state saved where training had begun; WorkerFailed with the
        sentence of a TaxaforgeError, or with what is known of a worker that died. No worker is left then.
    """
    if processes <= 1:
        from taxaforge.diffusion import stage

        stage.train(**arguments, log=log, show=show)
        return
    with tempfile.TemporaryDirectory(prefix="taxaforge-") as folder, stop_flag() as stop:
        request = Path(folder, "request.json")
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        write_json(request, {"parent": os.getpid(), "arguments": plain})
        command = [sys.executable, "-P", "-m", "taxaforge.diffusion.launch", str(request)]
        port, told, team = _free_port(), queue.Queue(), []
        try:
            for rank in range(processes):
                team.append(Worker(rank, command, _environment(rank, processes, port), told))
            attend(team, told, stop, log, show)
        finally:
            for worker in team:
                worker.end()
        judge(team)


def _environment(rank: int, processes: int, port: int) -> dict[str, str]:
    """What tells a worker who it is, on top of what its parent has."""
    threads = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    threads = int(threads) if threads.isdecimal() else os.cpu_count() or 1
    own = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": max(1, threads // processes),
        "PYTHONUNBUFFERED": 1,
    }
    if sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
        own["GLOO_SOCKET_IFNAME"] = "lo"  # the name of this machine need not lead back to it
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class _Channel:
    """The worker's end."""

    def __init__(self, descriptor: int):
        self.socket = socket.socket(fileno=descriptor)

    def say(self, **words) -> None:
        self.socket.sendall((json.dumps(words) + "\n").encode())

    def log(self, step: int | None, values: dict[str, float]) -> None:
        self.say(log=[step, {name: float(value) for name, value in values.items()}])

    def show(self, name: str, path: Path) -> None:
        self.say(show=[name, str(path)])
        self.socket.recv(1)  # the picture may be moved once this returns

    def write(self, text: str) -> None:
        """Progress, as a stream gets it."""
        if text.strip():
            self.say(progress=text.rstrip("\n"))

    def flush(self) -> None:
        """Nothing is held back."""


def main(request: str, descriptor: str) -> None:
    """A worker: trains, and says how it ended."""
    asked = read_json(request)
    _end_with(asked["parent"])
    for number in SIGNALS:  # until training begins there is nothing to save
        signal.signal(number, signal.SIG_DFL)
    channel = _Channel(int(descriptor))
    heard = {}
    if os.environ["RANK"] == "0":
        heard = {"log": channel.log, "show": channel.show}
        progress.echo_to(channel)
    try:
        from taxaforge.diffusion import stage

        stage.train(**asked["arguments"], **heard)
        for number in SIGNALS:  # done: too late to stop
            signal.signal(number, signal.SIG_IGN)
    except TaxaforgeError as error:
        channel.say(sentence=str(error), stopped=isinstance(error, Stopped), exit_code=error.exit_code)
        sys.exit(error.exit_code)
    except BaseException as error:
        channel.say(crashed=f"{type(error).__name__}: {error}", stopped=False)
        raise


def _end_with(parent: int) -> None:
    """Ends this process when its parent ends, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was faster
            os._exit(1)
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(*sys.argv[1:])
