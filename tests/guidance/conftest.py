"""A generator small enough for tests: the foundation stage, trained for real but far too briefly."""

import numpy as np
import pytest
import torch

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion.lineages import Lineages, strings_of
from taxaforge.diffusion.stage import train
from taxaforge.files import write_json
from taxaforge.packs import Pack

LEVELS = ["family", "genus", "species"]
CLASSES = [
    {"family": "Paridae", "genus": "Parus", "species": "Parus major"},
    {"family": "Paridae", "genus": "Poecile", "species": "Poecile palustris"},
    {"family": "Sittidae", "genus": "Sitta", "species": "Sitta europaea"},
]
SIZE = 8
CFG = {
    "backbone": "small",
    "channels": [8, 16],
    "levels": LEVELS,
    "variant": "progressive",
    "trainable": "published",
    "schedule": "cosine",
    "warm_up": 0.05,
    "clip": 1.0,
    "level_dropout": 0.0,
    "prediction": "auto",
    "min_snr_gamma": 0.0,
    "noise_offset": 0.0,
    "zero_gate": False,
    "precision": "fp32",
    "watch": {"samples_every": 0, "validate_every": 0, "validation_images": 8, "patience": 0},
    "size": SIZE,
    "steps": 4,
    "learning_rate": 0.05,
    "batch_size": 6,
    "weight_decay": 0.0,
    "null_probability": 0.2,
    "ema": 0.0,
    "lora_rank": 2,
    "flip": False,
    "checkpoint_every": 100,
}


@pytest.fixture(scope="session")
def lineages() -> Lineages:
    """Random text of the classes' lineages: 5 tokens of width 16."""
    strings, rows = strings_of(CLASSES, LEVELS)
    tokens = torch.randn(len(strings), 5, 16, generator=torch.Generator().manual_seed(1))
    return Lineages(LEVELS, strings, tokens, **{name: torch.tensor(value) for name, value in rows.items()})


@pytest.fixture(scope="session")
def stage(lineages, tmp_path_factory) -> dict:
    """Arguments model, texts and classes of `generate`: 3 levels, 3 classes, 8 px."""
    folder = tmp_path_factory.mktemp("diffusion")
    lineages.save(folder / "texts.safetensors")
    write_json(folder / "classes.json", CLASSES)
    names = [f"image {number}" for number in range(6)]
    pixels = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    species = [record["species"] for record in CLASSES]
    Pack(pixels, species, names, np.arange(6) % 3, names, [""] * 6).save(folder / "train.npy")
    texts, out = folder / "texts.safetensors", folder / "base"
    train(stage="base", pack=folder / "train.npy", texts=texts, cfg=CFG, seed=1, out=out, state_dir=folder / "state")
    return {"model": out, "texts": texts, "classes": folder / "classes.json"}


@pytest.fixture
def backbone(stage) -> backbones.Backbone:
    return backbones.load(stage["model"], texts=stage["texts"])
