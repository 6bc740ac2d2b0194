"""What the classification benchmark trains on and with: drawn pictures, our training, and timm's pieces."""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from timm.data.loader import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

from taxaforge.classification import arms, course, data, train
from taxaforge.classification.model import create
from taxaforge.classification.tuning import Trial
from taxaforge.packs import Pack
from taxaforge.progress import Progress

RATE, DECAY, SMOOTHING = 1e-3, 0.05, 0.1


def pictures(name: str, species: int, each: int, size: int) -> Pack:
    """Smooth pictures: a pattern of the species under twice as much of the image's own."""
    rng = np.random.default_rng(list(name.encode()))
    own = np.random.default_rng(0).normal(size=(species, 6, 6, 3))
    label = np.arange(species * each) % species
    field = 128 + 30 * own[label] + 60 * rng.normal(size=(len(label), 6, 6, 3))
    pixels = np.stack(
        [
            np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC))
            for one in field.clip(0, 255).astype(np.uint8)
        ]
    )
    names = [f"{name} {number}" for number in range(len(label))]
    return Pack(pixels, [f"Species {number}" for number in range(species)], names, label, names, [""] * len(label))


def arm(given: Namespace, folder: Path) -> None:
    """The packs of the probe's arm, and `job.json`: what its training is called with."""
    counts = {"real": given.real, "validation": max(1, given.real // 2), "synthetic": given.synthetic}
    for name, each in counts.items():
        pictures(name, given.species, each, given.size).save(folder / f"{name}.npy")
    cfg = {
        "model": given.model, "weights": given.weights, "image_size": given.size, "epochs": 15, "batch_size": given.batch,
        "label_smoothing": SMOOTHING, "augmentation": "standard",
        "probe": {"views": given.views, "weight_decay": [1.0, 0.1, 0.01, 0.001]},
    }  # fmt: skip
    job = {name: str(folder / f"{name}.npy") for name in ("real", "validation")}
    job |= {"synthetic": [str(folder / "synthetic.npy")], "arm": "real+m", "cfg": cfg}
    job["budget"] = dict.fromkeys(Pack.load(folder / "real.npy").classes, given.synthetic)
    (folder / "job.json").write_text(json.dumps({**job, "device": given.device}), "utf-8")


def training(folder: Path, count: int, size: int) -> dict[str, Pack]:
    """A training and a validation pack on disk, opened as a job opens them."""
    for name, each in (("train", -(-count // 12)), ("validation", 1)):
        pictures(name, 12, each, size).save(folder / f"{name}.npy")
    return {name: Pack.load(folder / f"{name}.npy") for name in ("train", "validation")}


def ours(given: Namespace, packs: dict[str, Pack], model: str, size: int, weights: str) -> Callable[[], None]:
    """A turn: a training of so many steps, and one look at validation: a whole training takes ten in many more steps."""
    cfg = {
        "batch_size": given.batch, "learning_rate": RATE, "weight_decay": DECAY, "label_smoothing": SMOOTHING,
        "augmentation": "standard",
    }  # fmt: skip
    pool = data.Pool([packs["train"]])
    classifier = create(model, pool.classes, size, weights)
    classifier.net.to(given.device)
    train.EVALUATIONS = 1
    what = course.plan(arms.parse("real"), Trial(), pool, given.steps, None, cfg, 0)

    def turn() -> None:
        progress = Progress("ours", given.steps, "steps", every_s=1e9, now=lambda: 0.0)
        train.fit(classifier, pool, packs["validation"], what, cfg, 0, progress, lambda step, values: None)

    return turn


class Pictures(torch.utils.data.Dataset):
    """A pack as timm's loader takes a dataset: pictures, to which the loader hands its transform."""

    def __init__(self, pack: Pack):
        self.pack, self.transform = pack, None

    def __len__(self) -> int:
        return len(self.pack)

    def __getitem__(self, index: int):
        image = Image.fromarray(self.pack.pixels[index])
        return self.transform(image) if self.transform else image, int(self.pack.label[index])


def timms(given: Namespace, packs: dict[str, Pack], model: str, size: int, weights: str, loader: bool) -> Callable[[], None]:  # fmt: skip
    """The same number of steps as timm's training script makes them: its optimiser, loss, schedule.

    loader: fed by its loader with its standard augmentation; else from normalised tensors that are made beforehand,
    without any augmentation. Neither looks at validation.
    """
    pack, classes = packs["train"], len(packs["train"].classes)
    source = {"pretrained": True, "pretrained_cfg_overlay": {"file": weights}} if weights else {}
    net = timm.create_model(model, num_classes=classes, **source).to(given.device, memory_format=torch.channels_last)
    optimiser = create_optimizer_v2(net, opt="adamw", lr=RATE, weight_decay=DECAY)
    schedule = CosineLRScheduler(optimiser, t_initial=given.steps, warmup_t=1, t_in_epochs=False)
    criterion = LabelSmoothingCrossEntropy(SMOOTHING)
    if loader:
        made = create_loader(
            Pictures(pack), (3, size, size), given.batch, is_training=True, use_prefetcher=False,
            num_workers=given.workers, device=torch.device(given.device), persistent_workers=given.workers > 0,
        )  # fmt: skip
        batches = endless(made)
    else:
        x = torch.from_numpy(np.array(pack.pixels)).permute(0, 3, 1, 2).float().div_(255).sub_(0.5).div_(0.5)
        batches = shuffled(x.contiguous(memory_format=torch.channels_last), torch.from_numpy(pack.label), given.batch)

    def turn() -> None:
        net.train()
        for update in range(given.steps):
            x, target = next(batches)
            x = x.to(given.device).contiguous(memory_format=torch.channels_last)
            loss = criterion(net(x), target.to(given.device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step_update(update)

    return turn


def endless(loader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pass after pass of a loader that drops unfinished batches."""
    while True:
        yield from loader


def shuffled(x: torch.Tensor, target: torch.Tensor, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Full batches from memory, in a new order a pass."""
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for chosen in order[: len(x) // batch * batch].split(batch):
            yield x[chosen], target[chosen]
