"""open_clip models as classifiers: named by sentences, or probed; saved and opened like any other."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from taxaforge.classification import clip, frozen, model, prompts
from taxaforge.classification.predict import features, load, predict
from taxaforge.classification.train import train
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines, write_json
from taxaforge.packs import Pack

RECORDS = [
    {"kingdom": "Animalia", "order": "Odonata", "family": "Aeshnidae", "genus": "Aeshna", "species": "Aeshna mixta"},
    {"kingdom": "Animalia", "order": "Coleoptera", "family": None, "genus": "Lucanus", "species": "Lucanus cervus"},
]
NAMES = [record["species"] for record in RECORDS]
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
CONVOLUTIONAL = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}
TRANSFORMER = {"image_size": 32, "patch_size": 8, "layers": 1, "width": 16, "head_width": 8}


def folder_of(path, vision=TRANSFORMER, seed=0, **more):
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": TEXT, **more}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = open_clip.CLIP(**config)
    path.mkdir()
    save_file({key: value.contiguous() for key, value in built.state_dict().items()}, path / clip.WEIGHTS)
    preprocess = {"mean": [0.3, 0.4, 0.5], "std": [0.2, 0.25, 0.3]}
    (path / clip.CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return f"open_clip:local-dir:{path}"


@pytest.fixture
def name(tmp_path):
    return folder_of(tmp_path / "tiny")


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def classes(tmp_path):
    write_json(tmp_path / "classes.json", RECORDS)
    return tmp_path / "classes.json"


def pack(path, pixels, names=NAMES):
    label = np.arange(len(pixels)) % 2
    identifier = [f"{path.stem}{i}" for i in range(len(pixels))]
    Pack(pixels, names, identifier, label, identifier, [""] * len(pixels)).save(path)
    return path


def named(tmp_path, classes, pictures, name, kind="name", out="zero"):
    cfg, out = {"model": name, "weights": "", "prompts": kind}, tmp_path / f"{out}.safetensors"
    validation = pack(tmp_path / "validation.npy", pictures)
    prompts.zero_shot(classes=classes, validation=validation, cfg=cfg, out=out, out_history=tmp_path / "z.jsonl")
    return out


@pytest.mark.parametrize("vision", [CONVOLUTIONAL, TRANSFORMER], ids=["resnet", "vit"])
@pytest.mark.parametrize("kind", prompts.PROMPTS)
def test_zero_shot_is_the_softmax_of_scaled_cosines_to_mean_sentences(tmp_path, classes, pictures, vision, kind):
    """Against open_clip's own encoders and the formula in numpy."""
    name = folder_of(tmp_path / "model", vision)
    found = predict(load(named(tmp_path, classes, pictures, name, kind)), pictures)

    whole = open_clip.create_model(f"local-dir:{tmp_path / 'model'}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'model'}")
    x = (pictures / 255 - np.array([0.3, 0.4, 0.5])) / np.array([0.2, 0.25, 0.3])
    with torch.no_grad():
        image = whole.encode_image(torch.from_numpy(x).permute(0, 3, 1, 2).float()).numpy().astype(float)
        text = [whole.encode_text(tokenizer(prompts.sentences(r, kind))).numpy().astype(float) for r in RECORDS]
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    mean = np.stack([(t / np.linalg.norm(t, axis=1, keepdims=True)).mean(0) for t in text])
    logits = whole.logit_scale.exp().item() * image @ (mean / np.linalg.norm(mean, axis=1, keepdims=True)).T
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.abs(found - wanted).max() < 1e-5
    assert np.ptp(wanted[:, 0]) > 1e-4  # pictures are told apart at all


def test_what_is_saved_opens_without_the_folder_and_gives_unit_features(tmp_path, classes, pictures, name):
    path = named(tmp_path, classes, pictures, name)
    before = predict(load(path), pictures)
    (tmp_path / "tiny").rename(tmp_path / "gone")
    opened = load(path)
    assert np.array_equal(predict(opened, pictures), before)
    assert opened.classes == NAMES and (opened.image_size, opened.mean) == (32, (0.3, 0.4, 0.5))
    seen = features(opened, pictures)
    assert seen.shape == (9, 12) and np.allclose(np.linalg.norm(seen, axis=1), 1)
    assert not any(key.startswith(("transformer", "token")) for key in load_file(path))  # no text tower
    assert predict(opened, np.repeat(np.repeat(pictures, 2, 1), 2, 2)).shape == (9, 2)


def test_the_same_model_in_another_folder_is_the_same_file(tmp_path, classes, pictures, name):
    one = named(tmp_path, classes, pictures, name, out="one").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    other = folder_of(tmp_path / "elsewhere" / "tiny")
    torch.manual_seed(3)
    assert named(tmp_path, classes, pictures, other, out="two").read_bytes() == one


def test_nothing_but_the_sentences_is_learned_and_validation_is_looked_at_once(tmp_path, classes, pictures, name):
    told = {}
    cfg = {"model": name, "weights": "", "prompts": "taxonomic"}
    out = {"out": tmp_path / "z.safetensors", "out_history": tmp_path / "z.jsonl"}
    validation = pack(tmp_path / "v.npy", pictures)
    state = torch.get_rng_state()
    prompts.zero_shot(classes=classes, validation=validation, cfg=cfg, **out, log=lambda step, v: told.update(v))
    assert torch.equal(state, torch.get_rng_state())
    (line,) = read_lines(out["out_history"])
    right = predict(load(out["out"]), pictures).argmax(1) == np.arange(9) % 2
    assert line["validation_accuracy"] == pytest.approx((right[::2].mean() + right[1::2].mean()) / 2)
    assert line["step"] == 0 and told["sentences"] == len(prompts.TEMPLATES)


