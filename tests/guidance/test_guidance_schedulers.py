"""Every way of denoising and every start against the library's own pipelines, tiny and with random weights."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionImg2ImgPipeline, StableDiffusionPipeline

from taxaforge.config.guidance import KINDS
from taxaforge.diffusion import schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import AutoencoderCodec, to_unit
from taxaforge.diffusion.sampler import sample
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance.generate import draw
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.recipe import Aids, CannotDraw
from taxaforge.guidance.registry import METHODS
from taxaforge.guidance.terms import contrast, guided
from taxaforge.guidance.worklist import Item
from taxaforge.packs import Pack

STEPS, SCALE = 8, 3.0
SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea"]
RECORDS = [{"species": name, "genus": name.split()[0]} for name in SPECIES]
LABEL = torch.tensor([2, 0, 1])
ITEMS = [Item(SPECIES[label], label, place, 11 + place, f"image {place}", "") for place, label in enumerate([2, 0, 1])]


@pytest.fixture
def latent(backbone, lineages) -> Backbone:
    """A latent backbone on the betas and the spacing of Stable Diffusion."""
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
    betas = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    noise = schedule.of_checkpoint({**betas, "timestep_spacing": "leading"})
    made = Backbone(unet, backbone.conditioning, lineages, noise, AutoencoderCodec(vae, 16))
    return made.eval().requires_grad_(False)


def pipeline(kind, backbone, scheduler):
    made = kind(
        vae=backbone.images.vae,
        text_encoder=None,
        tokenizer=None,
        unet=backbone.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def pictures(count=6, size=16, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def pack(size=16) -> Pack:
    names = [f"photo {number}" for number in range(6)]
    return Pack(pictures(size=size), SPECIES, names, np.arange(6) % 3, names, [""] * 6)


def cfg_of(kind, **more) -> dict:
    own = KINDS[kind]().model_dump(mode="json")
    return {**own, "name": kind, "seed": 5, "steps": STEPS, "scheduler": "ddim", **more}


def close(found, expected, tolerance=2e-5):
    assert (found - expected).abs().max() <= tolerance * max(1, expected.abs().max())


@pytest.mark.parametrize("kind", schedule.SAMPLERS)
def test_every_scheduler_draws_what_the_stock_pipeline_draws_with_it(latent, kind):
    fine, null = latent.condition(LABEL, 2), latent.null(3)
    eps = initial_noise([11, 12, 13], latent.latent_shape)
    plan = latent.native_scheduler(STEPS, kind)
    term = contrast(fine, null, torch.full((3,), SCALE))
    found = sample(guided(latent.predict, term), schedule.begun(plan, eps), plan)
    expected = pipeline(StableDiffusionPipeline, latent, schedule.SAMPLERS[kind].from_config(plan.config))(
        prompt_embeds=fine,
        negative_prompt_embeds=null,
        guidance_scale=SCALE,
        latents=eps,
        num_inference_steps=STEPS,
        output_type="latent",
    ).images
    close(found, expected)


def test_every_scheduler_has_a_way_of_its_own(latent):
    eps = initial_noise([1, 2, 3], latent.latent_shape)
    term = contrast(latent.condition(LABEL, 2), latent.null(3), torch.full((3,), SCALE))
    ends = {}
    for kind in schedule.SAMPLERS:
        plan = latent.native_scheduler(STEPS, kind)
        ends[kind] = sample(guided(latent.predict, term), schedule.begun(plan, eps), plan)
    apart = {kind: (end - ends["ddim"]).abs().max().item() for kind, end in ends.items()}
    assert min(apart["dpm++"], apart["unipc"]) > 1e-3


@pytest.mark.parametrize("kind", schedule.SAMPLERS)
def test_every_scheduler_comes_to_the_same_image_with_many_steps(backbone, kind):
    """Of the pixel backbone too, whose cosine betas end in pure noise."""
    eps = initial_noise([1, 2, 3], backbone.latent_shape)
    term = contrast(backbone.condition(LABEL, 2), backbone.null(3), torch.full((3,), 1.5))
    ends = []
    for name in ("ddim", kind):
        plan = backbone.native_scheduler(250, name)  # the library's DDIM wants a divisor of 1000
        ends.append(sample(guided(backbone.predict, term), schedule.begun(plan, eps), plan))
    assert (ends[0] - ends[1]).abs().mean() < 0.02 * ends[0].std()


def test_an_unknown_scheduler_is_answered_with_the_known_ones(backbone):
    with pytest.raises(TaxaforgeError, match=r"'ddmi'.*ddim, dpm\+\+, euler, unipc"):
        backbone.native_scheduler(4, "ddmi")


@pytest.mark.parametrize("kind", schedule.SAMPLERS)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_starting_from_an_image_is_the_stock_image_to_image_pipeline(latent, kind, strength):
    fine, null, shown = latent.condition(LABEL, 2), latent.null(3), pictures(3)
    plan, z0 = latent.native_scheduler(STEPS, kind), latent.to_latent(shown)
    eps = initial_noise([11, 12, 13], latent.latent_shape)
    start = torch.full((3,), schedule.first_step(STEPS, strength))
    term = contrast(fine, null, torch.full((3,), SCALE))
    found = sample(guided(latent.predict, term), schedule.begun(plan, eps, z0, start), plan, start)

    stock = pipeline(StableDiffusionImg2ImgPipeline, latent, schedule.SAMPLERS[kind].from_config(plan.config))
    stock.prepare_latents = lambda image, t, *rest: stock.scheduler.add_noise(z0, eps, t)  # our noise, our VAE's mode
    expected = stock(
        image=to_unit(shown),
        strength=strength,
        prompt_embeds=fine,
        negative_prompt_embeds=null,
        guidance_scale=SCALE,
        num_inference_steps=STEPS,
        output_type="latent",
    ).images
    close(found, expected)


@pytest.mark.parametrize("kind", schedule.SAMPLERS)
def test_images_of_different_strengths_share_a_batch_and_come_out_as_alone(latent, kind):
    """Schedules that look back keep a memory of their own for each start."""
    shown, strengths = pictures(3), (0.3, 1.0, 0.6)
    plan, z0 = latent.native_scheduler(STEPS, kind), latent.to_latent(shown)
    eps, scale = initial_noise([11, 12, 13], latent.latent_shape), torch.tensor([3.0, 1.5, 5.0])
    start = torch.tensor([schedule.first_step(STEPS, strength) for strength in strengths])
    fine, null, asked = latent.condition(LABEL, 2), latent.null(3), []
    predict = guided(latent.predict, contrast(fine, null, scale))
    together = sample(
        lambda z, t, u, rows: asked.append(len(z)) or predict(z, t, u, rows),
        schedule.begun(plan, eps, z0, start),
        plan,
        start,
    )
    assert asked == [1, 1, 1, 1, 2, 2, 3, 3]
    for i in range(3):
        one = slice(i, i + 1)
        alone = contrast(fine[one], null[one], scale[one])
        z = schedule.begun(plan, eps[one], z0[one], start[one])
        close(together[one], sample(guided(latent.predict, alone), z, plan, int(start[i])))


def test_executed_steps_are_the_share_of_the_schedule_rounded_down_but_for_floating_point():
    asked = {(50, 0.58): 29, (100, 0.29): 29, (100, 0.57): 57, (30, 0.5): 15, (8, 1.0): 8, (25, 0.01): 1, (10, 0.99): 9}
    assert {key: key[0] - schedule.first_step(*key) for key in asked} == asked


@pytest.mark.parametrize("kind", ["sdedit", "mixup"])
def test_a_little_of_the_schedule_leaves_the_image_nearly_as_it_was(backbone, kind):
    aids = Aids(RECORDS, train=pack(8))
    cfg = cfg_of(kind, strength=[0.04], steps=25)
    notes = [METHODS[kind].notes(item, cfg, aids) for item in ITEMS]
    sources = [aids.train.pixels[aids.train.identifier.index(note["source"])] for note in notes]
    near, facts = draw(backbone, ITEMS, cfg, aids)
    far, _ = draw(backbone, ITEMS, {**cfg, "strength": [1.0]}, aids)
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(near, sources, strict=True)]
    assert max(apart) < 12 < min(np.abs(a.astype(int) - b).mean() for a, b in zip(far, sources, strict=True))
    assert [fact["steps"] for fact in facts] == [1, 1, 1]


def test_sdedit_starts_from_the_species_own_images_and_uses_all_of_them():
    aids, cfg = Aids(RECORDS, train=pack()), cfg_of("sdedit")
    items = [Item(SPECIES[1], 1, index, index, "", "") for index in range(4)]
    sources = [METHODS["sdedit"].notes(item, cfg, aids)["source"] for item in items]
    assert sorted(sources[:2]) == ["photo 1", "photo 4"]
    assert sources[2:] == sources[:2]


def test_mixup_starts_from_another_species_and_shares_the_label():
    aids, cfg = Aids(RECORDS, train=pack()), cfg_of("mixup", strength=[0.5], gamma=2.0)
    for index in range(20):
        item = Item(SPECIES[0], 0, index, 1000 + index, "", "")
        note = METHODS["mixup"].notes(item, cfg, aids)
        place = aids.train.identifier.index(note["source"])
        assert SPECIES[aids.train.label[place]] == note["other"] != SPECIES[0]
        assert note["share"] == 0.25
        assert note == METHODS["mixup"].notes(item, cfg, aids)
    assert METHODS["mixup"].notes(item, cfg_of("mixup", strength=[1.0]), aids)["share"] == 1.0


def test_mixup_with_siblings_takes_them_where_there_are_any():
    records = [{"species": "a", "genus": "x"}, {"species": "b", "genus": "y"}, {"species": "c", "genus": "x"}]
    aids = Aids(records, train=pack())
    asked = cfg_of("mixup", partner="sibling")
    drawn = {METHODS["mixup"].notes(Item("a", 0, i, i, "", ""), asked, aids)["other"] for i in range(20)}
    assert drawn == {"c"}


def test_a_species_without_an_image_is_named_with_the_method_and_a_remedy(backbone):
    names = ["one", "two"]
    train = Pack(pictures(2, 8), SPECIES, names, np.array([0, 0]), names, ["", ""])
    with pytest.raises(CannotDraw, match=r"Method sdedit .* Sitta europaea has no training image.*guidance.methods"):
        draw(backbone, ITEMS, cfg_of("sdedit"), Aids(RECORDS, train=train))
    with pytest.raises(CannotDraw, match=r"Method mixup .* none but Parus major"):
        draw(backbone, ITEMS[1:2], cfg_of("mixup"), Aids(RECORDS, train=train))


def test_the_method_without_guidance_asks_the_denoiser_once_a_step(backbone):
    asked, original = [], backbone.predict
    backbone.predict = lambda z, t, tokens, **more: asked.append(len(z)) or original(z, t, tokens, **more)
    draw(backbone, ITEMS, cfg_of("none"), Aids(RECORDS))
    assert asked == [3] * STEPS


@pytest.mark.parametrize("course", ["rising", "falling"])
def test_courses_spread_the_same_guidance_over_the_denoising(backbone, course):
    term = METHODS["cfg"].recipe(backbone, ITEMS, cfg_of("cfg", scale=4.0, course=course), Aids(RECORDS)).term
    weights = [term((step + 0.5) / 100)[0].weight[0].item() - 1 for step in range(100)]
    assert sum(weights) / 100 == pytest.approx(3.0)
    assert (weights == sorted(weights)) == (course == "rising")


def test_a_fine_level_may_be_any_and_any_coarser_one_its_reference(backbone):
    cfg = cfg_of("taxadiffusion", fine="genus", weak="family")
    fine, weak = METHODS["taxadiffusion"].recipe(backbone, ITEMS, cfg, Aids(RECORDS)).term(0.0)
    assert torch.equal(fine.tokens, backbone.condition(LABEL, 1))
    assert torch.equal(weak.tokens, backbone.condition(LABEL, 0))
    with pytest.raises(CannotDraw, match="names the level 'order'"):
        METHODS["taxadiffusion"].recipe(backbone, ITEMS, cfg_of("taxadiffusion", weak="order"), Aids(RECORDS))
