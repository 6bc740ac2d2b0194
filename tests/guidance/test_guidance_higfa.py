"""HiGFA without its classifier is the stock ControlNet pipeline; with it, the gradient is the one that mathematics says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionControlNetPipeline

from taxaforge.classification.model import create
from taxaforge.diffusion import contour, schedule
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import AutoencoderCodec, to_unit
from taxaforge.diffusion.contour import Contour
from taxaforge.diffusion.sampler import sample
from taxaforge.errors import TaxaforgeError
from taxaforge.guidance import confidence
from taxaforge.guidance.confidence import ALONE, Confidence, GradientNotFinite, Pull, moved, prepared
from taxaforge.guidance.methods import higfa
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.recipe import Aids, CannotDraw
from taxaforge.guidance.terms import Step, contrast, guided
from taxaforge.guidance.worklist import worklist
from taxaforge.packs import Pack

SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea"]
STEPS = 5
MOVES = {"flip": True, "shift": 0.1, "scale": 0.15, "rotate": 10.0, "perspective": 0.05, "classmate": 0.0}
CFG = {
    "kind": "higfa",
    "name": "fine",
    "steps": STEPS,
    "seed": 7,
    "images_per_species": 1,
    "scale": 3.0,
    "least_scale": 1.5,
    "contour": 0.75,
    "split": 0.7,
    "strength": 1.0,
    "power": 1.0,
    "modulation": "decrease",
    "gradient": "cheap",
    "normalise": True,
    "clip": 0.0,
    "guide_target": "own",
    "transform": MOVES,
}
PLAIN = {**CFG, "strength": 0.0, "modulation": "constant"}
ITEMS = worklist(SPECIES, [1] * 3, "fine", 7)
LABEL = torch.tensor([0, 1, 2])


def latent(backbone, lineages, dtype) -> Backbone:
    """A latent backbone of 16 px on the betas of Stable Diffusion."""
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


def adapter(backbone, stirred: bool = True) -> Contour:
    """A contour adapter; stirred: as if trained, nothing in it is zero."""
    made, generator = contour.make(backbone, 1), torch.Generator().manual_seed(5)
    made.to(backbone.text_tokens.dtype).eval().requires_grad_(False)
    if stirred:
        for value in made.parameters():
            value += 0.1 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return Contour(made, backbone, {"edges": {"low": 100, "high": 300, "blur": 0.5}})


def aids_of(backbone, count: int = 9, **changes) -> Aids:
    """Random training pictures of the generator's size, an adapter, and an untrained guide that sees 24 px."""
    size, dtype = backbone.images.size, backbone.text_tokens.dtype
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    names = [f"image {number}" for number in range(count)]
    train = Pack(pixels, SPECIES, names, np.arange(count) % 3, names, [""] * count)
    guide = create("test_resnet", SPECIES, 24, seed=2)
    guide.net.to(dtype).eval().requires_grad_(False)
    guide = replace(guide, mean=(0.4, 0.5, 0.6), std=(0.3, 0.25, 0.2))
    records = [{"species": name} for name in SPECIES]
    return Aids(**{"classes": records, "train": train, "contour": adapter(backbone), "guide": guide, **changes})


def method_of(backbone, cfg=CFG, items=ITEMS, aids=None):
    recipe = higfa.recipe(backbone, items, cfg, aids or aids_of(backbone))
    return recipe, guided(backbone.predict, recipe.term, recipe.outline, recipe.correction)


def start(backbone, items=ITEMS) -> torch.Tensor:
    return initial_noise([item.seed for item in items], backbone.latent_shape).to(backbone.text_tokens.dtype)


def drawn(backbone, cfg=CFG, items=ITEMS, aids=None) -> torch.Tensor:
    predict = method_of(backbone, cfg, items, aids)[1]
    return sample(predict, start(backbone, items), backbone.native_scheduler(cfg["steps"]))


def agree(found, expected, tolerance=2e-5):
    tolerance = 1e-8 if expected.dtype == torch.float64 else tolerance
    assert (found - expected).abs().max() <= tolerance * max(1, expected.abs().max())