def test_the_taxonomic_prompt_names_every_rank_once():
    said = prompts.sentences(RECORDS[0], "taxonomic")
    assert "a photo of Animalia Odonata Aeshnidae Aeshna mixta." in said and len(set(said)) == len(prompts.TEMPLATES)
    assert prompts.sentences(RECORDS[1], "taxonomic")[0] == "a photo of Animalia Coleoptera Lucanus cervus."
    assert prompts.sentences(RECORDS[1], "name")[0] == "a photo of Lucanus cervus."
    with pytest.raises(TaxaforgeError, match=r"none of name, taxonomic, caption"):
        prompts.sentences(RECORDS[0], "guess")


def test_a_probe_of_an_image_tower_is_a_classifier_like_any_other(tmp_path, name, cfg):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 120, (40, 32, 32, 3))
    pixels[np.arange(40), :, :, np.arange(40) % 2] += 90
    real, validation = (
        pack(tmp_path / "r.npy", pixels[:24].astype("u1")),
        pack(tmp_path / "v.npy", pixels[24:].astype("u1")),
    )
    settings = cfg | {"model": name, "probe": {"views": 1, "weight_decay": [0.01]}}
    asked = {"real": real, "validation": validation, "synthetic": [], "arm": "real", "budget": None, "seed": 0}
    out = {"out": tmp_path / "p.safetensors", "out_history": tmp_path / "p.jsonl", "cache": tmp_path / "cache"}
    frozen.train_probe(**asked, **out, cfg=settings)
    tower = load_file(tmp_path / "tiny" / clip.WEIGHTS)
    saved = load_file(out["out"])
    assert all(torch.equal(saved[key], tower[key]) for key in saved if key.startswith("visual."))
    assert (predict(load(out["out"]), pixels[24:].astype("u1")).argmax(1) == np.arange(24, 40) % 2).mean() > 0.9


def test_the_whole_image_tower_is_trained_where_all_is_to_be_trained(tmp_path, name, cfg):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    real, validation = (pack(tmp_path / f"{part}.npy", pixels) for part in ("r", "v"))
    asked = {"real": real, "validation": validation, "synthetic": [], "arm": "real", "budget": None, "seed": 0}
    train(**asked, cfg=cfg | {"model": name}, out=tmp_path / "t.safetensors", out_history=tmp_path / "t.jsonl")
    tower, saved = load_file(tmp_path / "tiny" / clip.WEIGHTS), load_file(tmp_path / "t.safetensors")
    matrices = [key for key in saved if key.startswith("visual.") and saved[key].ndim > 1]
    assert len(matrices) > 5 and not any(torch.equal(saved[key], tower[key]) for key in matrices)


def test_a_head_belongs_to_its_seed_and_the_global_state_is_left_alone(name):
    state = torch.get_rng_state()
    one, two, three = (model.create(name, NAMES, 999, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.net.head.weight, two.net.head.weight)
    assert not torch.equal(one.net.head.weight, three.net.head.weight)
    assert one.image_size == 32  # its own


@pytest.mark.parametrize(
    "change, said",
    [
        pytest.param("no config", "open_clip_config.json is missing", id="no config"),
        pytest.param("pickle", "open_clip_pytorch_model.bin.*never opened here", id="a pickle alone"),
        pytest.param("damaged", "cannot be opened", id="damaged weights"),
        pytest.param("another", "cannot be opened", id="weights of another structure"),
    ],
)
def test_a_folder_that_is_none_says_why(tmp_path, name, change, said):
    folder = tmp_path / "tiny"
    if change == "no config":
        (folder / clip.CONFIG).unlink()
    elif change == "pickle":
        (folder / clip.WEIGHTS).rename(folder / "open_clip_pytorch_model.bin")
    elif change == "damaged":
        (folder / clip.WEIGHTS).write_bytes(b"\x08")
    else:
        folder_of(tmp_path / "other", {**TRANSFORMER, "width": 24})
        (tmp_path / "other" / clip.WEIGHTS).rename(folder / clip.WEIGHTS)
    with pytest.raises(clip.NoImageText, match=said):
        clip.opened(name)


def test_what_open_clip_does_not_have_says_what_it_has(name, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for asked, said in [
        ("open_clip:ViT-B-32:nobody", "has the tags .*openai"),
        ("open_clip:ViT-B-33", "is no architecture"),
        ("open_clip:hf-hub:owner/a-model-that-nobody-has", "cannot be opened"),
        ("open_clip:ViT-B-32:laion2b_s34b_b79k", "cannot be opened|no weights as safetensors"),
    ]:
        with pytest.raises(clip.NoImageText, match=said):
            clip.opened(asked)
    with pytest.raises(clip.NoImageText, match="brings its weights"):
        model.create(name, NAMES, 32, "w.safetensors")


def test_naming_without_training_wants_an_image_text_model_and_its_own_species(tmp_path, classes, pictures, name):
    with pytest.raises(TaxaforgeError, match="needs an image-text model"):
        named(tmp_path, classes, pictures, "test_resnet")
    validation = pack(tmp_path / "v.npy", pictures, ["x", "y"])
    cfg = {"model": name, "weights": "", "prompts": "name"}
    with pytest.raises(TaxaforgeError, match="another species list"):
        prompts.zero_shot(
            classes=classes, validation=validation, cfg=cfg, out=tmp_path / "o", out_history=tmp_path / "h"
        )


def test_timms_classifiers_open_without_open_clip(tmp_path):
    """A second of start-up that only those pay who use it."""
    import subprocess
    import sys

    model.save(model.create("test_resnet", NAMES, 32), tmp_path / "t.safetensors")
    code = (
        "import sys; from taxaforge.classification.predict import load; load(sys.argv[1]); "
        "from taxaforge.classification import frozen; print('open_clip' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "t.safetensors"], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
