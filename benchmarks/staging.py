"""Does training level by level help rare species? Four variants at equal compute, on collections with a known answer and on photographs.

    nice python benchmarks/staging.py --work ~/staging --workers 2 --write

Everything is made under --work, once; a killed run goes on when started again. Denoisers are trained from
scratch without a base stage, all of them whole in every stage, so that variants differ in which condition the
network sees when. Writes its section of docs/benchmarks.md from whatever is finished.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import staging_table
from staging_inputs import (
    COLLECTIONS,
    LEVELS,
    WORLDS,
    figures,
    halvings,
    make_support,
    make_world,
    seen_by_judge,
)

from rules import HEAD, PAGE, ROOT, commit_of, put
from taxaforge.files import read_json, read_lines, write_json

TITLE = "Staged training at equal compute"
VARIANTS = {"joint": ["joint"], "progressive": LEVELS, "random_level": ["random_level"], "flat": LEVELS[-1:]}
"""variant -> its stages; every variant's stages share its steps evenly."""


@dataclass(frozen=True)
class Item:
    collection: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.collection}.{self.variant}.{self.seed}"


def items(collections: Sequence[str], variants: Sequence[str], seeds: int) -> list[Item]:
    """All work, one whole seed of everything before the next."""
    return [Item(c, v, seed) for seed in range(seeds) for c in collections for v in variants]


def settings_of(given: argparse.Namespace) -> dict:
    """What a result depends on beside its item."""
    names = ("size", "channels", "steps", "batch", "learning_rate", "denoising", "scales")
    return {name: getattr(given, name) for name in names}


# ---------------------------------------------------------------- one item


def training(variant: str, settings: dict) -> dict:
    """What `stage.train` takes as cfg; for every stage of a variant the same."""
    from taxaforge.config.diffusion import Diffusion

    made = Diffusion(
        variant=variant,
        trainable="full",
        base={"steps": 0},
        levels=LEVELS,
        channels=settings["channels"],
        steps=settings["steps"] // len(VARIANTS[variant]),
        batch_size=settings["batch"],
        learning_rate=settings["learning_rate"],
        watch={"samples_every": 0, "validate_every": 0},
        checkpoint_every=100,
    )
    cfg = {name: value for name, value in made.model_dump().items() if name not in ("base", "stages", "contour")}
    return cfg | {"levels": made.used_levels, "size": settings["size"]}