@pytest.fixture(params=["sd", "small"])
def exact(request, backbone, lineages) -> Backbone:
    """Both backbones in float64: noise prediction on a VAE, v prediction on pixels."""
    return latent(backbone, lineages, torch.float64) if request.param == "sd" else backbone.to(torch.float64)


def step_of(backbone, t: int = 300, count: int = 3, u: float = 0.8, **changes) -> Step:
    """A step late in the denoising of noisy images, guided by classifier-free guidance of scale 3."""
    generator = torch.Generator().manual_seed(9)
    z = torch.randn(count, *backbone.latent_shape, generator=generator).to(backbone.text_tokens.dtype)
    rows, time = torch.arange(count), torch.tensor(t)
    fine, null = backbone.condition(LABEL, 2)[rows], backbone.null(count)

    def outs(z):
        return [backbone.predict(z, time.expand(len(z)), tokens) for tokens in (fine, null)]

    def predict(z):
        named, plain = outs(z)
        return plain + 3 * (named - plain)

    return Step(**{
        "z": z, "t": time, "u": u, "rows": rows, "prediction": predict(z), "outs": outs(z), "predict": predict,
        **changes,
    })  # fmt: skip


def pull_of(backbone, images: int = 3, target=LABEL, guide=None, told=None, **changes) -> Pull:
    cfg = {**CFG, **changes}
    names = [f"fine-{number}" for number in range(images)]
    listen = {} if told is None else {"watch": lambda step, strength, p: told.append((strength, p))}
    sure = Confidence(images, cfg["modulation"])
    guide = guide or aids_of(backbone).guide
    return Pull(backbone, guide, torch.as_tensor(target)[:images], cfg, names, SPECIES[:images], sure, **listen)


def abar_of(backbone, step: Step) -> torch.Tensor:
    return schedule.signal_share(backbone.schedule, step.t.expand(len(step.z)), step.z)


def log_p(guide, backbone, z0, target=LABEL) -> torch.Tensor:
    """(B,) by the plain way: pictures, resized and normalised by hand."""
    x = ((backbone.images.decode(z0) + 1) / 2).clamp(0, 1)
    size = (guide.image_size, guide.image_size)
    x = torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
    x = (x - torch.tensor(guide.mean).view(1, 3, 1, 1)) / torch.tensor(guide.std).view(1, 3, 1, 1)
    return guide.net(x).log_softmax(1)[torch.arange(len(z0)), torch.as_tensor(target)[: len(z0)]]


# What the method is without its classifier


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_strength_and_modulation_it_is_the_stock_controlnet_pipeline(dtype, backbone, lineages):
    """methods.md G1."""
    backbone = latent(backbone, lineages, dtype)
    aids = aids_of(backbone)
    edge = higfa.recipe(backbone, ITEMS, PLAIN, aids).outline.edge
    stock = StableDiffusionControlNetPipeline(
        vae=backbone.images.vae, unet=backbone.unet, controlnet=aids.contour.net, text_encoder=None, tokenizer=None,
        scheduler=DDIMScheduler.from_config(backbone.schedule.config), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        image=(edge.to(dtype) / 255)[:, None].expand(-1, 3, -1, -1), prompt_embeds=backbone.condition(LABEL, 2),
        negative_prompt_embeds=backbone.null(3), latents=start(backbone), num_inference_steps=STEPS,
        guidance_scale=3.0, controlnet_conditioning_scale=0.75, output_type="latent",
    ).images  # fmt: skip
    agree(drawn(backbone, PLAIN, aids=aids), theirs)
    for other in ({"contour": 0.5}, {"scale": 2.0}, {"strength": 1.0}, {"strength": 1.0, "modulation": "decrease"}):
        assert (drawn(backbone, {**PLAIN, **other}, aids=aids) - theirs).abs().max() > 1e-4


