"""The image-text model: captions, token states against open_clip's own encoder, and training."""

import numpy as np
import open_clip
import pytest
import torch

from taxaforge.files import write_json
from taxaforge.packs import Pack
from taxaforge.semantics import model as models
from taxaforge.semantics.captions import caption, level_string
from taxaforge.semantics.train import contrastive, sentences, train

CLASSES = [
    {"order": "Odonata", "family": "Calopterygidae", "genus": "Calopteryx", "species": "Calopteryx splendens"},
    {"order": "Odonata", "family": "Calopterygidae", "genus": "Calopteryx", "species": "Calopteryx virgo"},
    {"order": "Coleoptera", "family": "Lucanidae", "genus": None, "species": "Lucanus cervus"},
]
CFG = {
    "source": "trained",
    "pretrained": "",
    "width": 32,
    "layers": 1,
    "context_length": 16,
    "steps": 30,
    "batch_size": 12,
    "learning_rate": 4e-3,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    """A model trained on plain red, green and blue pictures, one colour a class."""
    folder = tmp_path_factory.mktemp("semantics")
    label = np.arange(36) % 3
    pixels = np.random.default_rng(0).integers(0, 90, (36, 32, 32, 3), dtype=np.uint8)
    for number, colour in enumerate(label):
        pixels[number, ..., colour] += 150
    names = [f"image {number}" for number in range(36)]
    Pack(pixels, [c["species"] for c in CLASSES], names, label, names, [""] * 36).save(folder / "train.npy")
    write_json(folder / "classes.json", CLASSES)
    figures = {}
    arguments = {"pack": folder / "train.npy", "classes": folder / "classes.json", "cfg": CFG, "seed": 0}
    train(**arguments, out=folder / "model", log=lambda step, values: figures.update(values) if step is None else None)
    return {"folder": folder, "pixels": pixels, "label": label, "figures": figures, "arguments": arguments}


@pytest.fixture(scope="module")
def semantics(made) -> models.Semantics:
    return models.load(made["folder"] / "model")


@pytest.mark.parametrize("level, expected", [
    pytest.param("species", "a photo of Calopteryx virgo, genus Calopteryx, family Calopterygidae, order Odonata", id="finest first"),
    pytest.param("family", "a photo of the family Calopterygidae, order Odonata", id="nothing finer than the level"),
    pytest.param("order", "a photo of the order Odonata", id="coarsest"),
])  # fmt: skip
def test_caption_of_a_class_on_a_level(level, expected):
    assert caption(CLASSES[1], level) == expected


def test_a_rank_without_a_name_is_left_out_and_has_no_caption_of_its_own():
    assert caption(CLASSES[2]) == "a photo of Lucanus cervus, family Lucanidae, order Coleoptera"
    assert level_string(CLASSES[2], "genus") is None
    with pytest.raises(ValueError, match=r"Lucanus cervus.* no genus"):
        caption(CLASSES[2], "genus")


def test_sentences_are_true_of_their_classes_and_never_of_all():
    texts, true_of = sentences(CLASSES)
    assert true_of[texts.index("genus: Calopteryx")].tolist() == [True, True, False]
    assert true_of[texts.index(caption(CLASSES[2]))].tolist() == [False, False, True]
    assert not true_of.all(1).any() and true_of.any(0).all()


def test_token_states_pool_to_what_the_library_encodes(semantics):
    strings = ["order: Odonata", caption(CLASSES[0])]
    states, ids = semantics.tokens(strings), semantics.tokenizer(strings)
    assert states.shape == (2, 16, 32) == (2, semantics.context_length, semantics.width)
    with torch.no_grad():
        pooled = states[torch.arange(2), ids.argmax(-1)] @ semantics.tower.text_projection
        assert (pooled - semantics.model.encode_text(ids)).abs().max() < 1e-5


def test_a_text_has_the_same_tokens_alone_and_in_company(semantics):
    strings = [f"genus: {name}" for name in "abcdefgh"]
    alone = torch.cat([semantics.tokens([text]) for text in strings])
    assert (semantics.tokens(strings) - alone).abs().max() < 1e-5


def test_trained_captions_name_their_pictures(semantics, made):
    image, text = semantics.image(made["pixels"]), semantics.text([caption(record) for record in CLASSES])
    assert torch.allclose(image.norm(dim=1), torch.ones(36)) and torch.allclose(text.norm(dim=1), torch.ones(3))
    accuracy = ((image @ text.T).argmax(1).numpy() == made["label"]).mean()
    assert accuracy == pytest.approx(made["figures"]["accuracy"]) and accuracy > 0.9


def test_pictures_of_another_size_are_resized(semantics, made):
    larger = made["pixels"][:3].repeat(2, axis=1).repeat(2, axis=2)
    assert (semantics.image(larger) * semantics.image(made["pixels"][:3])).sum(1).min() > 0.9


def test_the_folder_opens_with_open_clip_alone(semantics, made):
    plain = open_clip.create_model(f"local-dir:{made['folder'] / 'model'}", require_pretrained=True).eval()
    assert plain.visual.image_mean == [0.5, 0.5, 0.5]
    with torch.no_grad():
        vectors = plain.encode_image(semantics.prepare(made["pixels"][:2]), normalize=True)
    assert torch.allclose(vectors, semantics.image(made["pixels"][:2]), atol=1e-5)


def test_training_twice_gives_the_same_bytes(made):
    train(**made["arguments"], out=made["folder"] / "again")
    files = [made["folder"] / name / models.WEIGHTS for name in ("model", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_pretrained_model_is_kept_by_reference(semantics, made, tmp_path):
    cfg = {**CFG, "source": "pretrained", "pretrained": f"local-dir:{made['folder'] / 'model'}"}
    train(**{**made["arguments"], "cfg": cfg}, out=tmp_path / "model")
    assert torch.equal(models.load(tmp_path / "model").text(["x"]), semantics.text(["x"]))


def test_a_model_that_cannot_be_opened_is_named(made, tmp_path):
    with pytest.raises(models.NoSemantics, match="nowhere"):
        train(
            **{
                **made["arguments"],
                "cfg": {**CFG, "source": "pretrained", "pretrained": f"local-dir:{tmp_path}/nowhere"},
            },
            out=tmp_path / "m",
        )
    with pytest.raises(models.NoSemantics, match="missing"):
        models.load(tmp_path)


def test_the_loss_with_one_true_text_an_image_is_clips():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1) for _ in range(2))
    logits = 7 * image @ text.T
    target = torch.arange(5)
    cross = torch.nn.functional.cross_entropy
    expected = (cross(logits, target) + cross(logits.T, target)) / 2
    assert torch.allclose(contrastive(image, text, torch.tensor(7.0), torch.eye(5, dtype=torch.bool)), expected)
