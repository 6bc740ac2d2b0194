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


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BOUNDARY = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
"""What open_clip and transformers call the two tokens around a text."""


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    """CLIP's own tokeniser, 49,408 pieces, as a folder: written from the vocabulary that open_clip ships."""
    from open_clip.tokenizer import SimpleTokenizer

    bpe, folder = SimpleTokenizer(), tmp_path_factory.mktemp("tokenizer")
    rows = {BOUNDARY.get(piece, piece): row for piece, row in bpe.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    merges = [" ".join(pair) for pair in bpe.bpe_ranks]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    return folder


def _words(folder: Path, pad: str = "<|endoftext|>"):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(folder, model_max_length=20, pad_token=pad)


def _text(width: int, kind: str = "CLIPTextModel", **more):
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=20, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407, **more,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def _unet(width: int, **more):
    from diffusers import UNet2DConditionModel

    plain = {
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 2,
    }  # fmt: skip
    return UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1,
        cross_attention_dim=width, norm_num_groups=4, **{**plain, **more},
    )  # fmt: skip


def _vae(**more):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, sample_size=16, **more,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pipeline(tokenizer, tmp_path_factory) -> Path:
    """A random SD 1.x folder: text width 16, 16 px pictures, latents of 4 x 8 x 8, PNDM."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("pipeline")
    torch.manual_seed(0)
    noise = PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1)
    StableDiffusionPipeline(
        _vae(), _text(16), _words(tokenizer), _unet(16), noise, None, None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pipeline_v(tokenizer, tmp_path_factory) -> Path:
    """The same in the manner of SD 2.x: another text width, v prediction, linear projections, texts padded by "!"."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("pipeline_v")
    torch.manual_seed(1)
    noise = DDIMScheduler(**BETAS, prediction_type="v_prediction", steps_offset=1, set_alpha_to_one=False)
    unet = _unet(24, use_linear_projection=True, attention_head_dim=[2, 4])
    StableDiffusionPipeline(
        _vae(), _text(24, hidden_act="gelu"), _words(tokenizer, "!"), unet, noise, None, None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def pipeline_xl(tokenizer, tmp_path_factory) -> Path:
    """The same in the manner of SDXL: two text encoders of 16 and 24, sentence vectors of 12, Euler."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    folder = tmp_path_factory.mktemp("pipeline_xl")
    torch.manual_seed(2)
    unet = _unet(
        40, use_linear_projection=True, attention_head_dim=[2, 4], addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=12 + 6 * 8, transformer_layers_per_block=[1, 2],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
    )  # fmt: skip
    second = _text(24, "CLIPTextModelWithProjection", hidden_act="gelu", projection_dim=12)
    noise = EulerDiscreteScheduler(**BETAS, steps_offset=1, timestep_spacing="leading")
    StableDiffusionXLPipeline(
        _vae(scaling_factor=0.13025), _text(16), second, _words(tokenizer), _words(tokenizer, "!"), unet, noise,
        add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(params=["pipeline", "pipeline_v", "pipeline_xl"], ids=["sd 1.x", "sd 2.x", "sdxl"])
def any_pipeline(request) -> Path:
    """Each of the three in turn."""
    return request.getfixturevalue(request.param)
