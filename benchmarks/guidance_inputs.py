"""What the guidance benchmark works on: random generators with everything that a method may use, and stock pipelines."""

import math
from argparse import Namespace
from pathlib import Path

import diffusers
import numpy as np
import open_clip
import torch
import transformers
from diffusion_inputs import BETAS, SPECIES, build, configs, lineages, pictures, records, tokenizer
from torch import Tensor, nn

from taxaforge.classification.model import create
from taxaforge.config.guidance import KINDS
from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion import contour, schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import AutoencoderCodec, PixelCodec
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.contour import Contour
from taxaforge.diffusion.lineages import Lineages
from taxaforge.guidance.lesson import Lesson
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.recipe import Aids
from taxaforge.guidance.splice import TOKEN, OpenClip, PipelineText, Spliced
from taxaforge.guidance.worklist import Item, worklist
from taxaforge.semantics.discriminator import Discriminator, Head
from taxaforge.semantics.model import Semantics
from taxaforge.semantics.train import MEAN, STD, model_config

LEVELS = ["order", "family", "genus", "species"]
NAMES = [record["species"] for record in records()]
DEFAULT = {"size": 32, "patch": 2, "channels": [48, 64, 96], "width": 128, "layers": 2, "context_length": 12}
"""The embedded default's generator and text tower."""
EDGES = {"low": 60, "high": 150, "blur": 0.7}


def frozen(module: nn.Module, device: str) -> nn.Module:
    return module.eval().requires_grad_(False).to(device)


def stirred(module: nn.Module) -> nn.Module:
    """As if trained: fresh layers that start at zero let nothing through, neither picture nor gradient."""
    generator = torch.Generator().manual_seed(0)
    for value in module.parameters():
        if value.ndim > 1 and not value.any():
            value.data.normal_(std=value[0].numel() ** -0.5, generator=generator)
    return module


# ---------------------------------------------------------------- generators