def do_item(item: Item, work: Path, settings: dict, device: str) -> None:
    """Trains, draws, measures and writes results/<item>.json; the pictures stay under pictures/."""
    import numpy as np

    from taxaforge.config.guidance import Cfg
    from taxaforge.diffusion import backbone as backbones
    from taxaforge.diffusion.stage import train
    from taxaforge.guidance.generate import draw
    from taxaforge.guidance.recipe import Aids
    from taxaforge.guidance.worklist import batches, worklist
    from taxaforge.packs import Pack

    world = work / "worlds" / COLLECTIONS[item.collection].world
    support = work / "support" / f"{item.collection}.{item.seed}"
    texts = support / ("flat.safetensors" if item.variant == "flat" else "lineage.safetensors")
    cfg = training(item.variant, settings) | {"seed": item.seed}
    place, init, history = work / "items" / item.name, None, []
    began = time.process_time()
    for stage in VARIANTS[item.variant]:
        out = place / stage
        if not out.exists():
            train(
                stage=stage,
                pack=support / "support.npy",
                texts=texts,
                cfg=cfg,
                seed=item.seed,
                out=out,
                state_dir=place / "state" / stage,
                init=init,
                device=device,
                every_s=30,
            )
        history += [{**line, "stage": stage} for line in read_lines(out / "history.jsonl")]
        init = out
    trained = time.process_time()
    backbone = backbones.load(init, texts=texts, device=device)
    held_out = Pack.load(world / "held_out.npy")
    real = seen_by_judge(world, held_out, device)
    rare = np.array([held_out.classes.index(name) for name in read_json(world / "world.json")["rare"]])
    counts = [WORLDS[world.name].held_out // 2] * len(held_out.classes)
    work_list = worklist(held_out.classes, counts, "cfg", item.seed)
    todo = batches(work_list, 0, 1, 64 if device == "cpu" else 256)
    names = [one.identifier for one in work_list]
    label = np.array([one.label for one in work_list], np.int64)
    result: dict = {}
    aids = Aids([{"species": name} for name in held_out.classes])
    for scale in settings["scales"]:
        how = {**Cfg(scale=scale).model_dump(), "steps": settings["denoising"], "scheduler": "ddim"}
        how |= {"name": "cfg", "seed": item.seed}
        pixels = np.concatenate([draw(backbone, batch, how, aids, device)[0] for batch in todo])
        pictures = Pack(pixels, held_out.classes, names, label, names, [""] * len(names))
        pictures.save(work / "pictures" / f"{item.name}.{scale:g}.npy")
        seen = seen_by_judge(world, pictures, device)
        result[f"{scale:g}"] = figures(seen, real, rare, halvings(real)) | {"right": seen.right.astype(int).tolist()}
    write_json(
        work / "results" / f"{item.name}.json",
        {
            "collection": item.collection,
            "variant": item.variant,
            "seed": item.seed,
            "settings": settings,
            "cpu_seconds": {"training": trained - began, "drawing": time.process_time() - trained},
            "history": history,
            "label": label.tolist(),
            "guidance": result,
        },
    )
    shutil.rmtree(place)


# ---------------------------------------------------------------- many of them


def done(work: Path, job: list[str]) -> Path:
    """The file that a job writes last."""
    kind, name = job[0], ".".join(job[1:])
    last = {
        "world": f"worlds/{name}/world.json",
        "support": f"support/{name}/flat.json",
        "item": f"results/{name}.json",
    }
    return work / last[kind]


def do(job: list[str], given: argparse.Namespace) -> None:
    kind, name, *rest = job
    if kind == "world":
        make_world(name, given.work / "worlds" / name, given.shared, given.size)
    elif kind == "support":
        world = given.work / "worlds" / COLLECTIONS[name].world
        make_support(COLLECTIONS[name], int(rest[0]), world, done(given.work, job).parent, given.device)
    else:
        do_item(Item(name, rest[0], int(rest[1])), given.work, settings_of(given), given.device)


def phases(given: argparse.Namespace) -> list[list[list[str]]]:
    """Jobs that may run side by side; a phase needs all of the one before."""
    worlds = dict.fromkeys(COLLECTIONS[name].world for name in given.collections)
    supports = [["support", name, str(seed)] for seed in range(given.seeds) for name in given.collections]
    work = [["item", i.collection, i.variant, str(i.seed)] for i in items(given.collections, VARIANTS, given.seeds)]
    prepared = [[["world", name] for name in worlds], supports]
    return prepared if given.prepare else [*prepared, work]


def run(given: argparse.Namespace) -> bool:
    """Does what is not done yet, every job in a process of its own; True where all went well."""
    given.work.mkdir(parents=True, exist_ok=True)
    began, longest = time.monotonic(), 0.0
    for phase in phases(given):
        waiting = [job for job in phase if not done(given.work, job).exists()]
        running: dict[subprocess.Popen, tuple[list[str], float]] = {}
        count, failed = len(waiting), []
        try:
            while waiting or running:
                spent = (time.monotonic() - began + longest) / 60
                if waiting and phase[0][0] == "item" and given.budget_minutes and spent > given.budget_minutes:
                    print(f"the budget is spent, {len(waiting)} items are left", flush=True)
                    waiting.clear()
                while waiting and len(running) < given.workers:
                    job = waiting.pop(0)
                    running[start(job, given.work)] = job, time.monotonic()
                time.sleep(0.2)
                for process in [one for one in running if one.poll() is not None]:
                    job, since = running.pop(process)
                    seconds = time.monotonic() - since
                    if process.returncode:
                        failed.append(job)
                    elif job[0] == "item":
                        longest = max(longest, seconds)
                    state = f"FAILED, see {log_of(given.work, job)}" if process.returncode else f"{seconds:.0f} s"
                    left = len(waiting) + len(running)
                    print(f"{' '.join(job)}: {state}; {count - left} of {count}", flush=True)
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
        if failed:
            return False
    return True


def log_of(work: Path, job: list[str]) -> Path:
    return work / "logs" / f"{'.'.join(job)}.log"


def start(job: list[str], work: Path) -> subprocess.Popen:
    """This program again, for one job."""
    path = log_of(work, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--job", *job],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )


# ---------------------------------------------------------------- the page


def section(work: Path, settings: dict, commit: str) -> str:
    results = [read_json(path) for path in sorted((work / "results").glob("*.json"))]
    others = [one for one in results if one["settings"] != settings]
    if others:
        raise SystemExit(
            f"{work} holds results of other settings: {others[0]['settings']}. Give those, or another --work."
        )
    worlds = {
        name: read_json(done(work, ["world", one.world]))
        for name, one in COLLECTIONS.items()
        if done(work, ["world", one.world]).exists()
    }
    words = staging_table.words(results, worlds, settings, commit)
    real = {name: world["real"] for name, world in worlds.items()}
    return f"## {TITLE}\n\n{words}\n\n" + staging_table.tables(results, real, list(COLLECTIONS), list(VARIANTS))


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder outside the checkout; pictures stay in it")
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--collections", nargs="+", choices=COLLECTIONS, default=list(COLLECTIONS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--channels", type=int, nargs="+", default=[48, 64, 96])
    parser.add_argument("--steps", type=int, default=400, help="optimiser steps of a variant in all, divisible by 4")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--denoising", type=int, default=16, help="steps of the sampler")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 2.0], help="of classifier-free guidance")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--budget-minutes", type=float, default=0, help="start no item that would end later; 0: no limit"
    )
    parser.add_argument("--prepare", action="store_true", help="worlds, judges and texts only")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    parser.add_argument("--no-run", action="store_true", help="with --write: from what there is")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.steps % len(LEVELS):
        parser.error(f"--steps {given.steps} cannot be shared by {len(LEVELS)} stages")
    return given


if __name__ == "__main__":
    given = asked()
    if given.job:
        do(given.job, given)
        sys.exit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    well = given.no_run or run(given)
    if given.write:
        put(PAGE, HEAD, TITLE, section(given.work, settings_of(given), commit_of(ROOT / "results")))
        print(f"wrote {PAGE.name}: {TITLE}")
    sys.exit(not well)
