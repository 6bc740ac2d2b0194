"""A fresh adapter changes nothing; a trained one is what the stock ControlNet pipeline computes, image by image."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
)
from safetensors.torch import load_file, save_file

from taxaforge.diffusion import contour, pretrained
from taxaforge.diffusion.backbone import Backbone, load
from taxaforge.diffusion.codec import GAIN, PixelCodec, to_unit
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.contour import BadContour, Contour
from taxaforge.diffusion.sampler import sample

KINDS = {"small": 16, "pipeline": 16, "pipeline_v": 24, "pipeline_xl": 40}
"""Width of the tokens of each backbone."""


@pytest.fixture(scope="module")
def backbones(request, stages, files, lineages_of):
    """Backbones by kind, made when they are asked for; 16 px, the small one 8 px."""

    def pipeline(kind: str) -> Backbone:
        opened, lineages = pretrained.opened(str(request.getfixturevalue(kind))), lineages_of(KINDS[kind])
        if kind == "pipeline_xl":
            sentences = torch.randn(len(lineages.strings), 12, generator=torch.Generator().manual_seed(2))
            lineages = replace(lineages, pooled=sentences)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            conditioning = Conditioning(lineages.levels, lineages.width)
        backbone = Backbone(opened.unet(), conditioning, lineages, opened.noise(), opened.images(16))
        return backbone.eval().requires_grad_(False)

    made = {}

    def of(kind: str) -> Backbone:
        if kind not in made:
            made[kind] = load(stages["species"], texts=files["texts"]) if kind == "small" else pipeline(kind)
        return made[kind]

    return of


@pytest.fixture(params=KINDS, ids=["small", "sd 1.x", "sd 2.x", "sdxl"])
def backbone(request, backbones) -> Backbone:
    return backbones(request.param)


def fresh(backbone: Backbone) -> Contour:
    about = contour.description(backbone, edges={"low": 60, "high": 150, "blur": 0.7})
    return Contour(contour.make(backbone, 1), backbone, about).eval().requires_grad_(False)


def stirred(backbone: Backbone) -> Contour:
    """As if trained: nothing in it is zero."""
    made, generator = fresh(backbone), torch.Generator().manual_seed(5)
    for value in made.net.parameters():
        value += 0.1 * torch.randn(value.shape, generator=generator)
    return made


def inputs(backbone: Backbone, count: int = 3) -> tuple:
    """z, t, tokens, contours."""
    generator, side = torch.Generator().manual_seed(0), backbone.images.size
    z = torch.randn(count, *backbone.latent_shape, generator=generator)
    edge = (torch.rand(count, side, side, generator=generator) < 0.3) * torch.tensor(255, dtype=torch.uint8)
    return z, torch.tensor([5, 500, 999])[:count], backbone.condition(torch.tensor([0, 2, -1])[:count], 1), edge


def difference(one: dict, other: dict) -> float:
    assert one.keys() == other.keys() == {"down_block_additional_residuals", "mid_block_additional_residual"}
    pairs = list(zip(one["down_block_additional_residuals"], other["down_block_additional_residuals"], strict=True))
    pairs.append((one["mid_block_additional_residual"], other["mid_block_additional_residual"]))
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1)).item() for a, b in pairs)


@torch.no_grad()
@pytest.mark.parametrize("scale", [0.0, 1.0, torch.tensor([0.3, 2.0, 1.0])], ids=["none", "full", "mixed"])
def test_a_fresh_adapter_leaves_every_prediction_bit_for_bit(backbone, scale):
    z, t, tokens, edge = inputs(backbone)
    added = fresh(backbone).residuals(z, t, tokens, edge, scale)
    assert torch.equal(backbone.predict(z, t, tokens, **added), backbone.predict(z, t, tokens))


@torch.no_grad()
def test_scale_0_silences_a_trained_adapter_bit_for_bit_and_scale_1_does_not(backbone):
    z, t, tokens, edge = inputs(backbone)
    plain, trained = backbone.predict(z, t, tokens), stirred(backbone)
    silent, loud = (backbone.predict(z, t, tokens, **trained.residuals(z, t, tokens, edge, a)) for a in (0.0, 1.0))
    assert torch.equal(silent, plain)
    assert (loud - plain).flatten(1).abs().amax(1).min() > 1e-3


@torch.no_grad()
def test_the_copy_sees_what_the_denoiser_sees(backbone):
    """Also the number of heads that pool the text, which diffusers' own `from_unet` forgets."""
    z, t, tokens, edge = inputs(backbone)
    made, seen = fresh(backbone), []
    hooks = [
        part.mid_block.register_forward_hook(lambda *call: seen.append(call[-1])) for part in (made.net, backbone.unet)
    ]
    try:
        made.residuals(z, t, tokens, edge, 1.0)
        backbone.predict(z, t, tokens)
    finally:
        for hook in hooks:
            hook.remove()
    assert torch.equal(*seen)
    shared = [name for name in made.net.config if name in backbone.unet.config and not name.startswith("_")]
    assert len(shared) > 20 and all(made.net.config[name] == backbone.unet.config[name] for name in shared)


