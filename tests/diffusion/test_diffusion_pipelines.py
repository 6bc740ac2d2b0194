"""A pipeline folder goes the whole way: text, latents, stages, reload; and the stock pipelines draw the same with it."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion import latents, lora, pretrained, texts
from taxaforge.diffusion.conditioning import Conditioning
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.pretrained import BadGenerator
from taxaforge.diffusion.sampler import sample
from taxaforge.diffusion.stage import prepare, train
from taxaforge.files import read_json, write_json
from taxaforge.guidance.terms import conditional, contrast, guided

LEVELS = ["order", "genus", "species"]
KINDS = {"pipeline": (16, 0, "epsilon"), "pipeline_v": (24, 0, "v_prediction"), "pipeline_xl": (40, 12, "epsilon")}
"""Width of the tokens, of the sentence vectors, and what the network says."""
LABEL = torch.tensor([0, 2])


@dataclass
class Trained:
    """A pipeline with the stages that were trained on it, and what they were trained from."""

    kind: str
    source: Path
    texts: Path
    stages: dict[str, Path]

    def open(self, stage: str) -> backbones.Backbone:
        return backbones.load(self.stages[stage], texts=self.texts)

    def stock(self, stage: str | None = None):
        """The stock pipeline with a stage's adapters, under the schedule that we sample with; it reads no text."""
        kind = StableDiffusionXLPipeline if self.kind == "pipeline_xl" else StableDiffusionPipeline
        unused = [part for part in read_json(self.source / "model_index.json") if part.startswith(("text_", "token"))]
        pipeline = kind.from_pretrained(self.source, **dict.fromkeys(unused))
        pipeline.scheduler = DDIMScheduler.from_config(self.open("order").schedule.config)
        pipeline.set_progress_bar_config(disable=True)
        if stage:
            pipeline.load_lora_weights(self.stages[stage] / "lora")
        return pipeline


