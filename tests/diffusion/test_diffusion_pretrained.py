"""A Stable Diffusion folder goes the same way: text, stages, reload, denoising."""

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

from taxaforge.diffusion import backbone as backbones
from taxaforge.diffusion import lora, texts
from taxaforge.diffusion.data import Latents
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.stage import prepare, train
from taxaforge.files import read_json, write_json

LEVELS = ["order", "genus", "species"]


def test_adapters_have_the_published_size_on_stable_diffusion_1():
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        lora.add(unet, rank=4, seed=0)
    assert sum(value.numel() for value in lora.parameters(unet).values()) == 797_184


def test_a_pipeline_is_encoded_trained_in_stages_reloaded_and_sampled(pipeline, tmp_path, cfg_of, pack_of, classes):
    write_json(tmp_path / "classes.json", classes)
    pack_of(16).save(tmp_path / "train.npy")
    where = {"pretrained": str(pipeline), "revision": "main"}
    table = tmp_path / "texts.safetensors"
    texts.encode(classes=tmp_path / "classes.json", levels=LEVELS, backbone="stable-diffusion", out=table, **where)
    lineages = Lineages.load(table)
    assert lineages.tokens.shape == (len(lineages.strings), 40, 16)
    cfg = cfg_of(backbone="stable-diffusion", size=16, steps=2, **where)
    init = None
    for stage in LEVELS[:2]:
        out = tmp_path / stage
        train(
            stage=stage,
            pack=tmp_path / "train.npy",
            texts=table,
            cfg=cfg,
            seed=0,
            init=init,
            out=out,
            state_dir=tmp_path / "state" / stage,
        )
        init = out
    backbone = backbones.load(init, texts=table)
    assert backbone.levels == LEVELS[:2] and not (init / "unet").exists()
    assert backbone.native == "epsilon" and backbone.latent_shape == (4, 8, 8)
    z = torch.randn(2, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        eps = backbone(z, 500, backbone.condition(torch.tensor([0, 2]), 1))
        assert eps.shape == z.shape and (eps - backbone(z, 500, backbone.null(2))).abs().max() > 0
    assert backbone.to_image(z).shape == (2, 16, 16, 3)
    data = pack_of(16)
    kept = Latents(backbone, data)
    once, again = (kept(torch.tensor([1, 2]), torch.tensor([False, True])) for _ in range(2))
    assert torch.equal(once, again) and len(kept.kept) == 2
    stock = StableDiffusionPipeline.from_pretrained(pipeline)
    stock.load_lora_weights(init / "lora")
    with torch.no_grad():
        tokens = backbone.condition(torch.tensor([0, 2]), 1)
        unit = torch.tensor(data.pixels[1:2]).permute(0, 3, 1, 2).float() / 127.5 - 1
        mode = stock.vae.encode(unit).latent_dist.mode() * stock.vae.config.scaling_factor
        assert (once[:1] - mode).abs().max() < 1e-5
        shown = stock.image_processor.postprocess(stock.vae.decode(z / stock.vae.config.scaling_factor).sample, "np")
        assert np.abs(backbone.to_image(z) / 255 - shown).max() <= 0.5 / 255 + 1e-4
        difference = stock.unet(z, 500, tokens).sample - backbone(z, 500, tokens)
    assert difference.abs().max() < 1e-5


def test_later_stages_of_a_pipeline_carry_the_adapters_on_unchanged(pipeline, tmp_path, cfg_of, lineages_of, pack_of):
    lineages = lineages_of(16)
    lineages.save(tmp_path / "texts.safetensors")
    pack_of(16).save(tmp_path / "train.npy")
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline), size=16, steps=2)
    init = None
    for stage in LEVELS:
        train(stage=stage, pack=tmp_path / "train.npy", texts=tmp_path / "texts.safetensors", cfg=cfg, seed=0,
              init=init, out=tmp_path / stage, state_dir=tmp_path / "state" / stage)  # fmt: skip
        assert read_json(tmp_path / stage / "manifest.json")["trained"] == LEVELS.index(stage) + 1
        init = tmp_path / stage
    first, last = (load_file(tmp_path / stage / "lora" / lora.FILE) for stage in (LEVELS[0], LEVELS[-1]))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)
    assert any(value.abs().max() > 0 for name, value in first.items() if "lora_B" in name)


def test_fresh_levels_of_a_pipeline_do_not_depend_on_the_stage_that_first_uses_them(pipeline, cfg_of, lineages_of):
    cfg = cfg_of(backbone="stable-diffusion", pretrained=str(pipeline), size=16)
    a, _ = prepare("order", lineages_of(16), cfg, 0, None)
    b, _ = prepare("order", lineages_of(16), cfg, 0, None)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_text_states_are_the_pipelines_own_alone_and_in_company(pipeline):
    strings = [
        f"order: {name}"
        for name in ("Odonata", "Coleoptera", "Lepidoptera", "Diptera", "None", "unknown", "a", "b", "c")
    ]
    tokens = texts.pipeline_tokens(strings, str(pipeline), "main")
    alone = torch.cat([texts.pipeline_tokens([text], str(pipeline), "main") for text in strings])
    assert (tokens - alone).abs().max() < 1e-5
    tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(pipeline / "text_encoder")
    ids = tokenizer(strings, padding="max_length", max_length=40, return_tensors="pt").input_ids
    with torch.no_grad():
        assert np.abs(encoder(ids).last_hidden_state.numpy() - tokens.numpy()).max() < 1e-5