def test_without_contour_or_with_an_untaught_adapter_it_is_classifier_free_guidance_bit_for_bit(backbone, lineages):
    """methods.md G2."""
    for one in (backbone, latent(backbone, lineages, torch.float32)):
        fine, null = one.condition(LABEL, 2), one.null(3)
        term = contrast(fine, null, torch.full((3,), 3.0))
        plain = sample(guided(one.predict, term), start(one), one.native_scheduler(STEPS))
        assert torch.equal(drawn(one, {**PLAIN, "contour": 0.0}), plain)
        untaught = aids_of(one, contour=adapter(one, stirred=False))
        for strength in (0.3, 1.0):
            assert torch.equal(drawn(one, {**PLAIN, "contour": strength}, aids=untaught), plain)
        assert not torch.equal(drawn(one, PLAIN), plain)


# The gradient


@pytest.mark.parametrize("gradient", ["full", "cheap"])
def test_the_gradient_is_the_slope_of_the_log_confidence(gradient, exact):
    """methods.md G3: central differences along random directions."""
    step, pull = step_of(exact), pull_of(exact, gradient=gradient)
    abar = abar_of(exact, step)
    eps = schedule.to_eps(exact.native, step.prediction, step.z, abar)

    @torch.no_grad()
    def value(z):
        if gradient == "cheap":
            return log_p(pull.guide, exact, (z - (1 - abar).sqrt() * eps) / abar.sqrt())
        return log_p(pull.guide, exact, schedule.foreseen(exact.native, step.predict(z), z, abar))

    with torch.no_grad():
        said, g = pull.gradient(step, abar)
    assert torch.allclose(said, value(step.z), rtol=1e-12) and not said.requires_grad and not g.requires_grad
    generator, h = torch.Generator().manual_seed(4), 1e-7
    for _ in range(3):
        along = torch.randn(step.z.shape, generator=generator, dtype=torch.float64)
        slope = (value(step.z + h * along) - value(step.z - h * along)) / (2 * h)
        found = (g * along).sum((1, 2, 3))
        assert (found - slope).abs().max() <= 1e-6 * slope.abs().max()


@torch.no_grad()
def test_the_cheap_gradient_is_that_of_the_clean_picture_and_close_to_the_full_one(exact):
    """methods.md G4."""
    step = step_of(exact)
    abar = abar_of(exact, step)
    cheap, full = (pull_of(exact, gradient=kind).gradient(step, abar)[1] for kind in ("cheap", "full"))
    with torch.enable_grad():
        z0 = schedule.foreseen(exact.native, step.prediction, step.z, abar).requires_grad_()
        of_z0 = torch.autograd.grad(log_p(aids_of(exact).guide, exact, z0).sum(), z0)[0]
    agree(cheap, of_z0 / abar.sqrt())
    assert (torch.nn.functional.cosine_similarity(cheap.flatten(1), full.flatten(1)) > 0.3).all()


def test_a_shift_of_the_noise_is_the_same_shift_in_every_space():
    """methods.md G5, with numbers of its own for both prediction types."""
    generator, abar = torch.Generator().manual_seed(1), torch.tensor(0.3, dtype=torch.float64)
    z, eps, g = torch.randn(3, 2, 4, 5, 5, generator=generator, dtype=torch.float64)
    strength = 0.7
    z0 = (z - (1 - abar).sqrt() * eps) / abar.sqrt()
    v = abar.sqrt() * eps - (1 - abar).sqrt() * z0
    by = -(1 - abar).sqrt() * strength * g
    for native, prediction in (("epsilon", eps), ("v_prediction", v)):
        agree(schedule.foreseen(native, prediction, z, abar), z0)
        pulled = moved(native, prediction, by, abar)
        agree(schedule.to_eps(native, pulled, z, abar), eps + by)
        agree(schedule.foreseen(native, pulled, z, abar), z0 + (1 - abar) / abar.sqrt() * strength * g)
    agree(moved("v_prediction", v, by, abar), v - ((1 - abar) / abar).sqrt() * strength * g)