@pytest.fixture(scope="module", params=KINDS, ids=["sd 1.x", "sd 2.x", "sdxl"])
def trained(request, cfg_of, pack_of, classes, tmp_path_factory) -> Trained:
    source, folder = request.getfixturevalue(request.param), tmp_path_factory.mktemp(request.param)
    write_json(folder / "classes.json", classes)
    pack_of(16).save(folder / "train.npy")
    where = {"pretrained": str(source), "revision": "main"}
    files = {"pack": folder / "train.npy", "texts": folder / "texts.safetensors", "latents": folder / "latents.npy"}
    texts.encode(
        classes=folder / "classes.json", levels=LEVELS, backbone="stable-diffusion", out=files["texts"], **where
    )
    latents.encode(pack=files["pack"], size=16, flip=True, out=files["latents"], **where)
    watch = {"samples_every": 3, "validate_every": 0, "validation_images": 8, "patience": 0}
    cfg = cfg_of(backbone="stable-diffusion", size=16, steps=3, watch=watch, **where)
    stages, init = {}, None
    for stage in LEVELS[:2]:
        stages[stage] = folder / stage
        train(stage=stage, **files, cfg=cfg, seed=0, init=init, out=folder / stage, state_dir=folder / "state" / stage)
        init = stages[stage]
    return Trained(request.param, source, files["texts"], stages)


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_stage_leaves_adapters_modules_and_a_manifest_but_no_copy_of_the_denoiser(trained):
    width, pooled, native = KINDS[trained.kind]
    for count, stage in enumerate(LEVELS[:2], 1):
        folder = trained.stages[stage]
        manifest = read_json(folder / "manifest.json")
        wanted = {"trained": count, "width": width, "pooled": pooled, "prediction": native, "own_unet": False}
        assert wanted.items() <= manifest.items() and manifest["lora_rank"] == 2
        assert not (folder / "unet").exists() and list((folder / "samples").glob("*.png"))
        assert json.loads((folder / "history.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_level_modules_are_safetensors_that_the_manifest_says_how_to_build(trained):
    folder = trained.stages["genus"]
    manifest = read_json(folder / "manifest.json")
    modules = Conditioning(manifest["levels"][: manifest["trained"]], manifest["width"], manifest["zero_gate"])
    modules.load_state_dict(load_file(folder / "levels.safetensors"))
    backbone, lineages = trained.open("genus"), Lineages.load(trained.texts)
    summed = modules.eval()(lineages.tokens, lineages.index[LABEL], torch.tensor([1, 1]))
    text, _ = backbone.split(backbone.condition(LABEL, 1))
    assert (summed - text).abs().max() < 1e-5


def test_later_stages_carry_the_adapters_on_unchanged(trained):
    first, last = (load_file(trained.stages[stage] / "lora" / lora.FILE) for stage in ("order", "genus"))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)
    assert any(value.abs().max() > 0 for name, value in first.items() if "lora_B" in name)


@torch.no_grad()
def test_folded_adapters_are_what_the_stock_pipeline_loads(trained, noise):
    backbone, stock = trained.open("genus"), trained.stock("genus")
    text, added = backbone.split(backbone.condition(LABEL, 1))
    plain, theirs = (
        unet(noise, 500, text, added_cond_kwargs=added).sample for unet in (trained.stock().unet, stock.unet)
    )
    ours = backbone.predict(noise, torch.tensor([500, 500]), backbone.condition(LABEL, 1))
    assert (ours - theirs).abs().max() < 1e-5 < (plain - theirs).abs().max()


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["noise", "native"])
def test_the_stock_pipeline_draws_what_our_sampler_draws(trained, noise, prediction):
    backbone, stock = trained.open("genus"), trained.stock("genus")
    fine, coarse = backbone.condition(LABEL, 1), backbone.condition(LABEL, 0)
    term = contrast(fine, coarse, torch.full((2,), 4.0))
    if prediction == "noise":
        ours = sample(guided(backbone, term), noise, backbone.scheduler(5))
    else:
        ours = sample(guided(backbone.predict, term), noise, backbone.native_scheduler(5))
    (text, added), (weak, beside) = backbone.split(fine), backbone.split(coarse)
    more = {}
    if added:
        more = {"pooled_prompt_embeds": added["text_embeds"], "negative_pooled_prompt_embeds": beside["text_embeds"]}
    drawn = {"num_inference_steps": 5, "guidance_scale": 4.0, "height": 16, "width": 16, "latents": noise.clone()}
    theirs = stock(prompt_embeds=text, negative_prompt_embeds=weak, output_type="latent", **drawn, **more).images
    largest = max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max() <= 2e-5 * largest
    alone = sample(guided(backbone, conditional(fine)), noise, backbone.scheduler(5))
    assert (alone - theirs).abs().max() > 1e-3 * largest


@torch.no_grad()
def test_pictures_are_those_of_the_stock_vae_however_many_are_decoded(trained, noise):
    backbone, stock = trained.open("order"), trained.stock()
    shown = stock.image_processor.postprocess(stock.vae.decode(noise / stock.vae.config.scaling_factor).sample, "np")
    pictures = backbone.to_image(noise)
    assert pictures.shape == (2, 16, 16, 3) and np.abs(pictures / 255 - shown).max() <= 0.5 / 255 + 1e-4
    assert np.array_equal(pictures[1:], backbone.to_image(noise[1:]))


def test_the_null_condition_differs_from_any_other_and_is_the_same_for_all(trained):
    backbone = trained.open("genus")
    null, fine = backbone.null(2), backbone.condition(LABEL, 1)
    assert torch.equal(null[0], null[1]) and null.shape == fine.shape
    assert (null - fine).abs().amax((1, 2)).min() > 0


def test_part_of_a_batch_is_conditioned_as_in_the_whole(trained):
    backbone = trained.open("genus")
    label, upto, mine = torch.tensor([0, 1, -1, 2]), torch.tensor([1, 0, 1, 1]), torch.tensor([3, 1])
    dropped = torch.tensor([[False, False, False]] * 3 + [[False, True, False]])
    whole = backbone.tokens(label, upto, dropped=dropped)
    assert torch.equal(backbone.tokens(label, upto, mine, dropped), whole[mine])
    kept = backbone.tokens(label, upto)
    assert torch.equal(whole[:3], kept[:3]) and (whole[3] - kept[3]).abs().max() > 0


