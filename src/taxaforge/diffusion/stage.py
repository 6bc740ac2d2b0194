"""Trains one stage: the foundation on random levels, or one step of a variant on what came before it.

    base      the whole denoiser and all level modules, each image up to a random level; `small` only
    others    as `variants.recipe` says: which modules, which part of the denoiser, which levels

Source of the stages: TaxaDiffusion (arXiv:2506.01923) [code]. Differs from the paper: the base stage,
which a network from scratch needs before there is anything to adapt; one null lineage through all
modules, trained with `null_probability`; frozen modules run without dropout.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save
from torch import Tensor, nn

from taxaforge.diffusion import devices, lora, schedule, watching
from taxaforge.diffusion.backbone import MANIFEST, PATCH, Backbone, BadGenerator, parts
from taxaforge.diffusion.checkpoint import stop_flag
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.data import Batches
from taxaforge.diffusion.latents import Cached, Pixels
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.loop import Log, Looks, Show, fit, hand_on, state_of
from taxaforge.diffusion.objective import Objective
from taxaforge.diffusion.training import LEVELS_RATE, Run, Source
from taxaforge.diffusion.variants import learned, recipe
from taxaforge.files import read_json, write_json
from taxaforge.packs import Pack
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
    validation: str | Path | None = None,
    latents: str | Path | None = None,
    validation_latents: str | Path | None = None,
    log: Log = lambda step, values: None,
    show: Show = lambda name, path: None,
    device: str = "cpu",
    every_s: float = 5.0,
    micro_batch: int = 0,
    gradient_checkpointing: bool = False,
) -> None:
    """Trains a stage, or goes on with it, and writes the folder `out` that `backbone.load` opens.

    In a job of several processes all of them call this alike; rank 0 writes.

    Args:
        stage: "base", a level, or a variant of one stage. pack: training images of side cfg["size"].
        texts: of `texts.encode`. validation: held-out images, for the loss that is looked at on the way.
        latents, validation_latents: of `latents.encode`, for a backbone that compresses.
        cfg: shared values of section `diffusion` with the stage's own on top, `levels` those in use, and `size`.
        seed: of the run. init: folder of the stage before; None for the first.
        state_dir: keeps checkpoints; a killed or stopped stage goes on from there and ends with the very
            weights that an undisturbed one has (on the same kind of machine and number of threads).
        log: metrics by step, and final ones. show: told of every sample grid.
        micro_batch: images at once in a process, 0 for all. gradient_checkpointing: less memory, more time.
            Neither changes more than rounding.
    Raises: Stopped after a signal, with the state saved; AlreadyTraining; BadStage, BadGenerator, LoraMismatch.
    """
    data, lineages = images(pack, cfg), Lineages.load(texts)
    held_out = images(validation, cfg) if validation else None
    shared = {name: value for name, value in cfg.items() if name not in ("checkpoint_every", "contour")}
    made_of = {"stage": stage, "seed": seed, "cfg": shared, "images": data.identifier}
    init = Path(init) if init else None
    with (
        devices.opened(device, cfg["precision"]) as accelerator,
        state_of(accelerator, state_dir, made_of) as state,
        stop_flag() as stop,
    ):
        run = start(stage, lineages, data, cfg, seed, init, accelerator, latents, micro_batch, gradient_checkpointing)
        unseen = None
        if held_out and len(held_out):
            unseen = held_out, source(run.objective.backbone, held_out, validation_latents)
        looks = _looks(run, stage, cfg, seed, unseen, len(data.classes))
        fit(run, state, stop, looks, checkpoint_every=cfg["checkpoint_every"], log=log, show=show, every_s=every_s)
        hand_on(run, state, out, lambda folder: write(folder, run, stage, lineages, cfg, seed, init))


def images(path: str | Path, cfg: dict) -> Pack:
    """A pack of the stage's picture size. Raises BadGenerator."""
    data = Pack.load(path)
    if data.pixels.shape[1:] != (cfg["size"], cfg["size"], 3):
        raise BadGenerator(f"{path} holds pictures of {data.pixels.shape[1:]}, the generator draws {cfg['size']} px.")
    return data


