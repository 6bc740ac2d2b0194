"""Prompts of real images and the scales they get (acceptance S1, S5)."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from taxaforge.diffusion import texts
from taxaforge.diffusion.lineages import Lineages
from taxaforge.diffusion.pretrained import Pipeline
from taxaforge.files import read_json, write_json
from taxaforge.guidance import wording
from taxaforge.guidance.prompts import Prompts
from taxaforge.guidance.rating import BadCaptions, most_similar, rate
from taxaforge.packs import Pack
from taxaforge.semantics.train import train as train_semantics

LEVELS = ["family", "species"]
CLASSES = [
    {"family": "Paridae", "species": "Parus major"},
    {"family": "Paridae", "species": "Poecile palustris"},
    {"family": "Sittidae", "species": "Sitta europaea"},
]
NAMES = [f"image {number}" for number in range(12)]
LABEL = np.arange(12) % 3
SEMANTICS = {
    "source": "trained", "pretrained": "", "width": 32, "layers": 1, "context_length": 20, "steps": 2, "batch_size": 6,
    "learning_rate": 1e-3,
}  # fmt: skip
CFG = {"name": "sgid", "direction": "up", "least_scale": 1.5, "most_scale": 4.0, "percentiles": (10, 90)}
LONG = "a small bird with a yellow breast sits on a mossy branch in front of green leaves, looking to the left"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A folder with pack, classes, image-text model and texts."""
    folder = tmp_path_factory.mktemp("run")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    Pack(pixels, [c["species"] for c in CLASSES], NAMES, LABEL, NAMES, [""] * 12).save(folder / "train.npy")
    write_json(folder / "classes.json", CLASSES)
    train_semantics(
        pack=folder / "train.npy", classes=folder / "classes.json", cfg=SEMANTICS, seed=0, out=folder / "semantics"
    )
    small = {"backbone": "small", "semantics": folder / "semantics"}
    texts.encode(classes=folder / "classes.json", levels=LEVELS, out=folder / "texts.safetensors", **small)
    return folder


def alike(*captions: str) -> dict[str, list[str]]:
    """The same captions for each image."""
    return {name: list(captions) for name in NAMES}


def rated(run: Path, out: Path, captions: dict, **changes) -> tuple[Prompts, dict]:
    """What `rate` writes for these captions."""
    write_json(out.parent / "captions.json", captions)
    files = {name: run / f"{name}.{end}" for name, end in (("train", "npy"), ("classes", "json"))}
    given = {"texts": run / "texts.safetensors", "backbone": "small", "cfg": CFG, **changes}
    rate(captions=out.parent / "captions.json", semantics=run / "semantics", out=out, **files, **given)
    return Prompts.load(out), read_json(out / "calibration.json")


