"""Every method from real images to a filtered pack, with real models, on both backbones.

Settings are those that the plan gives to each rule, so that what a rule hands on is what the next one reads.
"""

import json

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.classification.guide import train_guide
from taxaforge.config.settings import load
from taxaforge.diffusion.contour_training import provide
from taxaforge.diffusion.stage import train as train_stage
from taxaforge.diffusion.texts import encode
from taxaforge.files import read_json, write_json
from taxaforge.guidance.budget import allocate
from taxaforge.guidance.filter import gather
from taxaforge.guidance.generate import generate
from taxaforge.guidance.rating import rate
from taxaforge.guidance.registry import METHODS
from taxaforge.guidance.schema import IMAGES
from taxaforge.guidance.tokens import learn
from taxaforge.lineage import plain
from taxaforge.packs import Pack
from taxaforge.plan.guidance import prompts_of
from taxaforge.plan.rules import RULES
from taxaforge.semantics.describe import describe
from taxaforge.semantics.discriminator import train_discriminator
from taxaforge.semantics.train import train as train_semantics

CLASSES = [
    {"order": "Odonata", "genus": "Calopteryx", "species": "Calopteryx splendens"},
    {"order": "Odonata", "genus": "Calopteryx", "species": "Calopteryx virgo"},
    {"order": "Coleoptera", "genus": "Lucanus", "species": "Lucanus cervus"},
]
SPECIES = [record["species"] for record in CLASSES]
EVERY_S = 1e9


def settings_of(pipeline):
    latent = {"backbone": "stable-diffusion", "pretrained": str(pipeline), "trainable": "lora", "learning_rate": 1e-3}
    fresh = {"backbone": "small", "trainable": "full", "channels": [8, 16], "base": {"steps": 0}, "learning_rate": 0.05}
    watch = {"samples_every": 0, "validate_every": 0}
    return load(
        {
            "collection": {"size": 32},
            "semantics": {"width": 32, "layers": 1, "steps": 3, "batch_size": 4, "context_length": 16},
            "diffusion": {
                **(latent if pipeline else fresh),
                "levels": ["order", "genus", "species"],
                "variant": "joint",
                "steps": 4,
                "batch_size": 4,
                "watch": watch,
                "contour": {"steps": 2},
            },
            "guidance": {
                "methods": list(METHODS),
                "images_per_species": 2,
                "steps": 4,
                "shards": 1,
                "guide": {"epochs": 1},
                "discriminator": {"epochs": 1},
                "recipes": {"dig_zsl": {"updates": 2, "images": 2, "held_out": 2, "learning_steps": 3}},
            },
            "filter": {"min_contrast": 0, "semantics": {"top_k": 3}, "classifier": {"top_k": 3}},
            "classification": {"arms": ["real"]},
        }
    )