def start(
    stage: str,
    lineages: Lineages,
    data: Pack,
    cfg: dict,
    seed: int,
    init: Path | None,
    accelerator: Accelerator,
    latents: str | Path | None = None,
    micro_batch: int = 0,
    gradient_checkpointing: bool = False,
) -> Run:
    """A stage before its first step, on the accelerator's device; arguments as `train` takes them."""
    backbone, trainable = prepare(stage, lineages, cfg, seed, init)
    if gradient_checkpointing:
        backbone.unet.enable_gradient_checkpointing()
    objective = Objective(backbone, cfg["min_snr_gamma"])
    devices.settle(objective, accelerator, backbone.unet, cfg["precision"])
    return Run(
        objective,
        {f"backbone.{name}": value for name, value in trainable.items()},
        batches(stage, recipe(stage, cfg).share, cfg, seed, torch.from_numpy(data.label), backbone),
        source(backbone, data, latents),
        cfg,
        stage=stage,
        seed=seed,
        levels=lineages.levels,
        accelerator=accelerator,
        micro_batch=micro_batch,
        rate_of=_rates(stage, cfg),
    )


def batches(stage: str, share: Sequence[float], cfg: dict, seed: int, labels: Tensor, backbone: Backbone) -> Batches:
    """What the steps of a stage see. share: of `Batches`. labels: (N,) of the training images."""
    return Batches(
        seed=seed,
        stage=stage,
        size=cfg["batch_size"],
        labels=labels,
        share=share,
        timesteps=len(backbone.schedule.alphas_cumprod),
        places=schedule.towards_the_middle if cfg["backbone"] == "small" else schedule.evenly,
        shape=backbone.latent_shape,
        flip=cfg["flip"],
        null_probability=cfg["null_probability"],
        level_dropout=cfg["level_dropout"],
        noise_offset=cfg["noise_offset"],
    )


def source(backbone: Backbone, data: Pack, latents: str | Path | None) -> Source:
    """The latents of a pack's images: from the cache, where there is one."""
    return Cached.load(latents, data) if latents else Pixels(backbone, data)


def _rates(stage: str, cfg: dict) -> Callable[[str], float]:
    """The share of the learning rate of each parameter."""
    scratch = cfg["backbone"] == "small" and recipe(stage, cfg).denoiser == "full"
    return lambda name: LEVELS_RATE if scratch and ".conditioning." in name else 1.0


def _looks(run: Run, stage: str, cfg: dict, seed: int, unseen, classes: int) -> Looks:
    """unseen: (pack, source) of held-out images, or None."""
    watch, finest, backbone = cfg["watch"], recipe(stage, cfg).finest, run.objective.backbone
    validate = None
    if unseen:
        held_out, latents = unseen
        labels = torch.from_numpy(held_out.label)
        look = watching.Validation.of(latents, run.batches, labels, watch["validation_images"], finest)

        def validate() -> float:
            with run.accelerator.autocast():
                return look(run.objective, run.accelerator.device)

    def draw(path: Path) -> None:
        with run.accelerator.autocast():
            watching.save_grid(watching.grid(backbone, classes, finest, seed), path)

    return Looks(validate, draw, watch["validate_every"], watch["samples_every"], watch["patience"])


def prepare(
    stage: str, lineages: Lineages, cfg: dict, seed: int, init: Path | None
) -> tuple[Backbone, dict[str, nn.Parameter]]:
    """The generator at the start of a stage: what is trained requires gradients and is in train mode, nothing else.

    Returns: backbone on the CPU; the trained parameters by name.
    Raises: BadStage where the stage is unknown; BadGenerator where it comes out of order.
    """
    plan = recipe(stage, cfg)
    manifest = read_json(init / MANIFEST) if init else None
    before = manifest["stage"] if manifest else None
    if before not in plan.before:
        wanted = " or ".join(str(name or "nothing") for name in plan.before)
        raise BadGenerator(
            f"Stage {stage!r} starts from {wanted}, but was given {before or 'nothing'}. "
            "Check diffusion.levels and diffusion.variant."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "denoiser"))
        unet, noise, images = parts(manifest or _fresh(stage, lineages, cfg, seed), init)
    adapters = bool(manifest and manifest["lora_rank"])
    if adapters and plan.denoiser != "lora":
        lora.fold(unet, init / "lora")
    conditioning = _conditioning(lineages, seed, init, manifest["trained"] if manifest else 0, cfg["zero_gate"])
    backbone = Backbone(unet, conditioning, lineages, noise, images).requires_grad_(False).eval()
    if plan.denoiser == "full":
        unet.requires_grad_(True).train()
    elif plan.denoiser == "lora":
        lora.add(unet, cfg["lora_rank"], seed_of(seed, "adapters"))
        if adapters:
            lora.restore(unet, init / "lora")
    for level in plan.modules:
        conditioning.encoders[level].requires_grad_(True).train()
        if cfg["zero_gate"]:
            conditioning.gates[level].requires_grad_(True)
    return backbone, {name: value for name, value in backbone.named_parameters() if value.requires_grad}


