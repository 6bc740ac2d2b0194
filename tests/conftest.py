"""What all tests share: the checkout, material outside it, and the smallest Stable Diffusion that still is one."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout under test."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real material to measure on, outside the project; skips where it is not there."""
    path = Path(os.environ.get("TAXAFORGE_SHARED", ROOT.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no shared material at {path}; set TAXAFORGE_SHARED")
    return path


@pytest.fixture(scope="session")
def gbif_replica(shared):
    """The module of the loopback GBIF; DATA: the pictures it may serve, FILE: the module's own."""
    path, data = shared / "tools/gbif_replica.py", shared / "data/lepidoptera"
    if not (path.exists() and data.exists()):
        pytest.skip(f"needs {path} and {data}; set TAXAFORGE_SHARED")
    spec = importlib.util.spec_from_file_location("gbif_replica", path)
    module = sys.modules["gbif_replica"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DATA, module.FILE = data, path
    return module


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
    import torch
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
    import torch
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
    import torch
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
