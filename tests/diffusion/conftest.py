"""A generator of a few thousand parameters, and the smallest Stable Diffusion pipeline that still is one."""

import json
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
        "steps": 4,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "weight_decay": 1e-2,
        "null_probability": 0.25,
        "ema": 0.5,
        "lora_rank": 2,
        "flip": True,
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


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> Path:
    """A random Stable Diffusion folder: text width 16, 16 px pictures, latents of 4 x 8 x 8."""
    from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("pipeline")
    letters = "abcdefghijklmnopqrstuvwxyzC:LO"
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({word: row for row, word in enumerate(words)}))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", model_max_length=40)
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=40, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"], block_out_channels=[8, 16], layers_per_block=1,
        cross_attention_dim=16, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, sample_size=16,
    )  # fmt: skip
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    noise = PNDMScheduler(**betas, skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, noise, None, None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder
