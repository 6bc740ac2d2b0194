"""Draw one shard of a method's images, each with a record; a killed job goes on where it was.

A shard's folder holds `<species>/<identifier>.png`, `records.jsonl` (one line an image, in the
run's order) and `shard.json` (what the shard was asked for, so that gathering knows what must be
there). Same settings and model, same bytes: nothing in it tells the time or the machine.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion.contour import Contour
from taxaforge.diffusion.sampler import NotFinite, Watch, sample
from taxaforge.diffusion.schedule import begun, first_step
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, sha256_of, write_json, write_lines
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.prompts import Prompts
from taxaforge.guidance.recipe import Aids, Recipe
from taxaforge.guidance.registry import METHODS
from taxaforge.guidance.terms import guided
from taxaforge.guidance.worklist import Item, batches, worklist
from taxaforge.packs import Pack
from taxaforge.progress import Progress


def generate(
    *,
    model: str | Path,
    texts: str | Path,
    classes: str | Path,
    allocation: str | Path,
    method: str,
    cfg: dict,
    seed: int,
    shard: int,
    shards: int,
    out: str | Path,
    train: str | Path | None = None,
    prompts: str | Path | None = None,
    contour: str | Path | None = None,
    guide: str | Path | None = None,
    micro_batch: int = 64,
    state_dir: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Draw the images of shard `shard` of `shards` into the folder `out`.

    Args:
        model, texts: a trained stage and the frozen text it was trained with.
        classes: classes.json of the run. allocation: JSON, species -> images.
        method: its name in the run. cfg: `kind`, `steps`, `scheduler`, and the settings of the kind.
        seed: of the run; an image's own seed comes from it, its species and its index.
        train, prompts, contour, guide: pack of training images, sentences of the method, contour adapter and
            guiding classifier, for kinds that use them.
        micro_batch: images denoised at once. Changes images by rounding only (a grey level here and
            there), and never which images there are or which shard draws them.
        state_dir: keeps finished images while the job runs, and after a kill; emptied at the end.
            None: a kill starts the shard afresh.
        log: told the number of images and the seconds an image took, loading the model included.
    Raises: TaxaforgeError for an unknown kind or shard, or what a kind lacks; NotFinite, naming method, step and images.
    """
    if cfg["kind"] not in METHODS:
        raise TaxaforgeError(f"No guidance method is of kind {cfg['kind']!r}. Choose from {', '.join(METHODS)}.")
    records, counts = read_json(classes), read_json(allocation)
    species = [record["species"] for record in records]
    cfg = {**cfg, "name": method, "seed": seed}
    items = worklist(species, [counts[name] for name in species], method, seed)
    todo = batches(items, shard, shards, micro_batch)
    asked = {"method": method, "seed": seed, "cfg": cfg, "shard": shard, "shards": shards, "counts": counts}
    used = [Path(path) for path in (model, texts, train, prompts, contour, guide) if path]
    with _workplace(state_dir, out, {**asked, "species": species, "from": _digest(used)}) as work:
        began = time.monotonic()
        missing = [batch for batch in todo if not all(_note(work, item).exists() for item in batch)]
        if missing:
            backbone = backbones.load(model, texts=texts, device=device)
            aids = _aids(records, backbone, train, prompts, contour, guide, device)
            prompts_of = _lineages(texts)
            done = sum(map(len, todo)) - sum(map(len, missing))
            progress = Progress(method, sum(map(len, todo)), "images", start=done, every_s=every_s)
            for batch in missing:  # a batch that a kill cut in two is drawn again whole, so that its bytes are the same
                watch = _shown(progress, done, len(batch), cfg["steps"])
                pixels, facts = draw(backbone, batch, cfg, aids, device, watch)
                for item, image, fact in zip(batch, pixels, facts, strict=True):
                    with atomic(work / item.file_name) as temporary:
                        Image.fromarray(image).save(temporary, format="png")
                    write_json(_note(work, item), _record(item, cfg, aids, prompts_of[item.label], fact))
                done += len(batch)
                progress(done)
        drawn, seconds = sum(map(len, missing)), time.monotonic() - began
        with atomic(out) as folder:
            folder.mkdir()
            mine = [item for batch in todo for item in batch]
            for item in mine:
                _link(work / item.file_name, folder / item.file_name)
            write_lines(folder / "records.jsonl", [read_json(_note(work, item)) for item in mine])
            write_json(folder / "shard.json", {**asked, "species": species})
    log(None, {"images": len(mine), **({"seconds_per_image": seconds / drawn} if drawn else {})})


def _aids(records: list[dict], backbone, train, prompts, contour, guide, device: str) -> Aids:
    return Aids(
        classes=records,
        train=Pack.load(train) if train else None,
        prompts=Prompts.load(prompts) if prompts else None,
        contour=Contour.load(contour, backbone) if contour else None,
        guide=_guide(guide, device) if guide else None,
    )