def pack(seed, count=9) -> Pack:
    """Each species has a colour of its own, so that classifiers have something to learn."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 3
    pixels = rng.integers(0, 120, (count, 32, 32, 3))
    pixels[np.arange(count), :, :, label] += 120
    names = [f"{seed}-{number}" for number in range(count)]
    return Pack(pixels.astype(np.uint8), SPECIES, names, label, names, ["wings spread"] * count)


@pytest.fixture(scope="module", params=["small", "stable-diffusion"])
def house(request, tmp_path_factory):
    """Everything that methods read, made by the functions that the rules call."""
    root = tmp_path_factory.mktemp(request.param)
    s = settings_of(None if request.param == "small" else request.getfixturevalue("pipeline"))

    def cfg(rule, **wildcards):
        return plain(RULES[rule](s, wildcards).settings)

    files = {
        name: root / name for name in ("train.npy", "validation.npy", "classes.json", "semantics", "texts.safetensors")
    }
    pack(1).save(files["train.npy"])
    pack(2).save(files["validation.npy"])
    write_json(files["classes.json"], CLASSES)
    train, validation, classes, semantics, texts = files.values()
    shared = {"seed": 1, "every_s": EVERY_S}
    train_semantics(pack=train, classes=classes, cfg=cfg("train_semantics"), out=semantics, **shared)
    own = {name: value for name, value in cfg("encode_texts").items() if name != "seed"}
    encode(classes=classes, out=texts, semantics=semantics if request.param == "small" else None, **own)
    model, contour = root / "joint", root / "contour"
    train_stage(
        stage="joint", pack=train, texts=texts, cfg=cfg("train_stage", stage="joint"), out=model,
        state_dir=root / "state", **shared,
    )  # fmt: skip
    provide(
        model=model, pack=train, texts=texts, cfg=cfg("train_contour"), out=contour, state_dir=root / "state-contour",
        **shared,
    )  # fmt: skip
    guide = root / "guide/model.safetensors"
    train_guide(
        train=train, validation=validation, cfg={**cfg("train_guide"), "weights": ""}, out=guide,
        out_summary=root / "guide/validation.json", **shared,
    )  # fmt: skip
    train_discriminator(
        train=train, validation=validation, semantics=semantics, classes=classes, cfg=cfg("train_discriminator"),
        out=root / "discriminator", **shared,
    )  # fmt: skip
    learn(
        model=model, texts=texts, discriminator=root / "discriminator", semantics=semantics, classes=classes,
        train=train, cfg=cfg("learn_tokens", method="dig_zsl"), out=root / "learned", **shared,
    )  # fmt: skip
    describe(train=train, cfg=cfg("caption_images", method="sgid"), out=root / "captions.json", **shared)
    asked = cfg("rate_prompts", method="sgid")
    rate(
        train=train, captions=root / "captions.json", semantics=semantics, texts=texts, classes=classes, cfg=asked,
        backbone=asked["backbone"], pretrained=asked.get("pretrained", ""), revision=asked.get("revision", "main"),
        out=root / "rated",
    )  # fmt: skip
    allocate(train=train, classes=classes, cfg=cfg("allocate_images"), out=root / "allocation.parquet")
    aids = {"train": train, "contour": contour, "guide": guide}
    prompts = {"rate_prompts": root / "rated", "learn_tokens": root / "learned"}

    def draw(method, out):
        needs = s.guidance.recipe(method).needs
        given = {name: path for name, path in aids.items() if name in needs}
        if "prompts" in needs:
            given["prompts"] = prompts[prompts_of(s, method)]
        generate(
            model=model, texts=texts, classes=classes, allocation=root / "allocation.json", method=method,
            cfg=cfg("generate_shard", method=method), shard=0, shards=1, out=out, **given, **shared,
        )  # fmt: skip

    def filtered(method, folder):
        gather(
            shards=[folder / "0"], semantics=semantics, guide=guide, train=train, classes=classes, method=method,
            cfg=cfg("gather_images", method=method), out=folder / "metadata.parquet", out_pack=folder / "kept.npy",
            out_control=folder / "control.npy", out_sheet=folder / "contact_sheet.png", every_s=EVERY_S,
        )  # fmt: skip
        return tables.read(IMAGES, folder / "metadata.parquet")

    return {"root": root, "draw": draw, "filtered": filtered, "settings": s, "train": Pack.load(train)}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_from_real_images_to_a_filtered_pack(house, tmp_path, method):
    house["draw"](method, tmp_path / "0")
    rows = house["filtered"](method, tmp_path)
    assert len(rows) == 6
    assert {row["evidence"] for row in rows} == {METHODS[method].EVIDENCE}
    kept = [row["identifier"] for row in rows if row["kept"]]
    assert Pack.load(tmp_path / "kept.npy").identifier == kept
    assert len(Pack.load(tmp_path / "control.npy")) == len(kept)
    assert (tmp_path / "contact_sheet.png").stat().st_size > 0
    from_images = "train" in house["settings"].guidance.recipe(method).needs
    assert all((row["source"] in house["train"].identifier) == from_images for row in rows)
    runs_whole = method not in ("sdedit", "mixup", "sgid")
    assert all((row["steps"] == 4) == runs_whole for row in rows)
    assert all((row["other"] is not None) == (method == "mixup") for row in rows)
    assert all((row["trace"] is not None) == (method == "higfa") for row in rows)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_settings_draw_the_same_bytes(house, tmp_path, method):
    for name in ("a", "b"):
        house["draw"](method, tmp_path / name)
    files = sorted(file.relative_to(tmp_path / "a") for file in (tmp_path / "a").rglob("*") if file.is_file())
    assert files
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_methods_share_an_image_s_noise_and_differ_in_what_they_draw(house, tmp_path):
    pictures, seeds = {}, {}
    for method in METHODS:
        house["draw"](method, tmp_path / method)
        lines = [json.loads(line) for line in (tmp_path / method / "records.jsonl").read_text().splitlines()]
        seeds[method] = [line["seed"] for line in lines]
        pictures[method] = (tmp_path / method / lines[0]["file_name"]).read_bytes()
    assert len({tuple(s) for s in seeds.values()}) == 1
    assert len(set(pictures.values())) == len(METHODS)


def test_a_method_tells_what_it_asked_of_each_image(house, tmp_path):
    house["draw"]("higfa", tmp_path / "0")
    lines = [json.loads(line) for line in (tmp_path / "0/records.jsonl").read_text().splitlines()]
    trace = json.loads(lines[0]["trace"])
    assert [len(values) for values in trace.values()] == [4] * len(trace)
    assert trace["S"][:2] == [0.0, 0.0] < trace["S"][-1:]
    facts = read_json(house["root"] / "rated/prompts.json")["facts"]
    house["draw"]("sgid", tmp_path / "1")
    for line in (tmp_path / "1/records.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert record["scale"] == facts[record["source"]]["scale"]
        assert record["prompt"].startswith(f"species: {record['scientificName']}")
