"""Pipelines of the Stable Diffusion family are read as the stock library reads them, and nothing else is."""

import json
import shutil
import socket

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from taxaforge.diffusion import lora, pretrained, texts
from taxaforge.diffusion.conditioning import level_module
from taxaforge.diffusion.lineages import BadTexts, Lineages
from taxaforge.diffusion.pretrained import BadGenerator
from taxaforge.files import read_json, sha256_of, write_json

LEVELS = ["order", "genus", "species"]
STRINGS = [
    "order: Odonata",
    "genus: Calopteryx",
    "species: Lucanus cervus",
    "species: None",
    "a" * 90,
    "order: unknown",
]


@pytest.fixture
def copied(tmp_path):
    """A copy of a folder that a test may damage."""
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_adapters_have_the_published_size_on_stable_diffusion_1():
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        lora.add(unet, rank=4, seed=0)
    assert sum(value.numel() for value in lora.parameters(unet).values()) == 797_184


def test_a_level_module_has_the_published_size_on_stable_diffusion_1():
    with torch.device("meta"):
        assert sum(value.numel() for value in level_module(768).parameters()) == 11_027_968


def test_the_tests_tokeniser_is_clips(tokenizer):
    ours, theirs = CLIPTokenizer.from_pretrained(tokenizer), SimpleTokenizer()
    for text in STRINGS[:4]:
        assert ours(text).input_ids == [theirs.sot_token_id, *theirs.encode(text), theirs.eot_token_id]


@pytest.mark.parametrize("which", ["pipeline", "pipeline_v"])
def test_text_of_one_encoder_is_what_the_stock_pipeline_reads(which, request):
    folder = request.getfixturevalue(which)
    tokens, pooled = pretrained.opened(str(folder)).text(STRINGS)
    stock = StableDiffusionPipeline.from_pretrained(folder)
    with torch.no_grad():
        wanted, _ = stock.encode_prompt(STRINGS, "cpu", 1, False)
    assert torch.equal(tokens, wanted) and pooled is None


def test_text_of_two_encoders_is_what_the_stock_pipeline_reads(pipeline_xl):
    tokens, pooled = pretrained.opened(str(pipeline_xl)).text(STRINGS)
    stock = StableDiffusionXLPipeline.from_pretrained(pipeline_xl)
    with torch.no_grad():
        wanted, _, sentences, _ = stock.encode_prompt(STRINGS, device="cpu", do_classifier_free_guidance=False)
    assert torch.equal(tokens, wanted) and torch.equal(pooled, sentences)
    assert tokens.shape == (6, 20, 40) and pooled.shape == (6, 12)


def test_a_tokeniser_of_vocabulary_and_merges_alone_reads_the_same(pipeline, tokenizer, copied):
    wanted, _ = pretrained.opened(str(pipeline)).text(STRINGS)
    folder = copied(pipeline)
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(tokenizer / file, folder / "tokenizer" / file)
    (folder / "tokenizer/tokenizer.json").unlink()
    assert torch.equal(pretrained.opened(str(folder)).text(STRINGS)[0], wanted)
    (folder / "tokenizer/merges.txt").unlink()
    with pytest.raises(BadGenerator, match=r"lacks tokenizer/merges.txt"):
        pretrained.opened(str(folder)).text(STRINGS)


def test_a_string_is_read_the_same_alone_and_in_company(any_pipeline, monkeypatch):
    pipeline = pretrained.opened(str(any_pipeline))
    together = pipeline.text(STRINGS)
    monkeypatch.setattr(pretrained, "BATCH", 1)
    for a, b in zip(together, pipeline.text(STRINGS), strict=True):
        assert (a is None and b is None) or (a - b).abs().max() < 1e-5


def test_texts_say_which_weights_read_them_and_come_back(any_pipeline, classes, tmp_path):
    write_json(tmp_path / "classes.json", classes)
    out = tmp_path / "texts.safetensors"
    where = {"backbone": "stable-diffusion", "pretrained": str(any_pipeline), "revision": "main"}
    texts.encode(classes=tmp_path / "classes.json", levels=LEVELS, out=out, **where)
    lineages, pipeline = Lineages.load(out), pretrained.opened(str(any_pipeline))
    tokens, pooled = pipeline.text(lineages.strings)
    assert torch.equal(lineages.tokens, tokens)
    assert lineages.pooled is None if pooled is None else torch.equal(lineages.pooled, pooled)
    assert lineages.to("cpu").source == lineages.source == read_json(out.with_suffix(".json"))["source"]
    assert lineages.source["revision"] == "main" and lineages.source["commit"] is None
    named = {f"{part}/{pretrained.STEMS.get(part, 'model')}.safetensors" for part in ("unet", "vae", *pipeline.texts)}
    assert set(lineages.source["weights"]) == named
    assert all(sha256_of(any_pipeline / file) == digest for file, digest in lineages.source["weights"].items())


