"""Trains the contour adapter on the frozen generator, or takes a ready-made one into the run.

The loss is the stages' denoising loss, with the residuals of each image's own contour; the condition is the
whole lineage, with null_probability of the images without one. Loop, checkpoints and looks are the stages'.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from taxaforge.diffusion import devices, schedule, stage, watching
from taxaforge.diffusion.backbone import Backbone, load
from taxaforge.diffusion.checkpoint import stop_flag
from taxaforge.diffusion.contour import Contour, description, make
from taxaforge.diffusion.data import Batch, Batches
from taxaforge.diffusion.edges import EdgeMaps
from taxaforge.diffusion.loop import Log, Looks, Show, fit, hand_on, state_of
from taxaforge.diffusion.objective import Objective
from taxaforge.diffusion.sampler import sample
from taxaforge.diffusion.training import Run
from taxaforge.files import atomic, read_json, sha256_of
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

STAGE = "contour"
CANNY = ("low", "high", "blur")
SHOWN, DRAWINGS = 8, 3
"""Images in a grid, and drawings along the contour of each."""

Edges = Callable[[Tensor, Tensor], Tensor]
"""(chosen (B,), mirrored (B,)) -> contours (B, H, W) uint8."""


class ContourObjective(Objective):
    """The denoising loss along contours.

    Args:
        contour: adapter of `backbone`. edges: of the images that batches choose from.
    """

    def __init__(self, backbone: Backbone, contour: Contour, edges: Edges, min_snr_gamma: float = 0.0):
        super().__init__(backbone, min_snr_gamma)
        self.contour, self.edges = contour, edges

    def forward(self, z0: Tensor, batch: Batch, mine: Tensor) -> Tensor:
        """(b,) losses, as `Objective`."""
        device = z0.device
        label, upto, dropped = (part.to(device) for part in (batch.label, batch.upto, batch.dropped))
        tokens = self.backbone.tokens(label, upto, mine.to(device), dropped)
        t, eps = batch.t[mine].to(device), batch.eps[mine].to(device)
        z = schedule.noised(z0, eps, schedule.signal_share(self.backbone.schedule, t, z0))
        edge = self.edges(batch.chosen[mine], batch.mirrored[mine])
        return self.errors(z0, t, eps, tokens, **self.contour.residuals(z, t, tokens, edge, 1.0))


def provide(*, model: str | Path, texts: str | Path, cfg: dict, out: str | Path, **training) -> None:
    """The run's adapter: a ready-made one where `cfg["pretrained"]` names it, else `train`ed with all arguments."""
    if cfg["pretrained"]:
        adopt(model=model, texts=texts, cfg=cfg, out=out)
    else:
        train(model=model, texts=texts, cfg=cfg, out=out, **training)


