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

import torch
from PIL import Image

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion.sampler import NotFinite, Watch, sample
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, sha256_of, write_json, write_lines
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.registry import METHODS
from taxaforge.guidance.terms import guided
from taxaforge.guidance.worklist import Item, batches, worklist
from taxaforge.progress import Progress


def generate(
    *,
    model: str | Path,
    texts: str | Path,
    classes: str | Path,
    method: str,
    cfg: dict,
    seed: int,
    shard: int,
    shards: int,
    out: str | Path,
    micro_batch: int = 64,
    state_dir: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Draw the images of shard `shard` of `shards` into the folder `out`.

    Args:
        model, texts: a trained stage and the frozen text it was trained with.
        classes: classes.json of the run.
        cfg: `steps`, `images_per_species`, and the settings of `method`.
        seed: of the run; an image's own seed comes from it, its species and its index.
        micro_batch: images denoised at once. Changes images by rounding only (a grey level here and
            there), and never which images there are or which shard draws them.
        state_dir: keeps finished images while the job runs, and after a kill; emptied at the end.
            None: a kill starts the shard afresh.
        log: told the number of images and the seconds an image took, loading the model included.
    Raises: TaxaforgeError for an unknown method or shard; NotFinite, naming method, step and images.
    """
    if method not in METHODS:
        raise TaxaforgeError(f"No guidance method is called {method!r}. Choose from {', '.join(METHODS)}.")
    species = [record["species"] for record in read_json(classes)]
    items = worklist(species, cfg["images_per_species"], method, seed)
    todo = batches(items, shard, shards, micro_batch)
    asked = {"method": method, "seed": seed, "cfg": cfg, "shard": shard, "shards": shards, "species": species}
    with _workplace(state_dir, out, {**asked, "model": _digest(model, texts)}) as work:
        began = time.monotonic()
        drawn = _draw_missing(work, todo, method, model, texts, cfg, device, every_s)
        seconds = time.monotonic() - began
        records = _records([item for batch in todo for item in batch], method, texts, cfg, shard)
        with atomic(out) as folder:
            folder.mkdir()
            for record in records:
                _link(work / record["file_name"], folder / record["file_name"])
            write_lines(folder / "records.jsonl", records)
            write_json(folder / "shard.json", asked)
    log(None, {"images": len(records), **({"seconds_per_image": seconds / drawn} if drawn else {})})


def _draw_missing(
    work: Path, todo: Sequence[Sequence[Item]], method: str, model, texts, cfg: dict, device: str, every_s: float
) -> int:
    """Draws every batch that is not complete in `work`; returns how many images that were.

    A batch that a kill cut in two is drawn again whole, so that its bytes are those of an undisturbed run.
    """
    missing = [batch for batch in todo if not all((work / item.file_name).exists() for item in batch)]
    if not missing:
        return 0
    backbone = backbones.load(model, texts=texts, device=device)
    total, drawn = sum(map(len, todo)), sum(map(len, missing))
    progress = Progress(method, total, "images", start=total - drawn, every_s=every_s)
    done = total - drawn
    for batch in missing:
        watch = _shown(progress, done, len(batch), cfg["steps"])
        for item, pixels in zip(batch, draw(backbone, method, batch, cfg, device, watch), strict=True):
            with atomic(work / item.file_name) as temporary:
                Image.fromarray(pixels).save(temporary, format="png")
        done += len(batch)
        progress(done)
    return drawn


def _shown(progress: Progress, before: int, size: int, steps: int) -> Watch:
    """Counts a batch's images as done in proportion to its steps, so that a long batch is not silent."""
    return lambda step, z, prediction: progress(before + size * step // steps)


def draw(backbone, method: str, batch: Sequence[Item], cfg: dict, device: str = "cpu", watch: Watch | None = None):
    """The images of one batch, uint8 (B, H, W, 3). Raises NotFinite naming method, step and identifiers."""
    label = torch.tensor([item.label for item in batch], device=device)
    z = initial_noise([item.seed for item in batch], backbone.latent_shape).to(device)
    with torch.no_grad():
        predict = guided(backbone.predict, METHODS[method].recipe(backbone, label, cfg))
    try:
        z = sample(predict, z, backbone.native_scheduler(cfg["steps"]), watch=watch)
    except NotFinite as error:
        raise NotFinite(error.step, [batch[position].identifier for position in error.images], method) from None
    return backbone.to_image(z)


def _records(items: Sequence[Item], method: str, texts, cfg: dict, shard: int) -> list[dict]:
    """What is written about each image: all of it known before it is drawn."""
    table = read_json(Path(texts).with_suffix(".json"))
    prompts = ["; ".join(table["strings"][row] for row in rows) for rows in table["index"]]
    return [
        {
            "identifier": item.identifier,
            "file_name": item.file_name,
            "scientificName": item.species,
            "seed": item.seed,
            "method": method,
            "evidence": METHODS[method].EVIDENCE,
            "scale": cfg.get("scale"),
            "steps": cfg["steps"],
            "prompt": prompts[item.label],
            "shard": shard,
        }
        for item in items
    ]


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


def _digest(model: str | Path, texts: str | Path) -> str:
    """Of the generator's files that an image depends on, so that a resumed shard never mixes two models."""
    own = sorted(file for kind in ("*.safetensors", "manifest.json") for file in Path(model).rglob(kind))
    files = [*own, Path(texts), Path(texts).with_suffix(".json")]
    return " ".join(sha256_of(file) for file in files)


def _link(source: Path, target: Path) -> None:
    """A second name for the same bytes; a copy where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
