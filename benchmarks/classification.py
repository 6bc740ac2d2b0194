"""Many small trainings: a linear probe's arm, full training beside timm's own loop, start-up.

    python benchmarks/classification.py --weights tf_efficientnet_lite0.in1k.safetensors --write
    python benchmarks/classification.py --weights model.safetensors --only probe --keep probe.json

Pictures are drawn; `--weights` is a file for `--model`, fresh weights without it. Every part runs in a process of its
own; what is compared alternates in one process, so that a busy machine slows both. Writes its section of
docs/benchmarks.md anew and leaves the others.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from classification_table import section, title
from diffusion import alone, alternate, machine, publish, waiting

from rules import ROOT, commit_of

PARTS = ("probe", "small", "large", "startup")
NOT_FIGURES = ("keep", "read", "write")
SMALL = ("test_resnet", 32)
"""The embedded default's classifier and size."""
BARE = "import torch, timm"
OURS = "import taxaforge.classification.train"

# ---------------------------------------------------------------- parts, each in a process of its own


def probe(given: Namespace, folder: Path) -> dict:
    """Seconds of the process that trains a probe's arm: without kept features, with them, and with three repeats."""
    import classification_inputs as inputs

    inputs.arm(given, folder)

    def job(repeats: int) -> dict:
        began = time.perf_counter()
        subprocess.run([sys.executable, __file__, "--probe", folder, str(repeats)], check=True)
        return {"wall": time.perf_counter() - began, **json.loads((folder / "told.json").read_text("utf-8"))}

    return {"cold": job(1), "warm": [job(1) for _ in range(given.starts)], "three": job(3)}


def probe_job(folder: Path, repeats: int) -> None:
    """The arm `real+m` under as many seeds; leaves the seconds of its imports and of each."""
    began = time.perf_counter()
    from taxaforge.classification.frozen import train_probe

    told: dict = {"imported": time.perf_counter() - began, "repeats": []}
    job = json.loads((folder / "job.json").read_text("utf-8"))
    for seed in range(repeats):
        began = time.perf_counter()
        files = {"out": folder / f"{seed}.safetensors", "out_history": folder / f"{seed}.jsonl"}
        train_probe(**job, **files, seed=seed, cache=folder / "cache", every_s=1e9)
        told["repeats"].append(time.perf_counter() - began)
    (folder / "told.json").write_text(json.dumps(told), "utf-8")


def throughput(given: Namespace, folder: Path, model: str, size: int, weights: str) -> dict:
    """Images a second of `train.fit` beside timm's pieces, fed by timm's loader and from memory."""
    import classification_inputs as inputs

    packs = inputs.training(folder, given.pictures, size)
    loops: dict[str, Callable[[], None]] = {
        "ours": inputs.ours(given, packs, model, size, weights),
        "loader": inputs.timms(given, packs, model, size, weights, loader=True),
        "memory": inputs.timms(given, packs, model, size, weights, loader=False),
    }
    seconds = alternate(loops, given.pairs, 1, waiting(given))
    return {"seconds": seconds, "images": given.steps * given.batch, "model": model, "size": size}


def small(given: Namespace, folder: Path) -> dict:
    return throughput(given, folder, *SMALL, "")


def large(given: Namespace, folder: Path) -> dict:
    return throughput(given, folder, given.model, given.size, given.weights)


def startup(given: Namespace, folder: Path) -> dict:
    """Seconds of processes that import only: torch and timm, and what a training job imports."""
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    for number in range(-1, given.starts):
        for name, code in (("bare", BARE), ("ours", OURS)):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
    return {"seconds": seconds}


WORK = {"probe": probe, "small": small, "large": large, "startup": startup}


def measure(given: Namespace) -> dict:
    """All figures, as plain values."""
    found: dict = {"machine": alone(machine, given), "command": given.command, "commit": commit_of(ROOT / "results")}
    found["given"] = {name: value for name, value in vars(given).items() if name not in (*NOT_FIGURES, "weights")}
    found["given"]["pretrained"] = bool(given.weights)
    for part in given.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            found[part] = alone(WORK[part], given, Path(work))
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def asked(arguments: Sequence[str]) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--model", default="tf_efficientnet_lite0.in1k", help="of the probe and the larger training")
    parser.add_argument("--weights", default="", help="its weights, .safetensors; empty: fresh ones")
    parser.add_argument("--size", type=int, default=128, help="side in px at which it looks")
    parser.add_argument("--species", type=int, default=12)
    parser.add_argument("--real", type=int, default=20, help="real images a species, of the probe")
    parser.add_argument("--synthetic", type=int, default=16, help="synthetic images a species, of the probe")
    parser.add_argument("--views", type=int, default=4, help="augmented looks at each image, of the probe")
    parser.add_argument("--pictures", type=int, default=256, help="training images whose throughput is measured")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=16, help="steps a turn")
    parser.add_argument("--pairs", type=int, default=6, help="turns that are timed")
    parser.add_argument("--starts", type=int, default=5, help="processes that are timed")
    parser.add_argument("--workers", type=int, default=1, help="processes of timm's loader")
    parser.add_argument("--threads", type=int, default=1, help="of each side; a job of the workflow has one")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--read", type=Path, help="take the figures from there instead of measuring")
    parser.add_argument("--write", action="store_true", help="put the section on the page")
    given = parser.parse_args(arguments)
    given.weights = str(Path(given.weights).resolve()) if given.weights else ""
    given.command = command(parser, given)
    return given


def command(parser: argparse.ArgumentParser, given: Namespace) -> str:
    """What to type for the same figures: options that are not at their default; of files the names alone."""
    said = ["python benchmarks/classification.py"]
    for name, value in vars(given).items():
        if name not in NOT_FIGURES and value != parser.get_default(name):
            words = " ".join(value) if name == "only" else Path(value).name if name == "weights" else value
            said.append(f"--{name} {words}")
    return " ".join(said)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--probe"]:
        probe_job(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        publish(asked(sys.argv[1:]), measure, section, title)