def train(
    *,
    model: str | Path,
    pack: str | Path,
    texts: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    state_dir: str | Path,
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
    """Trains an adapter, or goes on with it, and writes the folder `out` that `Contour.load` opens.

    Args:
        model: folder of the last stage; nothing in it changes. cfg: shared values of section `diffusion` with
            section `diffusion.contour` on top (steps, learning_rate, low, high, blur), and `size`.
        Others: as of `stage.train`, and killed or stopped it goes on in the same way.
    Raises: Stopped after a signal, with the state saved; AlreadyTraining; BadGenerator, BadContour.
    """
    data = stage.images(pack, cfg)
    held_out = stage.images(validation, cfg) if validation else None
    shared = {name: value for name, value in cfg.items() if name not in ("checkpoint_every", "contour")}
    generator = digest(model)
    made_of = {"stage": STAGE, "seed": seed, "cfg": shared, "images": data.identifier, "generator": generator}
    with (
        devices.opened(device, cfg["precision"]) as accelerator,
        state_of(accelerator, state_dir, made_of) as state,
        stop_flag() as stop,
    ):
        backbone = load(model, texts=texts)
        canny = {name: cfg[name] for name in CANNY}
        trained_on = {"generator": generator, "stage": read_json(Path(model, "manifest.json"))["stage"], "edges": canny}
        about = description(backbone, **trained_on, seed=seed, steps=cfg["steps"])
        contour = Contour(make(backbone, seed), backbone, about).requires_grad_(True).train()
        if gradient_checkpointing:
            backbone.unet.enable_gradient_checkpointing()
            contour.net.enable_gradient_checkpointing()
        objective = ContourObjective(backbone, contour, EdgeMaps(data.pixels, canny), cfg["min_snr_gamma"])
        devices.settle(objective, accelerator, backbone.unet, cfg["precision"])
        run = Run(
            objective,
            {name: value for name, value in objective.named_parameters() if value.requires_grad},
            batches(cfg, seed, torch.from_numpy(data.label), backbone),
            stage.source(backbone, data, latents),
            cfg,
            stage=STAGE,
            seed=seed,
            levels=backbone.levels,
            accelerator=accelerator,
            micro_batch=micro_batch,
        )
        unseen = None
        if held_out and len(held_out):
            unseen = held_out, stage.source(backbone, held_out, validation_latents)
        looks = _looks(run, objective, data, unseen, canny, cfg, seed)
        fit(run, state, stop, looks, checkpoint_every=cfg["checkpoint_every"], log=log, show=show, every_s=every_s)
        hand_on(run, state, out, lambda folder: _write(folder, run, contour, cfg))


def _write(folder: Path, run: Run, contour: Contour, cfg: dict) -> None:
    with torch.no_grad():
        for name, value in run.result(cfg["watch"]["patience"]).items():
            run.objective.get_parameter(name).copy_(value)
    contour.save(folder)


def adopt(*, model: str | Path, texts: str | Path, cfg: dict, out: str | Path) -> None:
    """Writes a ready-made ControlNet into `out` as `train` would its own, checked against the generator.

    Args:
        cfg: pretrained (hub id or folder) and revision of the ControlNet; low, high, blur: of the contours that
            it will be given, best those that it was taught with.
    Raises: BadContour, BadGenerator.
    """
    backbone = load(model, texts=texts)
    contour = Contour.load(cfg["pretrained"], backbone, cfg["revision"])
    origin = {name: cfg[name] for name in ("pretrained", "revision")}
    contour.about = description(backbone, **origin, edges={name: cfg[name] for name in CANNY})
    with atomic(out) as folder:
        contour.save(folder)


def digest(model: str | Path) -> str:
    """Names what a stage wrote and a generator is made of: manifest and weights, not the history."""
    files = sorted(file for kind in ("*.json", "*.safetensors") for file in Path(model).rglob(kind))
    named = [f"{file.relative_to(model).as_posix()} {sha256_of(file)}" for file in files]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def batches(cfg: dict, seed: int, labels: Tensor, backbone: Backbone) -> Batches:
    """As a stage that always goes down to the finest level."""
    share = [0.0] * (len(backbone.levels) - 1) + [1.0]
    return stage.batches(STAGE, share, cfg, seed, labels, backbone)


def _looks(run: Run, objective: ContourObjective, data: Pack, unseen, canny: dict, cfg: dict, seed: int) -> Looks:
    """unseen: (pack, source) of held-out images, whose contours are drawn then, too; None: those of `data` are."""
    watch, backbone, contour = cfg["watch"], objective.backbone, objective.contour
    shown, validate = unseen[0] if unseen else data, None
    edges = EdgeMaps(shown.pixels, canny)
    if unseen:
        labels = torch.from_numpy(shown.label)
        finest, count = len(backbone.levels) - 1, watch["validation_images"]
        look = watching.Validation.of(unseen[1], run.batches, labels, count, finest)
        held_out = ContourObjective(backbone, contour, edges, objective.min_snr_gamma)

        def validate() -> float:
            with run.accelerator.autocast():
                return look(held_out, run.accelerator.device)

    def draw(path: Path) -> None:
        with run.accelerator.autocast():
            watching.save_grid(grid(backbone, contour, shown, edges, seed), path)

    return Looks(validate, draw, watch["validate_every"], watch["samples_every"], watch["patience"])


@torch.no_grad()
def grid(backbone: Backbone, contour: Contour, images: Pack, edges: Edges, seed: int) -> np.ndarray:
    """uint8 (H, W, 3): a row an image, evenly spaced over the pack: it, its contour, DRAWINGS along the contour."""
    chosen = torch.arange(min(SHOWN, len(images))) * len(images) // min(SHOWN, len(images))
    edge = edges(chosen, torch.zeros(len(chosen), dtype=torch.bool))
    label = torch.from_numpy(images.label)[chosen].to(backbone.device)
    finest = torch.full_like(label, len(backbone.levels) - 1)
    tokens = torch.cat([backbone.tokens(label, finest), backbone.tokens(torch.full_like(label, -1), finest)])
    columns = [images.pixels[chosen.numpy()], edge[..., None].expand(-1, -1, -1, 3).numpy()]

    def predict(z: Tensor, t: Tensor, u: float, rows: Tensor) -> Tensor:
        both, times = torch.cat([z, z]), t.to(z.device).expand(2 * len(z))
        along = contour.residuals(both, times, tokens, torch.cat([edge, edge]), 1.0)
        named, null = backbone.predict(both, times, tokens, **along).chunk(2)
        return null + watching.SCALE * (named - null)

    for k in range(DRAWINGS):
        generators = [torch.Generator().manual_seed(seed_of(seed, "watch", c, k)) for c in chosen.tolist()]
        z = torch.stack([torch.randn(backbone.latent_shape, generator=generator) for generator in generators])
        drawn = sample(predict, z.to(backbone.device), backbone.native_scheduler(watching.STEPS))
        columns.append(backbone.to_image(drawn))
    return np.concatenate(np.concatenate(columns, axis=2))
