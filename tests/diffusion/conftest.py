"""A generator of a few thousand parameters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from taxaforge.diffusion.lineages import Lineages, strings_of
from taxaforge.packs import Pack

LEVELS = ["order", "genus", "species"]
CLASSES = [
    {"order": "Odonata", "genus": "Calopteryx", "species": "Calopteryx splendens"},
    {"order": "Odonata", "genus": "Calopteryx", "species": "Calopteryx virgo"},
    {"order": "Coleoptera", "genus": None, "species": "Lucanus cervus"},
]


def _cfg(**changes) -> dict:
    return {
        "backbone": "small",
        "pretrained": "",
        "revision": "main",
        "channels": [8, 16],
        "levels": LEVELS,
        "variant": "progressive",
        "trainable": "published",
        "steps": 4,
        "learning_rate": 1e-2,
        "schedule": "cosine",
        "warm_up": 0.05,
        "batch_size": 4,
        "weight_decay": 1e-2,
        "clip": 1.0,
        "null_probability": 0.25,
        "level_dropout": 0.0,
        "ema": 0.5,
        "lora_rank": 2,
        "flip": True,
        "prediction": "auto",
        "min_snr_gamma": 0.0,
        "noise_offset": 0.0,
        "zero_gate": False,
        "precision": "fp32",
        "watch": {"samples_every": 0, "validate_every": 0, "validation_images": 8, "patience": 0},
        "checkpoint_every": 100,
        "size": 8,
        **changes,
    }


def _lineages(width: int, length: int = 5) -> Lineages:
    strings, rows = strings_of(CLASSES, LEVELS)
    tokens = torch.randn(len(strings), length, width, generator=torch.Generator().manual_seed(1))
    return Lineages(LEVELS, strings, tokens, **{name: torch.tensor(value) for name, value in rows.items()})


def _pack(size: int, count: int = 9) -> Pack:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    names = [f"image {number}" for number in range(count)]
    return Pack(pixels, [c["species"] for c in CLASSES], names, np.arange(count) % 3, names, [""] * count)


@pytest.fixture(scope="session")
def classes() -> list[dict]:
    """Records of three classes; one has no genus."""
    return CLASSES


@pytest.fixture(scope="session")
def cfg_of():
    """Settings of a stage at 8 px, with changes."""
    return _cfg


@pytest.fixture(scope="session")
def lineages_of():
    """Random frozen text of the classes' lineages, of a width."""
    return _lineages


@pytest.fixture(scope="session")
def pack_of():
    """Nine random pictures of a size."""
    return _pack


@pytest.fixture(scope="session")
def lineages() -> Lineages:
    return _lineages(16)


@pytest.fixture(scope="session")
def files(lineages, tmp_path_factory) -> dict[str, Path]:
    """pack and texts of `stage.train`."""
    folder = tmp_path_factory.mktemp("files")
    lineages.save(folder / "texts.safetensors")
    _pack(8).save(folder / "train.npy")
    return {"pack": folder / "train.npy", "texts": folder / "texts.safetensors"}


@pytest.fixture(scope="session")
def stages(files, tmp_path_factory) -> dict[str, Path]:
    """All stages of a small generator, trained for four steps each."""
    from taxaforge.diffusion.stage import train

    folder, made = tmp_path_factory.mktemp("stages"), {}
    for stage in ["base", *LEVELS]:
        init, state = (list(made.values()) or [None])[-1], folder / "state" / stage
        train(stage=stage, **files, cfg=_cfg(), seed=3, init=init, out=folder / stage, state_dir=state)
        made[stage] = folder / stage
    return made
