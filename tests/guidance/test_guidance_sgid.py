"""SGID: variants of real images (acceptance S2, S3, S4)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionImg2ImgPipeline, UNet2DConditionModel

from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import AutoencoderCodec, to_unit
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.lineages import Lineages, strings_of
from taxaforge.diffusion.sampler import sample
from taxaforge.guidance.methods import sgid
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.prompts import NoPrompt, Prompts
from taxaforge.guidance.recipe import Aids, CannotDraw
from taxaforge.guidance.terms import guided
from taxaforge.guidance.worklist import worklist
from taxaforge.packs import Pack

LEVELS = ["genus", "species"]
CLASSES = [
    {"genus": "Parus", "species": "Parus major"},
    {"genus": "Poecile", "species": "Poecile palustris"},
    {"genus": "Sitta", "species": "Sitta europaea"},
]
SPECIES = [record["species"] for record in CLASSES]
NAMES = [f"image {number}" for number in range(6)]
CFG = {"kind": "sgid", "name": "sgid", "seed": 4, "steps": 8, "strength": 0.5}
ITEMS = worklist(SPECIES, [2, 2, 2], "sgid", 4)


def vae_of_no_spread() -> AutoencoderKL:
    """Its posterior is a point, so that the stock pipeline's draw from it, which ours does not make, changes nothing."""
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[8, 8], latent_channels=4, norm_num_groups=4, sample_size=16,
    )  # fmt: skip
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    return vae


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """In the manner of SD 1.x, random: 16 px pictures, latents of 4 x 8 x 8."""
    strings, rows = strings_of(CLASSES, LEVELS)
    tokens = torch.randn(len(strings), 5, 16, generator=torch.Generator().manual_seed(1))
    lineages = Lineages(LEVELS, strings, tokens, **{name: torch.tensor(value) for name, value in rows.items()})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1,
            cross_attention_dim=16, norm_num_groups=4, attention_head_dim=2,
            down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        )  # fmt: skip
        conditioning, vae = Conditioning(LEVELS, 16), vae_of_no_spread()
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    noise = schedule.of_checkpoint(dict(DDIMScheduler(**betas).config))
    return Backbone(unet, conditioning, lineages, noise, AutoencoderCodec(vae, 16)).eval().requires_grad_(False)