def by_open_clip(run: Path, prompts: list[str]) -> np.ndarray:
    """Cosines (12, S) by the library alone."""
    name = f"local-dir:{run / 'semantics'}"
    model, tokenizer = open_clip.create_model(name, require_pretrained=True).eval(), open_clip.get_tokenizer(name)
    pixels = torch.tensor(np.array(Pack.load(run / "train.npy").pixels)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        image = model.encode_image(pixels, normalize=True)
        return (image @ model.encode_text(tokenizer(prompts), normalize=True).T).numpy()


def test_the_most_similar_prompt_is_taken_and_its_cosine_becomes_the_scale(run, tmp_path):
    said = ["a bird", "two birds on snow", "a nest"]
    prompts, calibration = rated(run, tmp_path / "rated", alike(*said))
    possible = [[f"species: {CLASSES[label]['species']}, {text}" for text in said] for label in LABEL]
    cosines = [by_open_clip(run, own)[place] for place, own in enumerate(possible)]
    best = [int(own.argmax()) for own in cosines]
    facts = [prompts.facts[name] for name in NAMES]
    assert len(set(best)) > 1 and [fact["prompt"] for fact in facts] == [
        own[place] for own, place in zip(possible, best, strict=True)
    ]
    similarity = np.array([own[place] for own, place in zip(cosines, best, strict=True)])
    assert [fact["similarity"] for fact in facts] == pytest.approx(similarity, abs=1e-5)
    low, high = np.percentile(similarity, [10, 90])
    expected = np.interp(similarity, [low, high], [1.5, 4.0])
    assert [fact["scale"] for fact in facts] == pytest.approx(expected, abs=1e-3)
    assert [calibration["low"], calibration["high"]] == pytest.approx([low, high], abs=1e-5)
    assert calibration["mean_scale"] == pytest.approx(expected.mean(), abs=1e-3)


def test_a_label_alone_is_told_as_the_generator_was_trained_on_it(run, tmp_path):
    prompts, calibration = rated(run, tmp_path / "rated", alike(""))
    lineages = Lineages.load(run / "texts.safetensors")
    assert sorted(prompts.strings) == sorted(f"species: {record['species']}" for record in CLASSES)
    own = lineages.tokens[[lineages.strings.index(text) for text in prompts.strings]]
    assert (prompts.tokens - own).abs().max() < 1e-5
    assert [prompts.strings[prompts.row[name]] for name in NAMES] == [prompts.facts[name]["prompt"] for name in NAMES]
    assert calibration["without_caption"] == 12 and calibration["distinct_prompts"] == 3 and calibration["cut"] == 0


def test_captions_are_cut_where_the_encoder_stops_and_counted(run, tmp_path, caplog):
    captions = {name: [LONG if place < 5 else "a bird"] for place, name in enumerate(NAMES)}
    prompts, calibration = rated(run, tmp_path / "rated", captions)
    tokenizer = open_clip.SimpleTokenizer(context_length=20)
    for name, label in zip(NAMES[:5], LABEL, strict=False):
        prompt, start = prompts.facts[name]["prompt"], f"species: {CLASSES[label]['species']}, a small bird"
        assert prompt.startswith(start) and f"{start[:-12]}{LONG}".startswith(prompt)
        more = f"{start[:-12]}{LONG}"[: len(prompt) + 1 + len(LONG.split()[len(prompt.split()) - 3])]
        assert len(tokenizer.encode(prompt)) + 2 <= 20 < len(tokenizer.encode(more)) + 2
    assert calibration["cut"] == 5 and calibration["partly_rated"] == calibration["labels_cut"] == 0
    assert "captions of 5 of 12 images were cut to the 20 tokens" in caplog.text


def test_the_calibration_says_how_scales_and_similarities_are_spread(run, tmp_path):
    told = {}
    _, up = rated(run, tmp_path / "up", alike(LONG), log=lambda step, values: told.update(values))
    assert sum(up["scale_histogram"]["counts"]) == sum(up["similarity_histogram"]["counts"]) == up["images"] == 12
    assert up["percentiles"] == [10, 90] and up["mean_scale"] == pytest.approx(up["mean_up"])
    assert told["mean_scale"] == up["mean_scale"] and all(isinstance(value, int | float) for value in told.values())
    same = {"cfg": {**CFG, "direction": "constant"}}
    prompts, constant = rated(run, tmp_path / "constant", alike(LONG), **same)
    assert {fact["scale"] for fact in prompts.facts.values()} == {constant["mean_up"]}
    assert constant["mean_scale"] == pytest.approx(up["mean_scale"])


def test_captions_of_other_images_are_refused(run, tmp_path):
    with pytest.raises(BadCaptions, match=r"sgid: .*captions.json has no caption of 2 of 12 .* image 10 among them"):
        rated(run, tmp_path / "rated", {name: ["a bird"] for name in NAMES[:10]})
    assert not (tmp_path / "rated").exists()


def test_of_equally_similar_sentences_the_first_is_taken_and_no_number_is_hidden():
    vectors = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [0.0, 1.0], "bad": [float("nan"), 0.0]}
    text = lambda sentences: torch.tensor([vectors[sentence] for sentence in sentences])  # noqa: E731
    image = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.6, 0.8]])
    best, cosine = most_similar(image, [["a", "c", "b"], ["b", "a"], ["b", "bad"]], text)
    assert best == [1, 1, 1] and cosine[:2] == pytest.approx([0.8, 1.0]) and np.isnan(cosine[2])


