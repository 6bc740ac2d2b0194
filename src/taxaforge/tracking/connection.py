"""Before a store is spoken to: is it alive, are we alone, and will the client keep its patience short?"""

import fcntl
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ANSWER_S = 4.0  # how long a server may take to show that it lives


@contextmanager
def only_shipper(spool: Path, wait_s: float = 20.0) -> Iterator[bool]:
    """True while no other process ships from this spool: two at once would make runs twice."""
    spool.mkdir(parents=True, exist_ok=True)
    with (spool / ".lock").open("w") as lock:
        until = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    yield False
                    return
                time.sleep(0.2)
        yield True


def answers(uri: str) -> bool:
    """Does anything answer there within ANSWER_S, name lookup included? Any HTTP status counts."""
    alive = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=ANSWER_S).close()
            alive.set()
        except urllib.error.HTTPError:
            alive.set()
        except urllib.error.URLError as error:
            if "CERTIFICATE" in str(error.reason):  # mlflow may have been told to trust it
                alive.set()
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S + 0.5)
    return alive.is_set()


def prepare(user: str | None, password: str | None) -> None:
    """Short timeouts, no telemetry, no chatter: read by mlflow when it is imported or used."""
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "5"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    if user:
        os.environ["MLFLOW_TRACKING_USERNAME"] = user
    if password:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = password
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
