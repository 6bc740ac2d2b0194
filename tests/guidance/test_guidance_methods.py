"""Our loop and recipes against the library's own Stable Diffusion pipeline, tiny and with random weights."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

from taxaforge.config.guidance import KINDS
from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import AutoencoderCodec
from taxaforge.diffusion.sampler import sample
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.recipe import Aids
from taxaforge.guidance.registry import METHODS
from taxaforge.guidance.terms import conditional, guided
from taxaforge.guidance.worklist import Item

STEPS = 5
LABEL = torch.tensor([2, 0, 1])
SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea"]
AIDS = Aids([{"species": name} for name in SPECIES])
ITEMS = [Item(SPECIES[label], label, 0, 11 + place, f"image {place}", "") for place, label in enumerate(LABEL.tolist())]


@pytest.fixture(params=["float32", "float64"])
def latent(request, backbone, lineages) -> Backbone:
    """A latent backbone on the betas of Stable Diffusion, with the pixel backbone's levels."""
    dtype = getattr(torch, request.param)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        unet = type(backbone.unet).from_config({**backbone.unet.config, "in_channels": 4, "out_channels": 4})
        torch.nn.init.normal_(unet.conv_out.weight, std=0.2)
        vae = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            block_out_channels=[8, 8],
            latent_channels=4,
            norm_num_groups=4,
        )
    betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    noise = schedule.of_checkpoint({"num_train_timesteps": 1000, **betas})
    made = Backbone(unet, backbone.conditioning, lineages, noise, AutoencoderCodec(vae, 16))
    return made.eval().requires_grad_(False).to(dtype)


def stock(backbone, z, positive, negative, scale):
    pipeline = StableDiffusionPipeline(
        vae=backbone.images.vae,
        text_encoder=None,
        tokenizer=None,
        unet=backbone.unet,
        scheduler=DDIMScheduler.from_config(backbone.schedule.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
        guidance_scale=scale,
        latents=z,
        num_inference_steps=STEPS,
        output_type="latent",
    ).images


def ours(backbone, z, name, **settings):
    recipe = METHODS[name].recipe(backbone, ITEMS, settings_of(name, **settings), AIDS)
    return sample(guided(backbone, recipe.term), z, backbone.scheduler(STEPS))


def settings_of(name, **settings):
    return {**KINDS[name]().model_dump(mode="json"), "name": name, "seed": 1, "steps": STEPS, **settings}


def start(backbone):
    return initial_noise([11, 12, 13], backbone.latent_shape).to(backbone.text_tokens.dtype)


def agree(found, expected):
    tolerance = 1e-8 if expected.dtype == torch.float64 else 2e-5
    assert (found - expected).abs().max() <= tolerance * max(1, expected.abs().max())


def test_cfg_is_the_stock_pipeline(latent):
    z, fine = start(latent), latent.condition(LABEL, 2)
    expected = stock(latent, z, fine, latent.null(3), scale=3.0)
    agree(ours(latent, z, "cfg", scale=3.0), expected)
    assert (expected - stock(latent, z, fine, latent.null(3), scale=2.0)).abs().max() > 1e-3  # the scale is felt


@pytest.mark.parametrize(("weak", "level"), [("coarsest", 0), ("parent", 1)])
def test_taxadiffusion_is_the_stock_pipeline_with_a_coarse_negative(latent, weak, level):
    z, fine, coarse = start(latent), latent.condition(LABEL, 2), latent.condition(LABEL, level)
    agree(ours(latent, z, "taxadiffusion", scale=4.0, weak=weak), stock(latent, z, fine, coarse, scale=4.0))


@pytest.mark.parametrize("name", ["cfg", "taxadiffusion"])
def test_without_guidance_every_method_is_the_conditional_pass(backbone, name):
    z = start(backbone)
    alone = sample(guided(backbone, conditional(backbone.condition(LABEL, 2))), z, backbone.scheduler(STEPS))
    agree(ours(backbone, z, name, scale=1.0), alone)
    assert (ours(backbone, z, name, scale=2.0) - alone).abs().max() > 1e-3


def test_outside_its_interval_taxadiffusion_is_the_conditional_pass(backbone):
    z, seen, fine = start(backbone), [], backbone.condition(LABEL, 2)

    def count(z, t, tokens):
        seen.append(len(z))
        assert torch.equal(tokens[:3], fine)
        return backbone(z, t, tokens)

    cfg = settings_of("taxadiffusion", scale=2.0, interval=[0.4, 0.8])
    recipe = METHODS["taxadiffusion"].recipe(backbone, ITEMS, cfg, AIDS)
    sample(guided(count, recipe.term), z, backbone.scheduler(STEPS))
    assert seen == [3, 3, 6, 6, 3]


def test_taxadiffusion_needs_a_coarser_level(backbone):
    backbone.levels = ["species"]
    with pytest.raises(TaxaforgeError, match=r"'coarsest' is none: the generator knows species.*guidance.methods"):
        METHODS["taxadiffusion"].recipe(backbone, ITEMS, settings_of("taxadiffusion"), AIDS)


def test_every_method_has_settings_evidence_and_a_file_of_its_own():
    assert METHODS.keys() == KINDS.keys()
    assert {module.EVIDENCE for module in METHODS.values()} <= {"code", "note", "reconstruction", "standard"}
    assert all(module.__name__ == f"taxaforge.guidance.methods.{name}" for name, module in METHODS.items())
