"""The category discriminator: trained on seen species, judges all, and passes gradients to the picture."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from taxaforge.files import read_json, write_json
from taxaforge.packs import Pack
from taxaforge.semantics import discriminator as module
from taxaforge.semantics import model as models
from taxaforge.semantics import train as image_text
from taxaforge.semantics.captions import caption
from taxaforge.semantics.discriminator import BadDiscriminator, load, train_discriminator

GENERA = ["Rubra", "Viridia", "Caerula", "Flava"]
CLASSES = [{"family": "Colores", "genus": genus, "species": f"{genus} {genus.lower()}ta"} for genus in GENERA]
SPECIES = [record["species"] for record in CLASSES]
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
TOWER = {"source": "trained", "pretrained": "", "width": 32, "layers": 1, "context_length": 16, "steps": 30}
CFG = {"epochs": 20, "width": 64, "learning_rate": 1e-3, "temperature": 0.05, "batch_size": 8, "prototypes": "lineage"}
UNSEEN = 3


def coloured(labels, seed: int) -> np.ndarray:
    """Noisy pictures of 32 px, each class in its colour."""
    noise = np.random.default_rng(seed).integers(0, 90, (len(labels), 32, 32, 3))
    return (noise + 150 * COLOURS[labels][:, None, None]).astype(np.uint8)


def pack(path, labels, seed: int):
    names = [f"{path.stem} {number}" for number in range(len(labels))]
    Pack(coloured(labels, seed), SPECIES, names, np.asarray(labels), names, [""] * len(labels)).save(path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict:
    """An image-text model that knows four colours, and a discriminator that was shown three."""
    folder = tmp_path_factory.mktemp("discriminator")
    write_json(folder / "classes.json", CLASSES)
    everything = pack(folder / "all.npy", np.arange(40) % 4, 0)
    cfg = {**TOWER, "batch_size": 16, "learning_rate": 4e-3}
    image_text.train(pack=everything, classes=folder / "classes.json", cfg=cfg, seed=0, out=folder / "semantics")
    arguments = {
        "train": pack(folder / "train.npy", np.arange(24) % 3, 1),
        "validation": pack(folder / "validation.npy", np.arange(16) % 4, 2),
        "semantics": folder / "semantics",
        "classes": folder / "classes.json",
        "cfg": CFG,
        "seed": 5,
    }
    figures, losses = {}, []

    def log(step, values):
        figures.update(values) if step is None else losses.append(values["loss"])

    train_discriminator(**arguments, out=folder / "discriminator", log=log)
    return {"folder": folder, "arguments": arguments, "figures": figures, "losses": losses}


@pytest.fixture
def judge(made) -> module.Discriminator:
    return load(made["folder"] / "discriminator", made["folder"] / "semantics")


def unit(pixels: np.ndarray) -> torch.Tensor:
    return torch.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def named(judge, labels) -> torch.Tensor:
    with torch.no_grad():
        return (judge(unit(coloured(labels, 9))) @ judge.prototypes.T).argmax(1)


@pytest.mark.parametrize("size", [32, 48, 20], ids=["its own size", "larger", "smaller"])
def test_pictures_are_prepared_as_for_the_filter(judge, made, size):
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    wanted = models.load(made["folder"] / "semantics").prepare(pixels)
    assert torch.allclose(judge.prepare(unit(pixels)), wanted, atol=1e-5)


def test_what_is_brighter_than_white_counts_as_white(judge):
    assert torch.equal(judge(torch.full((1, 3, 32, 32), 1.7)), judge(torch.ones(1, 3, 32, 32)))


def test_it_names_the_species_it_was_shown_and_places_the_one_it_was_not(judge, made):
    labels = np.arange(32) % 4
    right = named(judge, labels).numpy() == labels
    assert right[labels != UNSEEN].mean() > 0.9
    assert right[labels == UNSEEN].mean() > 0.5  # chance is 0.25
    assert judge.seen == SPECIES[:3]
    assert made["figures"]["validation_accuracy"] > 0.9 and made["figures"]["train_accuracy"] > 0.9


def test_vectors_and_prototypes_have_unit_length(judge, made):
    vectors = judge(unit(coloured([0, 1], 3)))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-6)
    text = models.load(made["folder"] / "semantics").text([caption(record) for record in CLASSES])
    assert torch.allclose(judge.prototypes, text, atol=1e-6)


def test_the_first_loss_is_the_image_text_models_own(made):
    """By hand: an untrained head changes nothing, so the loss is that of the cosines with the seen captions."""
    semantics = models.load(made["folder"] / "semantics")
    losses = []
    arguments = {**made["arguments"], "cfg": {**CFG, "epochs": 1, "batch_size": 24}}
    train_discriminator(**arguments, out=made["folder"] / "one", log=lambda step, values: losses.append(values))
    data = Pack.load(arguments["train"])
    text = semantics.text([caption(record) for record in CLASSES[:3]]).double()
    both = [semantics.image(np.ascontiguousarray(data.pixels[:, :, ::turn])).double() for turn in (1, -1)]
    bounds = []
    for image in both:  # each image is read as it is or mirrored: the loss lies between the extremes
        logits = image @ text.T / CFG["temperature"]
        own = logits[torch.arange(24), torch.from_numpy(data.label)]
        bounds.append(logits.logsumexp(1) - own)
    least, most = torch.stack(bounds).amin(0).mean(), torch.stack(bounds).amax(0).mean()
    assert least - 1e-4 <= losses[0]["loss"] <= most + 1e-4


def test_without_epochs_it_is_the_image_text_model(made):
    train_discriminator(**{**made["arguments"], "cfg": {**CFG, "epochs": 0}}, out=made["folder"] / "untrained")
    untrained = load(made["folder"] / "untrained", made["folder"] / "semantics")
    pixels = coloured(np.arange(4), 6)
    assert torch.allclose(untrained(unit(pixels)), models.load(made["folder"] / "semantics").image(pixels), atol=1e-5)


def test_the_gradient_in_the_picture_is_the_finite_difference(judge):
    judge = judge.double()
    picture = unit(coloured([0], 4)).double() * 0.5
    direction = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)

    def score(step: float = 0.0) -> torch.Tensor:
        return (judge(picture + step * direction) @ judge.prototypes[1]).sum()

    picture.requires_grad_(True)
    (gradient,) = torch.autograd.grad(score(), picture)
    h = 1e-6
    assert (gradient * direction).sum().item() == pytest.approx((score(h) - score(-h)).item() / (2 * h), rel=1e-5)
    assert all(value.grad is None and not value.requires_grad for value in judge.parameters())


def test_shuffled_prototypes_are_nobodys_own_and_lose_the_unseen_species(made):
    arguments = {**made["arguments"], "cfg": {**CFG, "prototypes": "shuffled"}}
    train_discriminator(**arguments, out=made["folder"] / "shuffled")
    wrong = load(made["folder"] / "shuffled", made["folder"] / "semantics")
    sentences = read_json(made["folder"] / "shuffled/manifest.json")["sentences"]
    captions = [caption(record) for record in CLASSES]
    assert sorted(sentences) == sorted(captions)
    assert all(a != b for a, b in zip(sentences, captions, strict=True))
    assert (named(wrong, np.full(12, UNSEEN)) == UNSEEN).float().mean() < 0.25


def test_prototypes_may_be_of_the_name_alone(made):
    arguments = {**made["arguments"], "cfg": {**CFG, "prototypes": "name", "epochs": 1}}
    train_discriminator(**arguments, out=made["folder"] / "name")
    assert read_json(made["folder"] / "name/manifest.json")["sentences"][0] == f"a photo of {SPECIES[0]}"


def test_training_twice_gives_the_same_bytes_and_leaves_the_random_state(made):
    before = torch.random.get_rng_state()
    train_discriminator(**made["arguments"], out=made["folder"] / "again")
    assert torch.equal(before, torch.random.get_rng_state())
    for name in (module.WEIGHTS, module.MANIFEST):
        first, second = (made["folder"] / folder / name for folder in ("discriminator", "again"))
        assert first.read_bytes() == second.read_bytes()


def test_another_seed_trains_another_head(made):
    train_discriminator(**{**made["arguments"], "seed": 6}, out=made["folder"] / "other")
    first, second = (made["folder"] / folder / module.WEIGHTS for folder in ("discriminator", "other"))
    assert first.read_bytes() != second.read_bytes()


def test_no_image_of_an_unseen_species_counts_in_what_is_trained_or_measured(made, tmp_path):
    """Planted into validation, whatever the pictures are, they move neither weights nor figures."""
    labels = np.arange(16) % 4
    pixels = coloured(labels, 2)
    pixels[labels == UNSEEN] = 255 - pixels[labels == UNSEEN]
    names = [f"validation {number}" for number in range(16)]
    Pack(pixels, SPECIES, names, labels, names, [""] * 16).save(tmp_path / "validation.npy")
    figures = {}
    arguments = {**made["arguments"], "validation": tmp_path / "validation.npy"}
    train_discriminator(**arguments, out=tmp_path / "made", log=lambda step, values: figures.update(values))
    assert {name: figures[name] for name in made["figures"] if name != "loss"} == made["figures"]
    assert (tmp_path / "made" / module.WEIGHTS).read_bytes() == (
        made["folder"] / "discriminator" / module.WEIGHTS
    ).read_bytes()


def test_one_seen_species_is_too_few(made, tmp_path):
    arguments = {**made["arguments"], "train": pack(tmp_path / "train.npy", [2, 2], 0)}
    with pytest.raises(BadDiscriminator, match=r"1 species.*protocol\.shots"):
        train_discriminator(**arguments, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_discriminator_of_another_image_text_model_is_refused(made, tmp_path):
    with pytest.raises(BadDiscriminator, match="not trained"):
        load(tmp_path, made["folder"] / "semantics")
    cfg = {**TOWER, "batch_size": 16, "learning_rate": 4e-3, "steps": 1}
    image_text.train(
        pack=made["folder"] / "all.npy", classes=made["folder"] / "classes.json", cfg=cfg, seed=1, out=tmp_path / "s"
    )
    with pytest.raises(BadDiscriminator, match="another image-text model"):
        load(made["folder"] / "discriminator", tmp_path / "s")


def test_mirrored_features_are_those_of_the_mirror_image(made):
    semantics = models.load(made["folder"] / "semantics")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    turned = module.features(semantics, pixels, mirrored=True)
    assert torch.equal(turned, semantics.image(np.ascontiguousarray(pixels[:, :, ::-1])))
    assert torch.allclose(turned, normalize(turned, dim=1))