def test_sentence_vectors_of_another_run_are_not_taken(lineages_of, tmp_path):
    plain = lineages_of(16)
    beside = Lineages(**{**vars(plain), "pooled": torch.zeros(2, 4)})
    beside.save(tmp_path / "texts.safetensors")
    with pytest.raises(BadTexts, match="do not belong together"):
        Lineages.load(tmp_path / "texts.safetensors")
    plain.save(tmp_path / "texts.safetensors")
    assert read_json(tmp_path / "texts.json")["source"] is None


def test_weights_are_those_of_the_stock_pipeline_in_single_precision(any_pipeline):
    kind = StableDiffusionXLPipeline if "xl" in any_pipeline.name else StableDiffusionPipeline
    unused = [part for part in read_json(any_pipeline / "model_index.json") if part.startswith(("text_", "token"))]
    stock, pipeline = kind.from_pretrained(any_pipeline, **dict.fromkeys(unused)), pretrained.opened(str(any_pipeline))
    for ours, theirs in ((pipeline.unet(), stock.unet), (pipeline.images(16).vae, stock.vae)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
        assert not any(value.requires_grad for value in ours.parameters()) and not ours.training
    assert torch.equal(pipeline.noise().alphas_cumprod, stock.scheduler.alphas_cumprod)


def test_half_precision_weights_are_widened(pipeline, copied):
    folder = copied(pipeline)
    for file in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        halves = {name: value.half() for name, value in load_file(folder / file).items()}
        save_file(halves, folder / file, metadata={"format": "pt"})
    change(folder / "text_encoder/config.json", dtype="float16")
    opened = pretrained.opened(str(folder))
    assert opened.unet().dtype == opened.text(STRINGS)[0].dtype == torch.float32


def test_the_prediction_type_is_the_pipelines_unless_the_user_knows_better(pipeline, pipeline_v):
    eps, v = pretrained.opened(str(pipeline)), pretrained.opened(str(pipeline_v))
    assert (eps.noise().config.prediction_type, v.noise().config.prediction_type) == ("epsilon", "v_prediction")
    assert eps.noise("v_prediction").config.prediction_type == "v_prediction"
    for noise in (eps.noise(), v.noise("epsilon")):
        assert abs(noise.alphas_cumprod[500] - 0.2763) < 1e-4 and not noise.config.clip_sample


def test_a_local_pipeline_is_read_without_a_network(any_pipeline, no_network):
    pipeline = pretrained.opened(str(any_pipeline))
    pipeline.text(STRINGS), pipeline.unet(), pipeline.images(16), pipeline.noise(), pipeline.facts()


def test_a_cached_hub_pipeline_is_read_offline_and_its_commit_is_known(pipeline, tmp_path, monkeypatch, no_network):
    commit, repository = "0123456789" * 4, tmp_path / "models--owner--name"
    shutil.copytree(pipeline, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for revision in ("main", commit):
        found = pretrained.opened("owner/name", revision)
        assert found.facts()["commit"] == commit and found.facts()["revision"] == revision
    found.text(STRINGS), found.unet()
    with pytest.raises(BadGenerator, match=r"'owner/other' at revision 'main' is no folder here.*HF_HOME"):
        pretrained.opened("owner/other")
    with pytest.raises(BadGenerator, match="'owner/name' at revision 'v2'"):
        pretrained.opened("owner/name", "v2")


@pytest.mark.parametrize("name", ["", "/no/such/folder", "./models/sd", "a/b/c"])
def test_a_path_that_is_not_there_is_named(name, no_network):
    with pytest.raises(BadGenerator, match=r"no folder .*Correct diffusion.pretrained"):
        pretrained.opened(name)


def test_a_single_checkpoint_file_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(BadGenerator, match="from_single_file"):
        pretrained.opened(str(tmp_path / "model.ckpt"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickled_weights_are_refused_with_the_way_out(pipeline, copied, part):
    folder = copied(pipeline)
    (weights,) = (folder / part).glob("*.safetensors")
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    opened = pretrained.opened(str(folder))
    read = {"unet": opened.unet, "vae": lambda: opened.images(16), "text_encoder": lambda: opened.text(STRINGS)}[part]
    for attempt in (read, opened.facts):
        with pytest.raises(BadGenerator, match=rf"{part} of .* is only there as .*\.bin, a pickle.*save_pretrained"):
            attempt()


def test_weights_in_several_files_are_all_found_and_named(pipeline, copied):
    folder = copied(pipeline)
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel.from_pretrained(pipeline / "unet").save_pretrained(folder / "unet", max_shard_size="20KB")
    opened = pretrained.opened(str(folder))
    whole, shards = pretrained.opened(str(pipeline)).unet(), opened.weights("unet")
    assert len(shards) > 1
    assert all(torch.equal(a, b) for a, b in zip(opened.unet().parameters(), whole.parameters(), strict=True))
    shards[1].unlink()
    with pytest.raises(BadGenerator, match=f"lacks unet/{shards[1].name}"):
        opened.unet()


@pytest.mark.parametrize(
    "lost", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer", "vae/config.json", "text_encoder"]
)
def test_a_missing_component_is_named(pipeline, copied, lost):
    folder = copied(pipeline)
    shutil.rmtree(folder / lost) if (folder / lost).is_dir() else (folder / lost).unlink()
    with pytest.raises(BadGenerator, match=f"lacks {lost}.*copy is incomplete"):
        opened = pretrained.opened(str(folder))
        opened.text(STRINGS), opened.images(16)


def test_weights_that_lack_a_parameter_are_refused_instead_of_guessed(pipeline, copied):
    file = copied(pipeline) / "unet/diffusion_pytorch_model.safetensors"
    values = load_file(file)
    values.pop("conv_out.bias")
    save_file(values, file, metadata={"format": "pt"})
    with pytest.raises(BadGenerator, match=r"unet of .* lack 1 parameters, conv_out.bias"):
        pretrained.opened(str(file.parents[1])).unet()


def test_a_damaged_file_is_named(pipeline, copied):
    file = copied(pipeline) / "vae/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BadGenerator, match=r"vae of .* cannot be read"):
        pretrained.opened(str(file.parents[1])).images(16)


@pytest.mark.parametrize(
    "values, reason",
    [
        pytest.param({"_class_name": "StableDiffusion3Pipeline", "unet": None, "transformer": ["diffusers", "X"]},
                     "StableDiffusion3Pipeline with nothing as unet.*flow-matching", id="sd3"),
        pytest.param({"text_encoder": ["transformers", "T5EncoderModel"]}, "T5EncoderModel as text_encoder", id="t5"),
        pytest.param({"text_encoder": [None, None], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]},
                     "nothing as text_encoder", id="sdxl refiner"),
    ],
)  # fmt: skip
def test_other_kinds_of_pipelines_are_refused(pipeline, copied, values, reason):
    folder = copied(pipeline)
    change(folder / "model_index.json", **values)
    with pytest.raises(BadGenerator, match=reason):
        pretrained.opened(str(folder))


@pytest.mark.parametrize(
    "file, values, reason",
    [
        ("unet/config.json", {"in_channels": 9}, "inpainting"),
        ("unet/config.json", {"num_class_embeds": 1000}, "class or image embeddings"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "text_time beside the tokens"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "predicts 'sample'"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
    ],
)
def test_denoisers_that_want_more_than_text_are_refused(pipeline, copied, file, values, reason):
    folder = copied(pipeline)
    change(folder / file, **values)
    with pytest.raises(BadGenerator, match=reason):
        pretrained.opened(str(folder))


def test_a_schedule_without_betas_is_refused(pipeline, copied):
    folder = copied(pipeline)
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(BadGenerator, match=r"\(FlowMatchEulerDiscreteScheduler\) has no betas"):
        pretrained.opened(str(folder))


def test_a_size_that_the_vae_cannot_make_is_refused(pipeline):
    with pytest.raises(BadGenerator, match=r"15 px .* blocks of 2 px"):
        pretrained.opened(str(pipeline)).images(15)


@pytest.mark.parametrize(
    "values, mean, gain",
    [
        ({}, [0] * 4, [0.18215] * 4),
        ({"shift_factor": 0.5, "scaling_factor": 2.0}, [0.5] * 4, [2] * 4),
        ({"latents_mean": [1, 2, 3, 4], "latents_std": [1, 2, 4, 8], "scaling_factor": 0.5}, [1, 2, 3, 4],
         [0.5, 0.25, 0.125, 0.0625]),
    ],
)  # fmt: skip
def test_latents_are_scaled_as_the_vaes_config_says(pipeline, copied, values, mean, gain):
    folder = copied(pipeline)
    change(folder / "vae/config.json", **values)
    images = pretrained.opened(str(folder)).images(16)
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        mode, z = images.vae.encode(picture).latent_dist.mode(), images.encode(picture)
        for channel in range(4):
            assert torch.allclose(z[0, channel], (mode[0, channel] - mean[channel]) * gain[channel], rtol=1e-6)
        assert np.allclose(images.decode(z), images.vae.decode(mode).sample, atol=1e-5)


def test_the_vae_computes_in_its_own_precision_whatever_the_denoiser_does(pipeline):
    images = pretrained.opened(str(pipeline)).images(16)
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        z = images.encode(picture)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(images.encode(picture), z)
            shorter = images.decode(z)
        assert torch.equal(shorter, images.decode(z))