def test_as_many_first_words_as_fit_stay():
    rng = np.random.default_rng(0)
    for most in range(60):
        words = ["".join(rng.choice(list("abc,"), rng.integers(1, 5))) for _ in range(int(rng.integers(0, 9)))]
        made = wording.prompt("species: x", " ".join(words), lambda text, most=most: len(text) <= most)
        tries = [wording._joined("species: x", words[:count]) for count in range(len(words) + 1)]
        assert made == max((text for text in tries if len(text) <= most), key=len, default="species: x")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """A Stable Diffusion folder of 77 tokens; nothing but its text encoder is ever run."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder, bpe = tmp_path_factory.mktemp("pipeline"), open_clip.SimpleTokenizer()
    around = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {around.get(piece, piece): row for piece, row in bpe.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in bpe.bpe_ranks), ""])
    (folder / "merges.txt").write_text(merges, "utf-8")
    StableDiffusionPipeline(
        AutoencoderKL(block_out_channels=[8], norm_num_groups=4),
        CLIPTextModel(CLIPTextConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)),
        CLIPTokenizer.from_pretrained(folder, model_max_length=77),
        UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8], layers_per_block=1, norm_num_groups=4,
            cross_attention_dim=16, attention_head_dim=2, down_block_types=["CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D"],
        ),
        DDIMScheduler(), None, None, requires_safety_checker=False,
    ).save_pretrained(folder / "sd")  # fmt: skip
    return folder / "sd"


def test_the_label_is_within_77_tokens_for_the_longest_caption(pipeline):
    from transformers import CLIPTokenizer

    fits = wording.fits(Pipeline("sd", "main", pipeline, ("text_encoder",)), 77)
    tokenizer = CLIPTokenizer.from_pretrained(pipeline / "tokenizer")
    label = "species: Phoenicurus phoenicurus samamisicus"
    prompt = wording.prompt(label, " ".join([LONG] * 40), fits)
    ids = tokenizer(prompt, truncation=True, max_length=77).input_ids
    assert len(ids) > 70 and len(tokenizer(prompt, truncation=True, max_length=99).input_ids) <= 77  # nothing is lost
    short = wording.prompt(label, "a " * 100, fits)  # words of one token fill it to the last place
    assert len(tokenizer(short, truncation=True, max_length=99).input_ids) == 77
    shown = tokenizer.decode(ids, skip_special_tokens=True)
    assert shown.startswith("species : phoenicurus phoenicurus samamisicus , a small bird")


def test_prompts_of_a_pipeline_are_its_own_tokens_though_a_shorter_tower_rates_them(run, pipeline, tmp_path, caplog):
    where = {"backbone": "stable-diffusion", "pretrained": str(pipeline)}
    texts.encode(classes=run / "classes.json", levels=LEVELS, out=tmp_path / "texts.safetensors", **where)
    given = {"texts": tmp_path / "texts.safetensors", **where}
    captions = {name: ["" if place < 3 else LONG] for place, name in enumerate(NAMES)}
    prompts, calibration = rated(run, tmp_path / "rated", captions, **given)
    assert prompts.tokens.shape == (6, 77, 16) and prompts.facts["image 3"]["prompt"] == f"species: Parus major, {LONG}"
    assert calibration["cut"] == 0 and calibration["partly_rated"] == 9
    assert "9 of 12 prompts exceed the 20 tokens of the image-text model" in caplog.text
    lineages = Lineages.load(tmp_path / "texts.safetensors")
    row = lineages.strings.index("species: Parus major")
    tokens, _ = prompts.at(["image 0", "image 3"])
    assert (tokens[0] - lineages.tokens[row]).abs().max() < 1e-5 < (tokens[1] - lineages.tokens[row]).abs().max()
