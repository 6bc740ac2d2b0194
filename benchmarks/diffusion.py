"""Training beside its peers: steps a second, memory of a later stage, data loading, start-up.

    python benchmarks/diffusion.py --write
    python benchmarks/diffusion.py --device cuda --width 1 --size 512 --batch 16 --precision bf16 --keep gpu.json
    python benchmarks/diffusion.py --read gpu.json --write        # the page, from figures measured elsewhere

The Stable Diffusion is random, with SD 1.5's structure at `--width` times its channels. Every part runs in a process
of its own; what is compared alternates in one process, so that a busy machine slows both. Writes its section of
docs/benchmarks.md anew and leaves the others.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from diffusion_table import section, title

from rules import HEAD, PAGE, ROOT, commit_of, put

PARTS = ("steps", "memory", "loading", "startup")
BARE = "import torch, accelerate; from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel"


def alternate(loops: dict[str, Callable[[], None]], pairs: int, block: int, wait: Callable[[], None]) -> dict:
    """Seconds a step of every loop in each of `pairs` blocks of `block` steps, one loop after the other.

    A block of each goes before the clock starts. wait: returns when the device has done its work.
    """
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(-1, pairs):
        for name, loop in loops.items():
            began = time.perf_counter()
            for _ in range(block):
                loop()
            wait()
            if number >= 0:
                seconds[name].append((time.perf_counter() - began) / block)
    return seconds


# ---------------------------------------------------------------- parts, each in a process of its own


def waiting(given: Namespace) -> Callable[[], None]:
    import torch

    return torch.cuda.synchronize if given.device == "cuda" else lambda: None


def steps(given: Namespace, folder: Path) -> dict:
    """The first stage with its caches, beside the recipe without; and the stage fed from memory."""
    import diffusion_inputs as inputs
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from taxaforge.diffusion import devices, latents
    from taxaforge.diffusion.stage import start
    from taxaforge.packs import Pack

    inputs.pictures(given.pictures, given.size).save(folder / "train.npy")
    data = Pack.load(folder / "train.npy")
    with (
        inputs.pipeline(given.width, given.device, inputs.on_disk(given, folder)) as name,
        devices.opened(given.device, given.precision) as accelerator,
    ):
        began, where = time.perf_counter(), {"pretrained": name, "revision": "main", "size": given.size}
        latents.encode(
            pack=folder / "train.npy", out=folder / "train-latents.npy", flip=True, device=given.device, **where
        )
        encoded = time.perf_counter() - began
        cfg = inputs.stage_cfg(given, name, "order")
        texts = inputs.lineages(cfg["levels"], 77, inputs.configs(given.width)["text_encoder"]["hidden_size"])
        run = start("order", texts, data, cfg, 0, None, accelerator, folder / "train-latents.npy")
        cached, held = run.source, torch.from_numpy(run.source.array.copy())
        peer = inputs.Reference(given, data, folder)
        loops, flop = {"ours": run.advance, "peer": peer.advance}, {}
        seconds = alternate(loops, given.pairs, given.block, waiting(given))
        for loop, advance in loops.items():
            with FlopCounterMode(display=False) as counter:
                advance()
            flop[loop] = counter.get_total_flops()
        feeds = {"ours": cached, "memory": lambda chosen, mirrored: held[chosen, mirrored.long()]}
        loading = alternate({feed: fed(run, source) for feed, source in feeds.items()}, given.pairs, given.block, waiting(given))  # fmt: skip
    unet, vae, text = (sum(value.numel() for value in part.parameters()) for part in (peer.unet, peer.vae, peer.text))
    return {
        "seconds": seconds,
        "flop": flop,
        "latents": loading,
        "encoding_s": encoded / given.pictures,
        "trained": {"ours": sum(value.numel() for value in run.values), "peer": sum(v.numel() for v in peer.trained)},
        "parameters": {"UNet": unet - sum(v.numel() for v in peer.trained), "VAE": vae, "text encoder": text},
    }


def fed(run, source) -> Callable[[], None]:
    """The steps of a run, fed from a source."""

    def advance() -> None:
        run.source = source
        run.advance()

    return advance


def first_stage(given: Namespace, folder: Path) -> None:
    """What `memory` starts from."""
    import diffusion_inputs as inputs

    inputs.first_stage(given, folder)


def memory(given: Namespace, folder: Path, trainable: str) -> dict:
    """Three steps of the second stage, in a process that does nothing else. MiB, resident or on the GPU."""
    import diffusion_inputs as inputs
    import torch

    from taxaforge.diffusion import devices
    from taxaforge.diffusion.lineages import Lineages
    from taxaforge.diffusion.stage import start
    from taxaforge.packs import Pack

    imported = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with (
        inputs.pipeline(given.memory_width, "cpu", inputs.on_disk(given, folder)) as name,
        devices.opened(given.device, given.precision) as accelerator,
    ):
        cfg = inputs.stage_cfg(given, name, "family", trainable=trainable) | {"batch_size": given.memory_batch}
        texts, data = Lineages.load(folder / "texts.safetensors"), Pack.load(folder / "train.npy")
        run = start("family", texts, data, cfg, 0, folder / "order", accelerator, folder / "latents.npy")
        for _ in range(3):
            run.advance()
        peak = devices.peak_mib(torch.device(given.device))
    return {
        "peak": peak,
        "imported": 0.0 if given.device == "cuda" else imported,
        "trained": sum(value.numel() for value in run.values),
        "frozen": sum(value.numel() for value in run.objective.parameters() if not value.requires_grad),
    }


def loading(given: Namespace, folder: Path) -> dict:
    """The base stage of the embedded default, fed from its memory-mapped pack and from memory."""
    import diffusion_inputs as inputs
    import torch

    from taxaforge.diffusion import devices
    from taxaforge.diffusion.lineages import Lineages
    from taxaforge.diffusion.stage import start
    from taxaforge.packs import Pack

    cfg = inputs.default(given, folder)["cfg"]
    texts, data = Lineages.load(folder / "texts.safetensors"), Pack.load(folder / "train.npy")
    with devices.opened(given.device, cfg["precision"]) as accelerator:
        run = start("base", texts, data, cfg, 0, None, accelerator)
        mapped, everything = run.source, torch.arange(len(data))
        held = torch.stack([mapped(everything, torch.full((len(data),), side)) for side in (False, True)])
        feeds = {"ours": mapped, "memory": lambda chosen, mirrored: held[mirrored.long(), chosen]}
        loops = {feed: fed(run, source) for feed, source in feeds.items()}
        return {"seconds": alternate(loops, 6 * given.pairs, 2, waiting(given)), "batch": run.size}


def startup(given: Namespace, folder: Path) -> dict:
    """Seconds from the start of a process to the end of its first step, and of one that only imports the libraries."""
    import diffusion_inputs as inputs

    taken, bare, moments = [], [], []
    with (folder / "job.json").open("w", encoding="utf-8") as file:
        json.dump(inputs.default(given, folder), file)
    for _ in range(given.starts):
        began = time.time()
        subprocess.run([sys.executable, "-c", BARE], check=True)
        bare.append(time.time() - began)
        began = time.time()
        subprocess.run([sys.executable, __file__, "--first-step", folder], check=True, cwd=folder)
        told = json.loads((folder / "told.json").read_text("utf-8"))
        taken.append(told["stepped"] - began)
        moments.append({name: moment - began for name, moment in told.items()})
    return {"ours": taken, "bare": bare, "moments": moments}


def first_step(folder: Path) -> None:
    """As Snakemake starts the script of rule train_stage; ends with the first step."""
    import runpy

    from snakemake import iocontainers as io
    from snakemake.logging import logger  # noqa: F401 -- imported by every script that Snakemake starts

    given = json.loads((folder / "job.json").read_text("utf-8"))
    os.environ["TAXAFORGE_RUNTIME"] = json.dumps(given["runtime"])
    os.environ["TAXAFORGE_NETWORK"] = "{}"
    files = {"train": "train.npy", "validation": "validation.npy", "texts": "texts.safetensors"}
    job = io.Snakemake(
        io.InputFiles(fromdict=files),
        io.OutputFiles(fromdict={"model": "results/diffusion/base"}),
        io.Params(fromdict={"cfg": given["cfg"], "key": given["key"]}),
        io.Wildcards(fromdict={"stage": "base"}),
        given["runtime"]["threads"],
        io.ResourceList(fromdict={"gpu": int(given["runtime"]["device"] == "cuda")}),
        io.Log(["results/logs/train_stage/base.log"]),
        {},
        "train_stage",
        None,
    )
    moments = {"snakemake": time.time()}
    from taxaforge.diffusion import stage  # what the script imports next anyhow; here to be told of the step
    from taxaforge.diffusion.training import Run

    moments["imported"] = time.time()
    advance = Run.advance

    def told(run) -> None:
        moments["ready"] = time.time()
        advance(run)
        waiting(Namespace(device=given["runtime"]["device"]))()
        moments["stepped"] = time.time()
        Path("told.json").write_text(json.dumps(moments), "utf-8")
        os._exit(0)

    stage.Run.advance = told
    runpy.run_path(str(ROOT / "scripts" / "train_stage.py"), {"snakemake": job})


def alone(work: Callable[..., dict], *values) -> dict:
    """What `work(*values)` returns in a fresh process, which inherits nobody's peak of memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *values).result()