def test_a_stage_is_reloaded_without_a_network(trained, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    assert trained.open("genus").levels == LEVELS[:2]


def test_sentence_vectors_follow_the_level_that_a_condition_stops_at(lineages_of, pipeline_xl, cfg_of):
    tokens, pooled = pretrained.opened(str(pipeline_xl)).text(lineages_of(40).strings)
    lineages = Lineages(**{**vars(lineages_of(40)), "tokens": tokens, "pooled": pooled})
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline_xl), size=16)
    backbone, _ = prepare("order", lineages, cfg, 0, None)
    for label, upto, string in [(0, 0, "order: Odonata"), (1, 2, "species: Calopteryx virgo"), (2, 1, "genus: unknown"),
                                (-1, 1, "genus: None")]:  # fmt: skip
        text, added = backbone.split(backbone.tokens(torch.tensor([label]), torch.tensor([upto])))
        assert torch.equal(added["text_embeds"][0], pooled[lineages.strings.index(string)])
        assert added["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] and text.shape == (1, 20, 40)


def test_residuals_of_a_contour_reach_the_denoiser(lineages_of, pipeline, cfg_of, noise):
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline), size=16)
    backbone, _ = prepare("order", lineages_of(16), cfg, 0, None)
    tokens, t = lineages_of(16).tokens[:2], torch.tensor([10, 900])
    middle = torch.ones(2, 16, 4, 4)
    down = [torch.ones(2, channels, side, side) for channels, side in ((8, 8), (8, 8), (8, 4), (16, 4))]
    residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    with torch.no_grad():
        plain, bent = backbone.predict(noise, t, tokens), backbone.predict(noise, t, tokens, **residuals)
        assert torch.equal(bent, backbone.unet(noise, t, tokens, **residuals).sample) and not torch.equal(bent, plain)


def test_fresh_levels_of_a_pipeline_do_not_depend_on_the_stage_that_first_uses_them(pipeline, cfg_of, lineages_of):
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline), size=16)
    a, _ = prepare("order", lineages_of(16), cfg, 0, None)
    b, _ = prepare("order", lineages_of(16), cfg, 0, None)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_wholly_trained_denoiser_is_saved_with_its_new_prediction_type_and_reloaded(
    pipeline, tmp_path, cfg_of, lineages_of, pack_of, noise
):
    lineages_of(16).save(tmp_path / "texts.safetensors")
    pack_of(16).save(tmp_path / "train.npy")
    changes = {"variant": "joint", "trainable": "full", "prediction": "v_prediction"}
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline), size=16, steps=2, **changes)
    files = {"pack": tmp_path / "train.npy", "texts": tmp_path / "texts.safetensors"}
    train(stage="joint", **files, cfg=cfg, seed=0, out=tmp_path / "joint", state_dir=tmp_path / "state")
    backbone = backbones.load(tmp_path / "joint", texts=files["texts"])
    assert backbone.native == "v_prediction" and backbone.levels == LEVELS
    theirs = UNet2DConditionModel.from_pretrained(tmp_path / "joint" / "unet", use_safetensors=True)
    tokens = backbone.condition(LABEL, 2)
    with torch.no_grad():
        said = backbone.predict(noise, torch.tensor([7, 7]), tokens)
        assert torch.equal(said, theirs(noise, 7, tokens).sample)
        assert not torch.equal(said, pretrained.opened(str(pipeline)).unet()(noise, 7, tokens).sample)
    (tmp_path / "joint/unet/diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(BadGenerator, match=r"unet cannot be read .*Delete the stage"):
        backbones.load(tmp_path / "joint", texts=files["texts"])


def test_texts_of_another_pipeline_are_refused(trained, lineages_of, tmp_path):
    lineages_of(16).save(tmp_path / "texts.safetensors")
    if trained.kind == "pipeline":
        tokens = lineages_of(16)
        Lineages(**{**vars(tokens), "pooled": torch.zeros(len(tokens.strings), 4)}).save(tmp_path / "texts.safetensors")
    with pytest.raises(BadGenerator, match="different runs"):
        backbones.load(trained.stages["order"], texts=tmp_path / "texts.safetensors")