def _guide(path: str | Path, device: str):
    from taxaforge.classification.model import load  # timm takes seconds to import, and few methods have a guide

    classifier = load(path, device)
    classifier.net.requires_grad_(False)
    return classifier


def _shown(progress: Progress, before: int, size: int, steps: int) -> Watch:
    """Counts a batch's images as done in proportion to its steps, so that a long batch is not silent."""
    return lambda step, z, prediction: progress(before + size * step // steps)


def draw(
    backbone: backbones.Backbone,
    batch: Sequence[Item],
    cfg: dict,
    aids: Aids,
    device: str = "cpu",
    watch: Watch | None = None,
) -> tuple[np.ndarray, list[dict]]:
    """The images of one batch, uint8 (B, H, W, 3), and of each what only the drawing tells.

    Raises: NotFinite naming method, step and identifiers; what the method's recipe raises.
    """
    with torch.no_grad():
        recipe = METHODS[cfg["kind"]].recipe(backbone, batch, cfg, aids)
        schedule = backbone.native_scheduler(cfg["steps"], cfg["scheduler"])
        z, start = _begun(backbone, batch, recipe, schedule, device)
    predict = guided(backbone.predict, recipe.term, recipe.outline, recipe.correction)
    try:
        z = sample(predict, z, schedule, start, watch)
    except NotFinite as error:
        names = [batch[position].identifier for position in error.images]
        raise NotFinite(error.step, names, cfg["name"]) from None
    traces = recipe.trace() if recipe.trace else [{}] * len(batch)
    firsts = [start] * len(batch) if isinstance(start, int) else start.tolist()
    facts = [{"steps": cfg["steps"] - first, "trace": trace} for first, trace in zip(firsts, traces, strict=True)]
    return backbone.to_image(z), facts


def _begun(backbone, batch: Sequence[Item], recipe: Recipe, schedule, device: str):
    """Latents (B, c, h, w) to start from and the step, one for all or (B,)."""
    eps = initial_noise([item.seed for item in batch], backbone.latent_shape).to(device)
    if recipe.start is None:
        return begun(schedule, eps), 0
    steps = len(schedule.timesteps)
    start = torch.tensor([first_step(steps, strength) for strength in recipe.start.strength.tolist()])
    return begun(schedule, eps, backbone.to_latent(recipe.start.pixels), start), start


def _lineages(texts: str | Path) -> list[str]:
    """The level strings of every class, coarse to fine."""
    table = read_json(Path(texts).with_suffix(".json"))
    return ["; ".join(table["strings"][row] for row in rows) for rows in table["index"]]


def _record(item: Item, cfg: dict, aids: Aids, lineage: str, fact: dict) -> dict:
    """What is written about an image."""
    method = METHODS[cfg["kind"]]
    return {
        "identifier": item.identifier,
        "file_name": item.file_name,
        "scientificName": item.species,
        "seed": item.seed,
        "method": cfg["name"],
        "kind": cfg["kind"],
        "evidence": method.EVIDENCE,
        **dict.fromkeys(("scale", "source", "strength", "other", "share")),
        "prompt": lineage,
        **method.notes(item, cfg, aids),
        "steps": fact["steps"],
        "trace": json.dumps(fact["trace"], sort_keys=True) if fact["trace"] else None,
    }


def _note(work: Path, item: Item) -> Path:
    """Where an image's record waits; it is written after the image."""
    return (work / item.file_name).with_suffix(".json")


@contextmanager
def _workplace(state_dir: str | Path | None, out: str | Path, asked: dict) -> Iterator[Path]:
    """A folder for finished images, removed when the block ends well; what another request left there goes first."""
    if state_dir is None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=Path(out).parent, prefix=".drawing-") as folder:
            yield Path(folder)
        return
    work, asked = Path(state_dir) / "images", json.loads(json.dumps(asked))
    note = work / "asked.json"
    if work.exists() and not (note.exists() and read_json(note) == asked):
        shutil.rmtree(work)
    write_json(note, asked)
    yield work
    shutil.rmtree(work)


def _digest(used: Sequence[Path]) -> str:
    """Of the files that an image depends on, so that a resumed shard never mixes two models.

    A pack of pixels stands for itself by its table, which names every image.
    """
    files: list[Path] = []
    for path in used:
        if path.is_dir():
            files += sorted(file for kind in ("*.safetensors", "*.json") for file in path.rglob(kind))
        else:
            files += [file for file in (path, path.with_suffix(".json")) if file.is_file() and file.suffix != ".npy"]
    return " ".join(sha256_of(file) for file in files)


def _link(source: Path, target: Path) -> None:
    """A second name for the same bytes; a copy where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