WORK = {"steps": steps, "loading": loading, "startup": startup}


def machine(given: Namespace) -> dict:
    import torch

    name = torch.cuda.get_device_name() if given.device == "cuda" else f"{given.threads} cores, {platform.machine()}"
    return {"name": name, "torch": torch.__version__}


def measure(given: Namespace) -> dict:
    """All figures, as plain values."""
    found: dict = {"machine": alone(machine, given), "command": given.command, "commit": commit_of(ROOT / "results")}
    found["given"] = {name: value for name, value in vars(given).items() if name not in ("keep", "read", "write")}
    for part in given.only:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            if part == "memory":
                alone(first_stage, given, folder)
                found[part] = {kind: alone(memory, given, folder, kind) for kind in ("published", "full")}
            else:
                found[part] = alone(WORK[part], given, folder)
        print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def asked(arguments: Sequence[str]) -> Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--width", type=float, default=0.25, help="share of SD 1.5's channels")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in px")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of blocks")
    parser.add_argument("--block", type=int, default=2, help="steps a block")
    parser.add_argument("--pictures", type=int, default=16, help="pictures of the Stable Diffusion")
    parser.add_argument("--workers", type=int, help="processes that load the recipe's pictures; default 0, 8 on a GPU")
    parser.add_argument("--memory-width", type=float, help="width for the memory; default 0.5, --width on a GPU")
    parser.add_argument("--memory-batch", type=int, default=2)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peak-tflops", type=float, help="of the device, for the utilisation; default 989 on a GPU")
    parser.add_argument(
        "--on-disk", action=argparse.BooleanOptionalAction, help="write the pipeline; default on the CPU"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--keep", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--read", type=Path, help="take the figures from there instead of measuring")
    parser.add_argument("--write", action="store_true", help="put the section on the page")
    given = parser.parse_args(arguments)
    given.command = command(parser, given)
    gpu = given.device == "cuda"
    usual = {
        "workers": 8 if gpu else 0,
        "memory_width": given.width if gpu else 0.5,
        "peak_tflops": 989.0 if gpu else None,
        "on_disk": not gpu,
    }
    for name, value in usual.items():
        if getattr(given, name) is None:
            setattr(given, name, value)
    return given


def command(parser: argparse.ArgumentParser, given: Namespace) -> str:
    """What to type for the same figures: options that are not at their default, and no paths."""
    said = ["python benchmarks/diffusion.py"]
    for name, value in vars(given).items():
        if name not in ("keep", "read", "write", "on_disk") and value != parser.get_default(name):
            said.append(f"--{name.replace('_', '-')} {' '.join(value) if name == 'only' else value}")
    return " ".join(said)


def publish(
    given: Namespace, measure: Callable[[Namespace], dict], section: Callable[[dict], str], title: Callable[[dict], str]
) -> None:
    """Measures, or reads what was measured elsewhere; keeps it, prints its section, and writes that where asked to."""
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    found = json.loads(given.read.read_text("utf-8")) if given.read else measure(given)
    if given.keep:
        given.keep.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    found["commit"] = found["commit"] or commit_of(ROOT / "results")  # the machine with the GPU has files alone
    text = section(found)
    print(text)
    if given.write:
        put(PAGE, HEAD, title(found), text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first-step"]:
        first_step(Path(sys.argv[2]))
    else:
        publish(asked(sys.argv[1:]), measure, section, title)