@pytest.mark.parametrize("changes", [
    pytest.param({"gradient": "cheap"}, id="cheap"),
    pytest.param({"gradient": "full"}, id="full"),
    pytest.param({"normalise": False, "clip": 0.05}, id="raw and clipped"),
])  # fmt: skip
@torch.no_grad()
def test_an_image_is_pulled_alike_alone_and_in_company(changes, exact, monkeypatch):
    """methods.md G6, and that decoding a few pictures at a time is decoding them all."""
    step = step_of(exact)
    together = pull_of(exact, **changes)(step)
    for size in (1, 3 * exact.images.size**2 // 2, 10**9):
        monkeypatch.setattr(confidence, "AT_ONCE", size)
        agree(pull_of(exact, **changes)(step), together)
    for row in range(3):
        one = torch.tensor([row])
        part = {name: getattr(step, name)[row : row + 1] for name in ("z", "prediction")}
        alone = step_of(exact, rows=one, outs=[out[one] for out in step.outs], **part)

        def predict(z, own=one):
            named, plain = (
                exact.predict(z, step.t.expand(1), c[own]) for c in (exact.condition(LABEL, 2), exact.null(3))
            )
            return plain + 3 * (named - plain)

        agree(pull_of(exact, **changes)(replace(alone, predict=predict)), together[one])
    assert (together - step.prediction).flatten(1).norm(dim=1).min() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_normalised_pull_is_as_long_as_the_texts_times_the_doubt(power, exact):
    step, told = step_of(exact), []
    pull = pull_of(exact, strength=0.8, power=power, told=told)
    abar = abar_of(exact, step)
    moved_by = pull(step) - step.prediction
    [(strength, p)] = told
    assert torch.allclose(strength, 0.8 * (1 - p) ** power)
    text = (step.outs[0] - step.outs[1]).flatten(1).norm(dim=1)  # lengths in native units: both change alike
    agree(moved_by.flatten(1).norm(dim=1), strength * text)
    g = pull.gradient(step, abar)[1]
    assert (torch.nn.functional.cosine_similarity(moved_by.flatten(1), -g.flatten(1)) > 1 - 1e-9).all()


@torch.no_grad()
def test_the_raw_pull_is_the_gradient_in_units_of_the_noise_and_clipped_where_it_is_long(exact):
    step = step_of(exact)
    abar = abar_of(exact, step)
    eps = schedule.to_eps(exact.native, step.prediction, step.z, abar)
    pull = pull_of(exact, normalise=False)
    said, g = pull.gradient(step, abar)
    lengths = g.flatten(1).norm(dim=1)
    for clip in (0.0, float(lengths.median())):
        told = schedule.to_eps(exact.native, pull_of(exact, normalise=False, clip=clip)(step), step.z, abar)
        short = (clip / lengths).clamp(max=1) if clip else torch.ones(3, dtype=torch.float64)
        factor = ((1 - said.exp()) * short).view(-1, 1, 1, 1)
        agree(told, eps - (1 - abar).sqrt() * factor * g)


@torch.no_grad()
def test_with_one_branch_the_pull_is_measured_by_the_noise_itself(exact):
    step, told = step_of(exact), []
    alone = replace(step, outs=step.outs[:1], prediction=step.outs[0])
    abar = abar_of(exact, step)
    before, after = (
        schedule.to_eps(exact.native, out, step.z, abar) for out in (alone.prediction, pull_of(exact, told=told)(alone))
    )
    expected = told[0][0] * ALONE * before.flatten(1).norm(dim=1)
    agree((after - before).flatten(1).norm(dim=1), expected)


@torch.no_grad()
def test_a_small_step_makes_the_guide_surer_of_the_class_asked_for_and_of_no_other(exact):
    """methods.md G8."""
    step = step_of(exact)
    abar = abar_of(exact, step)
    for target in (LABEL, LABEL.roll(1)):
        pull = pull_of(exact, target=target, strength=1e-3)
        before, after = (
            log_p(pull.guide, exact, schedule.foreseen(exact.native, out, step.z, abar), target)
            for out in (step.prediction, pull(step))
        )
        assert (after > before).all()


@torch.no_grad()
def test_decoder_and_guide_compute_in_full_precision_inside_autocast(backbone, lineages):
    for one in (backbone, latent(backbone, lineages, torch.float32)):
        step, pull = step_of(one), pull_of(one)
        expected = pull.gradient(step, abar_of(one, step))
        half = replace(step, z=step.z.bfloat16().float(), prediction=step.prediction.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):
            found = pull.gradient(step, abar_of(one, step))
            moved_by = pull(half)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert moved_by.dtype == torch.bfloat16 and moved_by.isfinite().all()


def test_the_guide_sees_decoded_pictures_as_it_sees_files(backbone):
    pixels = np.random.default_rng(3).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    for size in (16, 24, 12):
        guide = replace(aids_of(backbone).guide, image_size=size)
        expected = guide.normalised(guide.resized(pixels))
        found = prepared(guide, to_unit(pixels))
        assert (found - expected).abs().max() < 2e-6 and found.stride() == expected.stride()
    guide, beyond = replace(aids_of(backbone).guide, image_size=16), 1.5 * to_unit(pixels)
    clipped = (beyond.clamp(-1, 1) + 1) / 2  # what is written to a file has no room beyond black and white
    assert torch.allclose(prepared(guide, beyond), guide.normalised(clipped), atol=2e-6)


# When it acts, and what its confidence moves


@pytest.mark.parametrize(("steps", "split", "first"), [
    pytest.param(30, 0.7, 21, id="as published pipelines count"),
    pytest.param(50, 0.58, 29, id="where a float multiplies to 28.99"),
    pytest.param(10, 0.3, 3, id="early"),
    pytest.param(7, 0.5, 3, id="between two steps"),
    pytest.param(4, 0.0, 0, id="always"),
    pytest.param(4, 1.0, 4, id="never"),
])  # fmt: skip
def test_the_first_phase_has_exactly_the_steps_that_the_split_says(steps, split, first, backbone):
    """methods.md G7."""
    cfg = {**CFG, "steps": steps, "split": split}
    recipe, predict = method_of(backbone, cfg)
    sample(predict, start(backbone), backbone.native_scheduler(steps))
    for told in recipe.trace():
        assert [p is None for p in told["p"]] == [True] * first + [False] * (steps - first)
        assert told["S"][:first] == [0.0] * first and all(value > 0 for value in told["S"][first:])
        assert told["w"][: first + 1] == [3.0] * min(first + 1, steps)
        assert told["a"][: first + 1] == [0.75] * min(first + 1, steps)


@pytest.mark.parametrize("modulation", ["decrease", "constant", "increase"])
def test_strengths_follow_the_confidence_of_the_step_before(modulation, backbone):
    cfg = {**CFG, "steps": 6, "split": 0.5, "modulation": modulation, "strength": 2.0, "power": 0.5}
    recipe, predict = method_of(backbone, cfg)
    seen = []

    def watched(z, t, u, rows):
        named, null = recipe.term(u)
        assert torch.allclose(named.weight + null.weight, torch.ones(3)) and not named.weight.requires_grad
        seen.append((named.weight, recipe.outline.strength(u)))
        return predict(z, t, u, rows)

    sample(watched, start(backbone), backbone.native_scheduler(6))
    traces = recipe.trace()
    assert json.loads(json.dumps(traces)) == traces and len(traces) == 3
    for image, told in enumerate(traces):
        p = told["p"][3:]
        factor = {"decrease": p[:2], "constant": [1.0, 1.0], "increase": [1 - one for one in p[:2]]}[modulation]
        factor = [1.0] * 4 + factor
        assert told["w"] == pytest.approx([1.5 + 1.5 * m for m in factor], abs=1e-5)
        assert told["a"] == pytest.approx([0.75 * m for m in factor], abs=1e-5)
        assert told["S"][3:] == pytest.approx([2 * (1 - one) ** 0.5 for one in p], abs=1e-5)
        assert told["w"] == pytest.approx([w[image].item() for w, _ in seen], abs=1e-5)
        assert told["a"] == pytest.approx([a[image].item() for _, a in seen], abs=1e-5)
        assert all(0 < one < 1 for one in p)
    assert len({tuple(told["p"]) for told in traces}) == 3


@torch.no_grad()
def test_an_image_that_starts_later_is_told_of_from_its_start_on(backbone):
    recipe, predict = method_of(backbone)
    z, t, rows = start(backbone), torch.tensor(200), torch.tensor([2, 0])
    predict(z[rows], t, 0.8, rows)
    predict(z, t, 0.9, torch.arange(3))
    late, told = recipe.trace()[1], [recipe.trace()[row] for row in (0, 2)]
    assert [len(late[name]) for name in "waSp"] == [1] * 4 and late["w"] == [3.0]
    for one in told:
        assert len(one["p"]) == 2 and one["w"][1] == pytest.approx(1.5 + 1.5 * one["p"][0], abs=1e-5)
    assert told[0]["w"][1] != told[1]["w"][1]


def test_without_pull_the_confidence_still_moves_the_strengths_and_costs_no_gradient(backbone, monkeypatch):
    cfg = {**CFG, "strength": 0.0}
    monkeypatch.setattr(torch.autograd, "grad", lambda *call, **more: pytest.fail("a gradient was asked for"))
    recipe, predict = method_of(backbone, cfg)
    sample(predict, start(backbone), backbone.native_scheduler(STEPS))
    told = recipe.trace()[0]
    assert told["S"] == [0.0] * STEPS and told["w"][-1] < 3.0 and told["p"][-1] is not None


@torch.no_grad()
def test_doubt_decides_how_hard_it_pulls(backbone):
    """S(1) = 0, S(0) = S, and falling in between."""
    step, pulls = step_of(backbone), []
    for bias in (-40.0, -1.0, 0.0, 1.0, 40.0):
        guide, told = aids_of(backbone).guide, []
        guide.net.get_classifier().bias += torch.tensor([bias, 0.0, 0.0])
        pull_of(backbone, guide=guide, target=[0, 0, 0], strength=1.5, told=told)(step)
        pulls.append(told[0][0])
    pulls = torch.stack(pulls)
    assert (pulls[:-1] > pulls[1:]).all()
    assert torch.allclose(pulls[0], torch.tensor(1.5)) and (pulls[-1] < 1e-6).all()


def test_confidence_is_kept_image_by_image():
    sure = Confidence(4, "decrease")
    sure.hear(torch.tensor([2, 0]), torch.tensor([0.25, 0.5], requires_grad=True))
    assert sure.factor.tolist() == [0.5, 1.0, 0.25, 1.0] and not sure.factor.requires_grad


def test_images_do_not_depend_on_their_batch(backbone):
    together = drawn(backbone)
    for row in range(3):
        agree(drawn(backbone, items=ITEMS[row : row + 1]), together[row : row + 1], 1e-4)


# What it draws along, and towards what


def test_a_contour_is_of_a_training_image_of_the_species(backbone):
    aids, sources = aids_of(backbone), {}
    for item in worklist(SPECIES, [4] * 3, "fine", 7):
        for classmate in (0.0, 1.0):
            cfg = {**CFG, "transform": {**dict.fromkeys(MOVES, 0.0), "classmate": classmate}}
            source = higfa.notes(item, cfg, aids)["source"]
            place = aids.train.identifier.index(source)
            assert aids.train.label[place] == item.label
            edge = higfa.recipe(backbone, [item], cfg, aids).outline.edge[0]
            still = higfa.outlines(aids.train.pixels[place][None], [0], cfg["transform"], aids.contour.edges)[0]
            assert np.array_equal(edge, still) and edge.any()
            sources.setdefault((item.species, classmate), []).append(source)
            turned = higfa.recipe(
                backbone, [item], {**cfg, "transform": {**MOVES, "classmate": classmate}}, aids
            ).outline
            expected = higfa.outlines(aids.train.pixels[place][None], [item.seed], MOVES, aids.contour.edges)[0]
            assert np.array_equal(turned.edge[0], expected)
    assert all(len(set(sources[name, 0.0][:3])) == 3 for name in SPECIES)  # all are used before one comes again
    assert all(a != b for name in SPECIES for a, b in zip(sources[name, 0.0], sources[name, 1.0], strict=True))


def test_the_guide_is_asked_for_the_species_by_name_and_for_a_wrong_one_as_a_control(backbone):
    aids = aids_of(backbone)
    other = replace(aids.guide, classes=[SPECIES[2], SPECIES[0], SPECIES[1]])
    aids = replace(aids, guide=other)
    own = higfa.recipe(backbone, ITEMS, CFG, aids).correction.target
    assert own.tolist() == [1, 2, 0]
    many = worklist(SPECIES, [20] * 3, "fine", 7)
    wrong = higfa.recipe(backbone, many, {**CFG, "guide_target": "wrong"}, aids).correction.target
    right = higfa.recipe(backbone, many, CFG, aids).correction.target
    assert not (wrong == right).any() and {(a, b) for a, b in zip(right.tolist(), wrong.tolist(), strict=True)} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


# Bad input


@pytest.mark.parametrize("lacking, said", [
    pytest.param("contour", r"Method fine needs a contour adapter.*diffusion\.contour\.pretrained", id="no adapter"),
    pytest.param("guide", r"Method fine needs a guiding classifier.*guidance\.guide", id="no guide"),
    pytest.param("train", r"Method fine needs real training images.*guidance\.methods", id="no images"),
])  # fmt: skip
def test_a_missing_aid_is_named_with_a_remedy(lacking, said, backbone):
    with pytest.raises(CannotDraw, match=said):
        higfa.recipe(backbone, ITEMS, CFG, aids_of(backbone, **{lacking: None}))


def test_a_species_without_training_image_or_unknown_to_the_guide_is_named(backbone):
    with pytest.raises(CannotDraw, match=r"fine.*Sitta europaea has no training image"):
        higfa.recipe(backbone, ITEMS, CFG, aids_of(backbone, count=2))
    aids = aids_of(backbone)
    aids = replace(aids, guide=replace(aids.guide, classes=[*SPECIES[:2], "Certhia brachydactyla"]))
    with pytest.raises(CannotDraw, match=r"Method fine guides towards Sitta europaea.*run again"):
        higfa.recipe(backbone, ITEMS, CFG, aids)


class Kink(torch.nn.Module):
    """Leaves a network's answers as they are, and makes the gradient of dark pictures NaN."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        nothing = torch.where(x.mean((1, 2, 3)) < 0, 0.0, 1.0).view(-1, 1, 1, 1) + 0 * x
        return self.net(x) + 0 * nothing.sqrt().sum((1, 2, 3))[:, None]


@torch.no_grad()
def test_a_gradient_that_is_not_finite_stops_with_method_image_species_and_remedy(backbone):
    step, guide = step_of(backbone), aids_of(backbone).guide
    said = r"Method fine: .*80%.* 1 image.*fine-1 \(Poecile palustris\).*`split`"
    broken = replace(step, prediction=step.prediction.index_fill(0, torch.tensor([1]), torch.nan))
    with pytest.raises(GradientNotFinite, match=said) as caught:
        pull_of(backbone)(broken)
    assert caught.value.images == ["fine-1"] and isinstance(caught.value, TaxaforgeError)

    dark = step.z.index_fill(0, torch.tensor([1]), -0.5).index_fill(0, torch.tensor([0, 2]), 0.5)
    for gradient in ("cheap", "full"):
        known = replace(guide, net=Kink(guide.net), mean=(0.5,) * 3)
        with pytest.raises(GradientNotFinite, match=said):
            pull_of(backbone, guide=known, gradient=gradient)(
                replace(step, z=dark, prediction=0 * dark, predict=lambda z: 0 * z)
            )

    guide.net.get_classifier().weight[0] = torch.inf
    for changes in ({}, {"gradient": "full"}, {"strength": 0.0}):
        with pytest.raises(GradientNotFinite, match="3 image"):
            pull_of(backbone, guide=guide, **changes)(step)
    assert torch.equal(pull_of(backbone, guide=guide)(replace(step, u=0.5)), step.prediction)  # not asked yet