def test_a_fresh_adapter_is_the_seeds_and_leaves_the_global_random_state(backbones):
    backbone, before = backbones("small"), torch.get_rng_state()
    nets = [contour.make(backbone, seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    same = [all(torch.equal(net[name], nets[0][name]) for name in net) for net in nets]
    assert same == [True, True, False]


def test_a_denoiser_with_parts_that_a_controlnet_lacks_is_refused(backbones):
    backbone = backbones("pipeline")
    kept = backbone.unet.config
    try:
        backbone.unet._internal_dict = type(kept)({**kept, "resnet_skip_time_act": True})
        with pytest.raises(BadContour, match="nothing for its resnet_skip_time_act"):
            contour.make(backbone, 0)
    finally:
        backbone.unet._internal_dict = kept


@torch.no_grad()
def test_each_image_has_its_own_strength(backbone):
    trained, (z, t, tokens, edge) = stirred(backbone), inputs(backbone)
    strengths = torch.tensor([0.25, 0.0, 1.5])
    together = trained.residuals(z, t, tokens, edge, strengths)
    text, added = backbone.split(tokens)
    for i, strength in enumerate(strengths.tolist()):
        one = slice(i, i + 1)
        beside = {name: value[one] for name, value in added.items()} if added else None
        down, middle = trained.net(
            z[one], t[one], text[one], trained.condition(edge[one]), conditioning_scale=strength,
            added_cond_kwargs=beside, return_dict=False,
        )  # fmt: skip
        alone = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        mine = {
            "down_block_additional_residuals": [part[one] for part in together["down_block_additional_residuals"]],
            "mid_block_additional_residual": together["mid_block_additional_residual"][one],
        }
        assert difference(mine, alone) < 2e-5


@torch.no_grad()
@pytest.mark.parametrize("kind", ["pipeline", "pipeline_v", "pipeline_xl"], ids=["sd 1.x", "sd 2.x", "sdxl"])
def test_drawing_along_a_contour_is_the_stock_controlnet_pipeline(kind, backbones, request):
    """methods.md G1, and that the adapter's folder is one that the stock pipeline takes."""
    backbone, strength, weight = backbones(kind), 0.75, 4.0
    trained, (noise, _, fine, edge) = stirred(backbone), inputs(backbone, 2)
    null = backbone.null(2)

    def guided(z, t, u, rows):
        both = torch.cat([z, z]), t.expand(2 * len(z)), torch.cat([fine, null])
        named, plain = backbone.predict(*both, **trained.residuals(*both, torch.cat([edge, edge]), strength)).chunk(2)
        return plain + weight * (named - plain)

    ours = sample(guided, noise, backbone.native_scheduler(5))
    xl = kind == "pipeline_xl"
    stock = (StableDiffusionXLControlNetPipeline if xl else StableDiffusionControlNetPipeline)(
        vae=backbone.images.vae, unet=backbone.unet, controlnet=trained.net, text_encoder=None, tokenizer=None,
        scheduler=DDIMScheduler.from_config(backbone.schedule.config),
        **({"text_encoder_2": None, "tokenizer_2": None, "add_watermarker": False} if xl else {}),
        **({} if xl else {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}),
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    (text, added), (weak, beside) = backbone.split(fine), backbone.split(null)
    more = {}
    if xl:
        more = {"pooled_prompt_embeds": added["text_embeds"], "negative_pooled_prompt_embeds": beside["text_embeds"]}
    picture = (edge.float() / 255)[:, None].expand(-1, 3, -1, -1)
    theirs = stock(
        image=picture, prompt_embeds=text, negative_prompt_embeds=weak, latents=noise.clone(), num_inference_steps=5,
        guidance_scale=weight, controlnet_conditioning_scale=strength, output_type="latent", **more,
    ).images  # fmt: skip
    largest = max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max() <= 2e-5 * largest
    strength = 0.0
    assert (sample(guided, noise, backbone.native_scheduler(5)) - theirs).abs().max() > 1e-3 * largest


def test_the_small_backbone_stacks_contours_as_it_stacks_pixels(backbones):
    backbone = backbones("small")
    *_, edge = inputs(backbone)
    pixels = edge[..., None].expand(-1, -1, -1, 3).numpy()
    codec = PixelCodec(8, backbone.images.patch)
    red = (codec.encode(to_unit(pixels)) / GAIN + 1)[:, : backbone.images.patch**2] / 2
    assert torch.allclose(fresh(backbone).condition(edge), red)


def test_a_contour_reaches_the_latent_grid_with_its_grey_values(backbone):
    *_, edge = inputs(backbone)
    made, grey = fresh(backbone), edge // 2
    seen = made.net.controlnet_cond_embedding(made.condition(grey))
    assert seen.shape[2:] == backbone.latent_shape[1:]
    assert made.condition(grey).max().item() == pytest.approx(127 / 255)


def test_a_contour_of_another_size_is_refused(backbones):
    with pytest.raises(BadContour, match=r"contour of \(4, 4\) px does not fit pictures of 8 px"):
        fresh(backbones("small")).condition(torch.zeros(1, 4, 4, dtype=torch.uint8))


@torch.no_grad()
def test_a_saved_adapter_comes_back_and_diffusers_reads_it(backbone, tmp_path):
    trained, (z, t, tokens, edge) = stirred(backbone), inputs(backbone)
    trained.save(tmp_path / "contour")
    again = Contour.load(tmp_path / "contour", backbone)
    one, other = (adapter.residuals(z, t, tokens, edge, 1.0) for adapter in (again, trained))
    assert difference(one, other) == 0
    assert again.edges == {"low": 60, "high": 150, "blur": 0.7}
    assert not any(value.requires_grad for value in again.parameters()) and not again.training
    theirs = ControlNetModel.from_pretrained(tmp_path / "contour").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in trained.net.state_dict().items())


@torch.no_grad()
def test_a_ready_made_controlnet_comes_without_settings_of_edges(backbones, tmp_path):
    backbone = backbones("pipeline")
    trained = stirred(backbone)
    trained.net.save_pretrained(tmp_path / "net")
    z, t, tokens, edge = inputs(backbone)
    again = Contour.load(str(tmp_path / "net"), backbone)
    assert again.edges is None
    assert difference(again.residuals(z, t, tokens, edge, 1.0), trained.residuals(z, t, tokens, edge, 1.0)) == 0


@pytest.mark.parametrize("of, onto, said", [
    pytest.param("pipeline", "pipeline_v", "cross_attention_dim is 16, the generator's 24", id="another text width"),
    pytest.param("pipeline_v", "pipeline_xl", "cross_attention_dim is 24", id="SD 2.x on SDXL"),
    pytest.param("small", "pipeline", "in_channels is 12, the generator's 4", id="small on a pipeline"),
    pytest.param("pipeline", "small", "in_channels is 4, the generator's 12", id="a pipeline's on small"),
])  # fmt: skip
def test_a_controlnet_of_another_family_is_refused(of, onto, said, backbones, tmp_path):
    fresh(backbones(of)).net.save_pretrained(tmp_path)
    with pytest.raises(BadContour, match=said):
        Contour.load(tmp_path, backbones(onto))


@pytest.mark.parametrize("key, value, said", [
    pytest.param("denoiser", "0" * 64, "its denoiser is", id="the same shapes, other weights"),
    pytest.param("size", 64, "its size is 64, the generator's 8", id="another picture size"),
])  # fmt: skip
def test_an_adapter_of_another_run_is_refused(key, value, said, backbones, tmp_path):
    made = fresh(backbones("small"))
    made.about |= {key: value}
    made.save(tmp_path)
    with pytest.raises(BadContour, match=said):
        Contour.load(tmp_path, backbones("small"))


def test_a_denoiser_is_known_by_its_own_weights_and_not_by_its_adapters(backbones, stages, files):
    known = contour.fingerprint(backbones("small"))
    assert known == contour.fingerprint(load(stages["base"], texts=files["texts"])), "the same but for LoRA"
    other = load(stages["base"], texts=files["texts"])
    other.unet.conv_out.weight.data[0, 0, 0, 0] += 1e-3
    assert contour.fingerprint(other) != known


def test_a_stride_that_does_not_meet_the_latents_is_refused(backbones, tmp_path):
    backbone = backbones("pipeline")
    ControlNetModel.from_unet(backbone.unet).save_pretrained(tmp_path)  # made for a VAE that shrinks eightfold
    with pytest.raises(BadContour, match="its stride is 8, the generator's 2"):
        Contour.load(tmp_path, backbone)


def test_damaged_incomplete_and_pickled_adapters_are_refused_with_a_sentence(backbones, tmp_path):
    backbone = backbones("small")
    fresh(backbone).save(tmp_path / "whole")

    def broken(name: str):
        return shutil.copytree(tmp_path / "whole", tmp_path / name)

    (broken("no weights") / contour.WEIGHTS).unlink()
    (broken("no config") / "config.json").unlink()
    with (broken("cut off") / contour.WEIGHTS).open("r+b") as file:
        file.truncate(1000)
    pickled = broken("pickled")
    torch.save(load_file(pickled / contour.WEIGHTS), pickled / "diffusion_pytorch_model.bin")
    (pickled / contour.WEIGHTS).unlink()
    for name in ("no weights", "no config", "cut off", "pickled", "nowhere"):
        with pytest.raises(BadContour, match="No contour adapter could be read") as caught:
            Contour.load(tmp_path / name, backbone)
        assert "diffusion.contour.pretrained" in str(caught.value) and "\n" not in str(caught.value)
    lacking = broken("lacking")
    values = load_file(lacking / contour.WEIGHTS)
    del values["controlnet_mid_block.weight"]
    save_file(values, lacking / contour.WEIGHTS)
    with pytest.raises(BadContour, match="not a ControlNet as diffusers knows it"):
        Contour.load(lacking, backbone)
    other = broken("of other shapes")
    values["controlnet_mid_block.weight"] = torch.from_numpy(np.zeros((3, 3, 1, 1), np.float32))
    save_file(values, other / contour.WEIGHTS)
    with pytest.raises(BadContour):
        Contour.load(other, backbone)