def aids_with(scales: list[float]) -> Aids:
    """Six training images, two a species, each with a sentence and a scale of its own."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    facts = {
        name: {"scale": s, "similarity": 0.2, "prompt": f"p {name}"} for name, s in zip(NAMES, scales, strict=True)
    }
    tokens = torch.randn(6, 5, 16, generator=torch.Generator().manual_seed(2))
    prompts = Prompts([f"p {name}" for name in NAMES], tokens, {name: i for i, name in enumerate(NAMES)}, facts=facts)
    return Aids(CLASSES, Pack(pixels, SPECIES, NAMES, np.arange(6) % 3, NAMES, [""] * 6), prompts)


AIDS = aids_with([1.0, 1.5, 2.0, 2.5, 4.0, 7.5])


def drawn(backbone, items, aids: Aids, cfg: dict, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, list]:
    """Latents after the last step, and the rows of every call of the denoiser; as `generate.draw` does it."""
    with torch.no_grad():
        recipe = sgid.recipe(backbone, items, cfg, aids)
    noise = initial_noise([item.seed for item in items], backbone.latent_shape) if noise is None else noise
    steps = backbone.native_scheduler(cfg["steps"])
    start = torch.tensor([schedule.first_step(cfg["steps"], value) for value in recipe.start.strength.tolist()])
    z = schedule.begun(steps, noise, backbone.to_latent(recipe.start.pixels), start)
    calls = []

    def counted(z, t, tokens, **residuals):
        calls.append(len(z))
        return backbone.predict(z, t.expand(len(z)), tokens, **residuals)

    return sample(guided(counted, recipe.term), z, steps, start), calls


def test_a_batch_with_scales_of_its_own_is_its_images_drawn_alone(backbone):
    together, _ = drawn(backbone, ITEMS, AIDS, CFG)
    alone = torch.cat([drawn(backbone, [item], AIDS, CFG)[0] for item in ITEMS])
    assert len({sgid.notes(item, CFG, AIDS)["scale"] for item in ITEMS}) == 6
    assert (together - alone).abs().max() <= 2e-5 * max(1.0, together.abs().max().item())
    other, _ = drawn(backbone, ITEMS, aids_with([2.0] * 6), CFG)
    apart = (together - other).abs().amax((1, 2, 3))
    assert (apart > 1e-3).sum() == 5  # all but the one whose scale is 2


@pytest.mark.parametrize("start", ["latents", "pictures"])
def test_one_scale_for_all_is_the_stock_image_to_image_pipeline(backbone, start):
    aids = aids_with([3.0] * 6)
    stock = StableDiffusionImg2ImgPipeline(
        backbone.images.vae, None, None, backbone.unet, DDIMScheduler.from_config(backbone.schedule.config),
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(item.seed) for item in ITEMS]
    recipe = sgid.recipe(backbone, ITEMS, CFG, aids)
    if start == "latents":
        image, noise = backbone.to_latent(recipe.start.pixels), None
    else:  # then each generator draws the latent first, which has no spread here, and the noise after it
        ahead = [torch.Generator().manual_seed(item.seed) for item in ITEMS]
        noise = [torch.randn(2, *backbone.latent_shape, generator=own)[1] for own in ahead]
        image, noise = to_unit(recipe.start.pixels), torch.stack(noise)
    towards, away = (branch.tokens for branch in recipe.term(0.5))
    theirs = stock(
        image=image, strength=CFG["strength"], num_inference_steps=CFG["steps"], guidance_scale=3.0,
        prompt_embeds=towards, negative_prompt_embeds=away, generator=generators, output_type="latent",
    ).images  # fmt: skip
    ours, _ = drawn(backbone, ITEMS, aids, CFG, noise)
    assert (ours - theirs).abs().max() <= 2e-5 * max(1.0, theirs.abs().max().item())
    assert (ours - drawn(backbone, ITEMS, aids_with([3.2] * 6), CFG, noise)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("steps, strength, executed", [
    pytest.param(8, 0.5, 4, id="half"),
    pytest.param(50, 0.58, 29, id="where int() would lose one"),
    pytest.param(1000, 0.001, 1, id="at least one"),
    pytest.param(8, 1.0, 8, id="all"),
])  # fmt: skip
def test_the_strength_says_how_many_steps_are_executed(backbone, steps, strength, executed):
    _, calls = drawn(backbone, ITEMS[:1], AIDS, {**CFG, "steps": steps, "strength": strength})
    assert calls == [2] * executed


def test_no_strength_loses_a_step_to_rounding(backbone):
    for hundredths in range(1, 101):
        start = sgid.recipe(backbone, ITEMS[:1], {**CFG, "strength": hundredths / 100}, AIDS).start
        assert schedule.first_step(1000, start.strength.item()) == 1000 - 10 * hundredths


def test_at_hardly_any_strength_the_codecs_round_trip_is_left(backbone):
    cfg = {**CFG, "steps": 1000, "strength": 0.0}
    latents = backbone.to_latent(sgid.recipe(backbone, ITEMS, cfg, AIDS).start.pixels)
    near, _ = drawn(backbone, ITEMS, AIDS, cfg)
    far, _ = drawn(backbone, ITEMS, AIDS, {**cfg, "steps": 8, "strength": 0.5})
    assert (near - latents).abs().max() < 0.15 * (far - latents).abs().max()


def test_an_image_starts_from_its_own_species_and_reads_its_own_sentence(backbone):
    recipe = sgid.recipe(backbone, ITEMS, CFG, AIDS)
    towards, away = recipe.term(0.0)
    for place, item in enumerate(ITEMS):
        note = sgid.notes(item, CFG, AIDS)
        source = NAMES.index(note["source"])
        assert AIDS.train.label[source] == item.label
        assert np.array_equal(recipe.start.pixels[place], AIDS.train.pixels[source])
        assert note == {"prompt": f"p image {source}", "scale": towards.weight[place].item(), "strength": 0.5,
                        "source": f"image {source}"}  # fmt: skip
        label = torch.tensor([item.label])
        expected = backbone.prompted(label, AIDS.prompts.tokens[source][None])
        assert (towards.tokens[place] - expected[0]).abs().max() < 1e-5
        assert (towards.tokens[place] - backbone.condition(label, 1)[0]).abs().max() > 1e-2
    assert torch.equal(away.tokens, backbone.null(6)) and torch.equal(away.weight, 1 - towards.weight)
    assert len({sgid.notes(item, CFG, AIDS)["source"] for item in ITEMS}) == 6  # each training image once


def test_what_is_missing_is_named(backbone):
    one = replace(AIDS.train, label=np.zeros(6, dtype=np.int64))
    with pytest.raises(CannotDraw, match=r"sgid .* Poecile palustris has no training image"):
        sgid.recipe(backbone, ITEMS, CFG, replace(AIDS, train=one))
    unrated = replace(AIDS.prompts, row={})
    with pytest.raises(NoPrompt, match="image"):
        sgid.recipe(backbone, ITEMS, CFG, replace(AIDS, prompts=unrated))
