"""Trains one stage: the foundation on random levels, or one taxonomic level on what came before it.

    base      the whole denoiser and all level modules, each image up to a random level; `small` only
    level 0   adapters (LoRA) and E_0; everything else frozen
    level i   E_i alone

Source of the stages: TaxaDiffusion (arXiv:2506.01923) [code]. Differs from the paper: the base stage,
which a network from scratch needs before there is anything to adapt; one null lineage through all
modules, trained with `null_probability`; frozen modules run without dropout.
"""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from taxaforge.diffusion import lora
from taxaforge.diffusion.backbone import MANIFEST, PATCH, Backbone, BadGenerator, parts
from taxaforge.diffusion.checkpoint import State, Stopped, opened, stop_flag
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.data import Latents
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.training import BASE, Run
from taxaforge.files import atomic, read_json, write_json, write_lines
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of


def train(
    *,
    stage: str,
    pack: str | Path,
    texts: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    state_dir: str | Path,
    init: str | Path | None = None,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Trains a stage, or goes on with it, and writes the folder `out` that `backbone.load` opens.

    Args:
        stage: "base" or one of cfg["levels"]. pack: training images of side cfg["size"]. texts: of `texts.encode`.
        cfg: shared values of section `diffusion` with the stage's own on top, and `size`.
        seed: of the run. init: folder of the stage before; None for the first.
        state_dir: keeps checkpoints; a killed or stopped stage goes on from there and ends with the very
            weights that an undisturbed one has (on the same kind of machine and number of threads).
        log: curves `loss`, `learning_rate` by step, and at the end the mean loss of the last tenth.
    Raises: Stopped after a signal, with the state saved; AlreadyTraining; BadGenerator, LoraMismatch.
    """
    data, lineages = Pack.load(pack), Lineages.load(texts)
    if data.pixels.shape[1:] != (cfg["size"], cfg["size"], 3):
        raise BadGenerator(f"{pack} holds pictures of {data.pixels.shape[1:]}, the stage wants {cfg['size']} px.")
    shared = {name: value for name, value in cfg.items() if name != "checkpoint_every"}
    made_of = {"stage": stage, "seed": seed, "cfg": shared, "images": data.identifier}
    init = Path(init) if init else None
    manifest = describe(stage, lineages, cfg, seed)
    with opened(state_dir, made_of) as state, stop_flag() as stop:
        backbone, trainable = prepare(stage, lineages, cfg, seed, init)
        backbone.to(device)
        run = Run(backbone, trainable, stage, cfg, seed)
        if (saved := state.load(device)) is not None:
            run.restore(saved)
        state.note("resumed" if run.step else "started", run.step)
        _fit(
            run,
            Latents(backbone, data),
            torch.from_numpy(data.label),
            state,
            stop,
            cfg["checkpoint_every"],
            log,
            every_s,
        )
        with atomic(out) as folder:
            _write(folder, backbone, run.averages(), manifest, init)
            write_lines(folder / "history.jsonl", run.history)
        state.note("finished", run.step)


def _fit(
    run: Run,
    latents: Latents,
    labels: Tensor,
    state: State,
    stop: threading.Event,
    checkpoint_every: int,
    log: Callable[[int | None, dict[str, float]], None],
    every_s: float,
) -> None:
    """Trains to the last step; saves now and then, when asked to stop, and at the end."""
    progress = Progress(f"{run.stage} stage", run.steps, "steps", run.step, every_s)
    first, began = run.step, time.monotonic()
    while run.step < run.steps:
        line = run.advance(latents, labels)
        if line:
            log(run.step, {name: line[name] for name in ("loss", "learning_rate")})
        progress(run.step, loss=run.loss)
        if stop.is_set():
            state.save(run.state())
            state.note("stopped", run.step)
            raise Stopped(
                f"Stage {run.stage} was asked to stop and is saved at step {run.step} of {run.steps}. "
                "Run again to go on from there."
            )
        if run.step % checkpoint_every == 0 or run.step == run.steps:
            state.save(run.state())
    tail = [line["loss"] for line in run.history[-max(1, len(run.history) // 10) :]]
    figures = {"loss": sum(tail) / len(tail), "trained_parameters": float(sum(map(torch.numel, run.values)))}
    if run.step > first:
        figures["images_per_second"] = (run.step - first) * run.size / (time.monotonic() - began)
    log(None, figures)


def prepare(
    stage: str, lineages: Lineages, cfg: dict, seed: int, init: Path | None
) -> tuple[Backbone, dict[str, nn.Parameter]]:
    """The generator at the start of a stage: what is trained requires gradients and is in train mode, nothing else.

    Returns: backbone on the CPU; the trained parameters by name.
    Raises: BadGenerator where the stage is unknown or comes out of order.
    """
    levels = cfg["levels"]
    sequence = [BASE, *levels] if cfg["backbone"] == "small" else levels
    if stage not in sequence:
        raise BadGenerator(f"There is no stage {stage!r}; this generator has {', '.join(sequence)}.")
    manifest = read_json(init / MANIFEST) if init else None
    before = manifest["stage"] if manifest else None
    expected = dict(zip(sequence, [None, *sequence], strict=False))[stage]
    if before != expected:
        raise BadGenerator(f"Stage {stage!r} starts from {expected}, but was given {before}. Check diffusion.levels.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "denoiser"))
        unet, noise, images = parts(manifest or describe(stage, lineages, cfg, seed), init)
    if manifest and manifest["lora_rank"]:
        lora.fold(unet, init / "lora")
    conditioning = _conditioning(lineages, seed, init, manifest["trained"] if manifest else 0)
    backbone = Backbone(unet, conditioning, lineages, noise, images).requires_grad_(False).eval()
    if stage == BASE:
        unet.requires_grad_(True).train()
        conditioning.requires_grad_(True).train()
    else:
        level = levels.index(stage)
        conditioning.encoders[level].requires_grad_(True).train()
        if level == 0:
            lora.add(unet, cfg["lora_rank"], seed_of(seed, "adapters"))
    return backbone, {name: value for name, value in backbone.named_parameters() if value.requires_grad}


def describe(stage: str, lineages: Lineages, cfg: dict, seed: int) -> dict:
    """The manifest of a stage: all that a loader needs beside the weights."""
    small = cfg["backbone"] == "small"
    level = len(cfg["levels"]) if stage == BASE else cfg["levels"].index(stage) + 1
    return {
        "format": 1,
        "stage": stage,
        "backbone": cfg["backbone"],
        "pretrained": None if small else cfg["pretrained"],
        "revision": None if small else cfg["revision"],
        "channels": cfg["channels"] if small else None,
        "patch": PATCH if small else None,
        "size": cfg["size"],
        "levels": lineages.levels,
        "trained": len(cfg["levels"]) if small else level,
        "width": lineages.width,
        "lora_rank": 0 if stage == BASE else cfg["lora_rank"],
        "seed": seed,
        "steps": cfg["steps"],
    }


def _conditioning(lineages: Lineages, seed: int, init: Path | None, trained: int) -> Conditioning:
    """All level modules: the first `trained` from the stage in `init`, the others fresh from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "levels"))
        conditioning = Conditioning(lineages.levels, lineages.width)
    if init:
        values = load_file(init / "levels.safetensors")
        wanted = [name for name in conditioning.state_dict() if int(name.split(".")[1]) < trained]
        if sorted(values) != sorted(wanted):
            raise BadGenerator(f"{init / 'levels.safetensors'} is not of this run. Delete {init} and run again.")
        conditioning.load_state_dict(values, strict=False)
    return conditioning


def _write(folder: Path, backbone: Backbone, averaged: dict[str, Tensor], manifest: dict, init: Path | None) -> None:
    """The stage's folder. What a stage did not train is carried over from `init` byte by byte."""
    folder.mkdir()
    own = {name.removeprefix("unet."): value for name, value in averaged.items() if name.startswith("unet.")}
    with torch.no_grad():
        for name, value in averaged.items():
            backbone.get_parameter(name).copy_(value)
    if manifest["stage"] == BASE:
        backbone.unet.save_pretrained(folder / "unet")
    elif manifest["backbone"] == "small":
        shutil.copytree(init / "unet", folder / "unet")
    if own and manifest["stage"] != BASE:
        lora.save(own, folder / "lora")
    elif manifest["lora_rank"]:
        shutil.copytree(init / "lora", folder / "lora")
    trained = range(manifest["trained"])
    levels = {
        name: value.detach().cpu().contiguous()
        for name, value in backbone.conditioning.state_dict().items()
        if int(name.split(".")[1]) in trained
    }
    (folder / "levels.safetensors").write_bytes(save(levels, metadata={"format": "pt"}))
    backbone.schedule.save_pretrained(folder / "scheduler")
    write_json(folder / MANIFEST, manifest)