def _fresh(stage: str, lineages: Lineages, cfg: dict, seed: int) -> dict:
    """The manifest of a generator before its first stage."""
    small = cfg["backbone"] == "small"
    return {
        "format": 2,
        "stage": stage,
        "variant": cfg["variant"],
        "backbone": cfg["backbone"],
        "pretrained": None if small else cfg["pretrained"],
        "revision": None if small else cfg["revision"],
        "channels": cfg["channels"] if small else None,
        "patch": PATCH if small else None,
        "size": cfg["size"],
        "levels": lineages.levels,
        "trained": 0,
        "width": lineages.width,
        "pooled": 0 if lineages.pooled is None else lineages.pooled.shape[-1],
        "lora_rank": 0,
        "own_unet": small,
        "prediction": {"auto": "v_prediction" if small else None}.get(cfg["prediction"], cfg["prediction"]),
        "zero_gate": cfg["zero_gate"],
        "seed": seed,
        "steps": cfg["steps"],
    }


def describe(stage: str, lineages: Lineages, backbone: Backbone, cfg: dict, seed: int, init: Path | None) -> dict:
    """The manifest of a trained stage: all that a loader needs beside the weights."""
    plan, before = recipe(stage, cfg), read_json(init / MANIFEST) if init else _fresh(stage, lineages, cfg, seed)
    rank = {"lora": cfg["lora_rank"], "full": 0}.get(plan.denoiser, before["lora_rank"])
    return {
        **before,
        "stage": stage,
        "variant": cfg["variant"],
        "trained": max(before["trained"], learned(stage, cfg)),
        "lora_rank": rank,
        "own_unet": before["own_unet"] or plan.denoiser == "full",
        "prediction": backbone.native,
        "seed": seed,
        "steps": cfg["steps"],
    }


def _conditioning(lineages: Lineages, seed: int, init: Path | None, trained: int, zero_gate: bool) -> Conditioning:
    """All level modules: the first `trained` from the stage in `init`, the others fresh from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "levels"))
        conditioning = Conditioning(lineages.levels, lineages.width, zero_gate)
    if init:
        values = load_file(init / "levels.safetensors")
        wanted = [name for name in conditioning.state_dict() if int(name.split(".")[1]) < trained]
        if sorted(values) != sorted(wanted):
            raise BadGenerator(f"{init / 'levels.safetensors'} is not of this run. Delete {init} and run again.")
        conditioning.load_state_dict(values, strict=False)
    return conditioning


def write(folder: Path, run: Run, stage: str, lineages: Lineages, cfg: dict, seed: int, init: Path | None) -> None:
    """Into an empty folder. What a stage did not train is carried over from `init` byte by byte."""
    backbone = run.objective.backbone
    manifest = describe(stage, lineages, backbone, cfg, seed, init)
    weights = {name.removeprefix("backbone."): value for name, value in run.result(cfg["watch"]["patience"]).items()}
    denoiser = {name.removeprefix("unet."): value for name, value in weights.items() if name.startswith("unet.")}
    adapters = {name: value for name, value in denoiser.items() if ".lora_" in name}
    with torch.no_grad():
        for name, value in weights.items():
            backbone.get_parameter(name).copy_(value)
    if denoiser and not adapters:
        backbone.unet.save_pretrained(folder / "unet")
    elif manifest["own_unet"]:
        shutil.copytree(init / "unet", folder / "unet")
    if adapters:
        lora.save(adapters, folder / "lora")
    elif manifest["lora_rank"]:
        shutil.copytree(init / "lora", folder / "lora")
    levels = {
        name: value.detach().cpu().contiguous()
        for name, value in backbone.conditioning.state_dict().items()
        if int(name.split(".")[1]) < manifest["trained"]
    }
    (folder / "levels.safetensors").write_bytes(save(levels, metadata={"format": "pt"}))
    backbone.schedule.save_pretrained(folder / "scheduler")
    write_json(folder / MANIFEST, manifest)