def stable_diffusion(width: float, size: int, device: str) -> Backbone:
    """A random pipeline of SD 1.5's structure with the modules of four levels; the frozen text is random, too."""
    texts = lineages(LEVELS, 77, configs(width)["text_encoder"]["hidden_size"])
    images = AutoencoderCodec(build("vae", width, device), size)
    noise = schedule.of_checkpoint({**BETAS, "prediction_type": "epsilon"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules = Conditioning(LEVELS, texts.width)
    return frozen(Backbone(build("unet", width, device), modules, texts, noise, images), device)


def small(device: str) -> Backbone:
    """The embedded default's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = (DEFAULT["channels"], DEFAULT["size"], DEFAULT["patch"], DEFAULT["width"])
        unet = stirred(backbones.small_unet(*sizes)).to(memory_format=torch.channels_last)
        modules = Conditioning(LEVELS, DEFAULT["width"])
    texts: Lineages = lineages(LEVELS, DEFAULT["context_length"], DEFAULT["width"])
    images = PixelCodec(DEFAULT["size"], DEFAULT["patch"])
    return frozen(Backbone(unet, modules, texts, schedule.small("v_prediction"), images), device)


def aids(backbone: Backbone, given: Namespace) -> Aids:
    """Pictures, a contour adapter that has effect, and the guide."""
    adapter = stirred(contour.make(backbone, 0)).to(backbone.device)
    guide = create(given.guide, NAMES, given.guide_size)
    frozen(guide.net, given.device)
    frozen(adapter, given.device)
    data = pictures(2 * SPECIES, backbone.images.size)
    return Aids(records(), data, contour=Contour(adapter, backbone, {"edges": EDGES}), guide=guide)


def settings(kind: str, given: Namespace, **own) -> dict:
    """A method as `generate.draw` gets it, with everything else at its default."""
    recipe = KINDS[kind](**own).model_dump(mode="json")
    return {**recipe, "name": kind, "seed": 0, "steps": given.steps, "scheduler": "ddim"}


def items(count: int) -> list[Item]:
    """The first images of a run of 12 species."""
    return worklist(NAMES, [math.ceil(count / SPECIES)] * SPECIES, "benchmark", 0)[:count]


def noise(batch: list[Item], backbone: Backbone) -> Tensor:
    return initial_noise([item.seed for item in batch], backbone.latent_shape).to(backbone.device)


def spoken(backbone: Backbone, batch: list[Item]) -> dict[str, Tensor]:
    """What our condition and null condition are to a stock pipeline."""
    label = torch.tensor([item.label for item in batch], device=backbone.device)
    fine = backbone.condition(label, len(backbone.levels) - 1)
    return {"prompt_embeds": fine, "negative_prompt_embeds": backbone.null(len(batch))}


# ---------------------------------------------------------------- the library's own pipelines


def stock(kind: type, backbone: Backbone, text: nn.Module | None = None, words=None, **more):
    """A stock pipeline on the same weights and betas, with DDIM and without a progress bar."""
    made = kind(
        vae=backbone.images.vae,
        unet=backbone.unet,
        text_encoder=text,
        tokenizer=words,
        scheduler=diffusers.DDIMScheduler.from_config(backbone.schedule.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **more,
    )
    made.set_progress_bar_config(disable=True)
    return made


def prompts(batch: list[Item]) -> list[str]:
    """The lineage as one sentence, which a stock pipeline reads at every call."""
    named = [", ".join(f"{rank}: {name}" for rank, name in record.items()) for record in records()]
    return [named[item.label] for item in batch]


# ---------------------------------------------------------------- learning tokens


class Words(PipelineText):
    """One text encoder that lies in no folder."""

    def __init__(self, encoder: nn.Module, words: transformers.CLIPTokenizer, device: str):
        self.names, self.encoders, self.tokenizers = ("text_encoder",), [encoder], [words]
        self.device = torch.device(device)


def semantics(size: int, device: str) -> Semantics:
    """An untrained image-text model as the run trains one, for pictures of `size` px."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**model_config(DEFAULT, size)).to(memory_format=torch.channels_last)
    open_clip.set_model_preprocess_cfg(model, {"mean": MEAN, "std": STD})
    return Semantics(model, open_clip.SimpleTokenizer(context_length=DEFAULT["context_length"]), device)


def lesson(kind: str, given: Namespace, folder: Path) -> Lesson:
    """All 12 species' tokens before their first update.

    Args:
        kind: "small", at the embedded default's sizes, or "stable-diffusion", at the asked ones.
    """
    if kind == "small":
        backbone = small(given.device)
        judge = semantics(backbone.images.size, given.device)
        tower = OpenClip(judge, given.device)
    else:
        backbone = stable_diffusion(given.width, given.size, given.device)
        judge = semantics(min(224, given.size), given.device)
        encoder = build("text_encoder", given.width, given.device)
        tower = Words(encoder, tokenizer(folder / "tokenizer"), given.device)
    generator = torch.Generator().manual_seed(0)
    prototypes = nn.functional.normalize(torch.randn(SPECIES, DEFAULT["width"], generator=generator), dim=1)
    head = stirred(Head(DEFAULT["width"], 256)).to(given.device)
    seeing = frozen(Discriminator(judge, head, prototypes, NAMES, NAMES), given.device)
    own = KINDS["dig_zsl"](images=given.token_images, learning_steps=given.token_steps).model_dump(mode="json")
    cfg = {**own, "name": "dig_zsl", "steps": own["learning_steps"]}
    text = Spliced(tower, [f"species: {TOKEN} {name}" for name in NAMES], cfg["start"], (torch.zeros(()), 1.0))
    everyone = torch.arange(SPECIES, device=backbone.device)
    return Lesson(backbone, seeing, text, NAMES, everyone, everyone, cfg, 0)


def relative(found: Tensor | np.ndarray, wanted: Tensor | np.ndarray) -> float:
    """Largest difference, in shares of the largest value wanted."""
    return float(abs(found - wanted).max() / abs(wanted).max())
