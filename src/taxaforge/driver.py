"""What the workflow's driver tells its jobs through the environment, and what it does when one fails.

Knobs of the machine and the identity of an invocation must not be part of `params`, where they
would rerun jobs; jobs inherit them from the driver instead.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from taxaforge.config.settings import Settings, dump
from taxaforge.tracking.spool import SPOOL, close_invocation


def announce(settings: Settings, root: Path, cores: int | None) -> None:
    """Sets the variables that `taxaforge.adapter.job` reads.

    Args:
        root: the checkout; its src/ leads PYTHONPATH, so that jobs run the code that was planned with.
        cores: what the invocation may use, None in a dry run.
    """
    start = time.time()
    os.environ["TAXAFORGE_RUNTIME"] = json.dumps(dump(settings.runtime))
    os.environ["TAXAFORGE_NETWORK"] = json.dumps({**dump(settings.network), "offline": settings.taxonomy.offline})
    os.environ["TAXAFORGE_CORES"] = str(cores or 0)
    os.environ["TAXAFORGE_COMMIT"] = git_commit(root)
    os.environ["TAXAFORGE_RUN_NAME"] = settings.run.name
    # A cluster job parses the workflow again and must keep the invocation that submitted it.
    os.environ.setdefault("TAXAFORGE_INVOCATION_STARTED", f"{start:.3f}")
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(start))
    os.environ.setdefault("TAXAFORGE_INVOCATION", f"{stamp}-{os.getpid()}")
    source, path = str(root / "src"), os.environ.get("PYTHONPATH", "")
    if source not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, path]))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def git_commit(root: Path) -> str:
    """The checkout's commit, "+" behind it when files are changed; "unknown" outside git."""
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip() or "unknown"
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def ship_after_error(settings: Settings) -> None:
    """Sends the records of an invocation that failed: what finished before, and the failure itself."""
    if settings.tracking.enabled:
        close_invocation(SPOOL, os.environ["TAXAFORGE_INVOCATION"], "failed")
        send = [sys.executable, "-m", "taxaforge.tracking", "ship"]
        send += ["--uri", settings.runtime.tracking_uri, "--experiment", settings.tracking.experiment]
        subprocess.run(send, timeout=600, check=False)
