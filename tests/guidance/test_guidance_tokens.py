"""Learned tokens: spliced into a frozen encoder, moved by a discriminator, stopped by recognition, kept for drawing."""

import dataclasses
import json
import signal
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from taxaforge.diffusion import stage as stages
from taxaforge.diffusion import texts as run_texts
from taxaforge.diffusion.checkpoint import Stopped
from taxaforge.diffusion.sampler import sample
from taxaforge.files import read_json, read_lines, write_json
from taxaforge.guidance import lesson as lessons
from taxaforge.guidance.learning import EVERY, Learning, Standing
from taxaforge.guidance.lesson import NotLearned, chance_of, middle, walked
from taxaforge.guidance.methods import dig_zsl
from taxaforge.guidance.prompts import Encoder, NoPrompt, Prompts, conditions
from taxaforge.guidance.recipe import Aids
from taxaforge.guidance.splice import TOKEN, NoPlace, OpenClip, Spliced, spliced
from taxaforge.guidance.tokens import NothingToLearn, SeenInstead, learn, prepared
from taxaforge.guidance.worklist import worklist
from taxaforge.packs import Pack
from taxaforge.semantics import model as models
from taxaforge.semantics import train as image_text
from taxaforge.semantics.discriminator import train_discriminator

GENERA = ["Rubra", "Viridia", "Caerula", "Flava", "Cana"]
CLASSES = [{"family": "Colores", "genus": genus, "species": f"{genus} {genus.lower()}ta"} for genus in GENERA]
SPECIES = [record["species"] for record in CLASSES]
COLOURS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]])
UNSEEN = SPECIES[3:]
LEVELS = ["family", "species"]
CFG = {
    "kind": "dig_zsl", "name": "dig_zsl", "scale": 1.5, "species": "all", "temperature": 0.05, "updates": 4, "images": 2,
    "learning_rate": 0.02, "gradient": "x0_random", "stop": 1.0, "patience": 50, "held_out": 2, "steps": 4, "start": "a",
}  # fmt: skip
GENERATOR = {
    "backbone": "small", "channels": [16, 32], "levels": LEVELS, "variant": "progressive", "trainable": "published",
    "schedule": "cosine", "warm_up": 0.05, "clip": 1.0, "level_dropout": 0.0, "prediction": "auto", "min_snr_gamma": 0.0,
    "noise_offset": 0.0, "zero_gate": False, "precision": "fp32", "size": 16, "steps": 120, "learning_rate": 4e-3,
    "watch": {"samples_every": 0, "validate_every": 0, "validation_images": 8, "patience": 0}, "batch_size": 12,
    "weight_decay": 0.0, "null_probability": 0.2, "ema": 0.0, "lora_rank": 2, "flip": False, "checkpoint_every": 1000,
}  # fmt: skip


def pack(path, labels, size: int, seed: int = 0):
    """Noisy pictures, each class in its colour."""
    noise = np.random.default_rng(seed).integers(0, 90, (len(labels), size, size, 3))
    names = [f"{path.stem} {number}" for number in range(len(labels))]
    pixels = (noise + 150 * COLOURS[labels][:, None, None]).astype(np.uint8)
    Pack(pixels, SPECIES, names, np.asarray(labels), names, [""] * len(labels)).save(path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict:
    """Arguments of `prepared` for a small generator that knows five colours, and a discriminator that was shown three."""
    folder = tmp_path_factory.mktemp("tokens")
    classes, texts = folder / "classes.json", folder / "texts.safetensors"
    write_json(classes, CLASSES)
    everything = pack(folder / "all.npy", np.arange(40) % 5, 32)
    cfg = {"source": "trained", "pretrained": "", "width": 32, "layers": 1, "context_length": 16, "steps": 30}
    cfg |= {"batch_size": 20, "learning_rate": 4e-3}
    image_text.train(pack=everything, classes=classes, cfg=cfg, seed=0, out=folder / "semantics")
    run_texts.encode(classes=classes, levels=LEVELS, backbone="small", out=texts, semantics=folder / "semantics")
    stages.train(
        stage="base", pack=pack(folder / "drawn.npy", np.arange(20) % 5, 16), texts=texts, cfg=GENERATOR, seed=1,
        out=folder / "model", state_dir=folder / "state",
    )  # fmt: skip
    cfg = {
        "epochs": 5,
        "width": 32,
        "learning_rate": 1e-3,
        "temperature": 0.05,
        "batch_size": 8,
        "prototypes": "lineage",
    }
    shared = {"semantics": folder / "semantics", "classes": classes}
    train = pack(folder / "train.npy", np.arange(15) % 3, 32, seed=1)
    train_discriminator(train=train, validation=None, **shared, cfg=cfg, seed=0, out=folder / "judge")
    world = {"model": folder / "model", "texts": texts, "discriminator": folder / "judge", **shared, "train": train}
    return {"folder": folder, "files": world}


@pytest.fixture(scope="module")
def lesson(world) -> lessons.Lesson:
    return prepared(**world["files"], cfg=CFG, seed=7)


def learned(world, out, **changes):
    arguments = {"cfg": CFG, "seed": 7, "every_s": 1e9}
    learn(**world["files"], out=out, **{**arguments, **changes})
    return out


def tree(folder) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    return learned(world, tmp_path_factory.mktemp("whole") / "out")


# --- the splice


def test_the_row_of_a_word_says_what_the_word_says(world):
    """Bit for bit, with the name cut off at the tower's end, and where the same word stands elsewhere in the name."""
    encoder = Encoder.opened(world["files"]["texts"], "small", world["files"]["semantics"])
    prompts = [f"species: {TOKEN} {name}" for name in (*SPECIES, "a " * 20, "bird a bird")]
    tower = OpenClip(encoder.tower, "cpu")
    text = Spliced(tower, prompts, "a", encoder.affine)
    row = encoder.tower.tower.token_embedding(encoder.tower.tokenizer(["bird"])[0, 1])
    everyone = torch.arange(len(prompts))
    tokens, pooled = text(row.expand(len(prompts), -1), everyone)
    wanted, _ = encoder.encode([prompt.replace(TOKEN, "bird") for prompt in prompts])
    assert torch.equal(tokens, wanted) and pooled is None
    assert torch.equal(text(text.first, everyone)[0], encoder.encode([p.replace(TOKEN, "a") for p in prompts])[0])


def test_the_sentence_is_still_pooled_at_its_end(world):
    semantics = models.load(world["files"]["semantics"])
    text = Spliced(OpenClip(semantics, "cpu"), [f"species: {TOKEN} {SPECIES[0]}"], "a", (torch.zeros(()), 1.0))
    row, (ids,), (place,) = torch.randn(1, semantics.width), text.ids, text.places
    with spliced(semantics.tower.token_embedding, place, row):
        pooled = semantics.model.encode_text(ids)
    end = (ids[0] == ids.max()).nonzero()[0, 0]
    assert torch.allclose(
        pooled[0], text(row, torch.tensor([0]))[0][0, end] @ semantics.tower.text_projection, atol=1e-6
    )
    assert not torch.allclose(pooled, semantics.model.encode_text(ids))


def test_only_the_one_place_is_changed_and_only_inside_the_block(world):
    table = torch.nn.Embedding(9, 4)
    ids, place = torch.tensor([[1, 2, 2, 3]]), torch.tensor([[False, True, False, False]])
    row = torch.zeros(1, 4)
    with spliced(table, place, row):
        inside = table(ids)
    assert torch.equal(inside[0, 1], row[0])
    assert torch.equal(inside[~place], table.weight[[1, 2, 3]]) and torch.equal(table(ids), table.weight[ids])


@pytest.mark.parametrize("prompt, start", [
    pytest.param(f"species: {TOKEN} Rubra", "antidisestablishmentarian", id="several pieces"),
    pytest.param("species " * 30 + TOKEN, "a", id="cut before it"),
])  # fmt: skip
def test_a_token_without_a_place_is_refused(world, prompt, start):
    tower = OpenClip(models.load(world["files"]["semantics"]), "cpu")
    with pytest.raises(NoPlace, match="`start` of the method"):
        Spliced(tower, ["species: {token} x", prompt], start, (torch.zeros(()), 1.0))


# --- the gradient


def bits(lesson) -> dict[str, torch.Tensor]:
    parts = [lesson.backbone, lesson.judge, *lesson.text.tower.encoders]
    return {f"{n}.{name}": v.clone() for n, part in enumerate(parts) for name, v in part.state_dict().items()}


def test_an_update_moves_the_tokens_and_nothing_else(lesson):
    before, learning = bits(lesson), Learning(lesson)
    learning.advance(64, lambda images: None)
    assert all(torch.equal(value, before[name]) for name, value in bits(lesson).items())
    frozen = [*lesson.backbone.parameters(), *lesson.judge.parameters(), *lesson.text.tower.tower.parameters()]
    assert all(value.grad is None and not value.requires_grad for value in frozen)
    for token, first in zip(learning.tokens, lesson.text.first, strict=True):
        assert token.grad.abs().max() > 0 and (token - first).abs().max() > 0


def test_a_species_that_is_done_stays_where_it_is(lesson):
    learning = Learning(lesson)
    learning.advance(64, lambda images: None)
    learning.standing[1].done = True
    before = [token.detach().clone() for token in learning.tokens]
    learning.advance(64, lambda images: None)
    moved = [not torch.equal(token, old) for token, old in zip(learning.tokens, before, strict=True)]
    assert moved == [True, False, True, True, True]


@pytest.mark.parametrize("path", ["x0_random", "last"])
def test_the_gradient_is_the_finite_difference(world, path, monkeypatch):
    """In float64, from e* through text encoder, level module, denoising step, decoder and discriminator."""
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)  # with it diffusers pools text in float32 whatever
    lesson = prepared(**world["files"], cfg={**CFG, "gradient": path}, seed=7)
    for part in (lesson.backbone, lesson.judge, lesson.text.tower.tower):
        part.double()
    who = torch.tensor([0, 3])
    generator = torch.Generator().manual_seed(0)
    z = 0.5 * torch.randn(2, *lesson.backbone.latent_shape, generator=generator, dtype=torch.double)
    row = lesson.text.first[who].double().requires_grad_(True)
    until = torch.tensor([3, 3] if path == "last" else [1, 2])

    def loss(rows):
        return -lesson.log_chance(lesson.foreseen(z, until, lesson.condition(rows, who)), who)[0].sum()

    (gradient,) = torch.autograd.grad(loss(row), row)
    direction = torch.randn(row.shape, generator=generator, dtype=torch.double)
    h = 1e-8
    with torch.no_grad():
        difference = (loss(row + h * direction) - loss(row - h * direction)).item() / (2 * h)
    assert abs(difference) > 1e-8
    assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-4)


def test_many_at_once_are_one_at_a_time(lesson):
    gradients = []
    for at_once in (64, 3, 1):
        learning = Learning(lesson)
        losses = lesson.gradient(learning.tokens, range(5), 2, at_once)
        gradients.append((torch.stack([token.grad for token in learning.tokens]), torch.tensor(losses)))
    for gradient, losses in gradients[1:]:
        assert torch.allclose(gradient, gradients[0][0], rtol=1e-3, atol=1e-6 * gradients[0][0].abs().max())
        assert torch.allclose(losses, gradients[0][1], rtol=1e-4)


def test_long_gradients_are_shortened_after_the_backward_pass(lesson, monkeypatch):
    found = []
    for longest in (1e9, 1.0):
        monkeypatch.setattr(lessons, "LONGEST", longest)
        learning = Learning(lesson)
        lesson.gradient(learning.tokens, range(5), 0, 64)
        found.append(torch.stack([token.grad for token in learning.tokens]))
    length = found[0].norm(dim=1)
    assert length.max() > 1.0 > length.min()  # some are cut, some are not
    wanted = found[0] / found[0].norm(dim=1, keepdim=True).clamp(min=1.0)
    assert torch.allclose(found[1], wanted, rtol=1e-4, atol=1e-7)


def test_a_gradient_that_is_no_number_names_species_and_remedy(lesson, monkeypatch):
    honest = lessons.Lesson.log_chance

    def broken(self, images, who):
        log_chance, right = honest(self, images, who)
        return log_chance * torch.where(who == 2, float("nan"), 1.0), right

    monkeypatch.setattr(lessons.Lesson, "log_chance", broken)
    with pytest.raises(NotLearned, match=rf"dig_zsl.*{SPECIES[2]}.*update 0.*learning_rate"):
        Learning(lesson).advance(3, lambda images: None)


@pytest.mark.parametrize("temperature, loss, chance", [(1.0, 3.864, 0.021), (0.01, 0.285, 0.752)])
def test_without_a_temperature_the_loss_hardly_sees_the_lead(temperature, loss, chance):
    """Own cosine 0.30, 49 others 0.25: the figures of methods.md 4.4."""
    vector = torch.full((1, 50), 0.25)
    vector[0, 7] = 0.30
    judge = MagicMock(return_value=vector, prototypes=torch.eye(50))
    log_chance = chance_of(vector, judge, torch.arange(50), temperature)[0, 7]
    assert -log_chance.item() == pytest.approx(loss, abs=1e-2)
    assert log_chance.exp().item() == pytest.approx(chance, abs=1e-2)


# --- what is drawn


def noises(monkeypatch, lesson, calls):
    """Seeds of all noise that `calls` draw."""
    seeds, honest = [], lessons.initial_noise
    with monkeypatch.context() as patch:
        patch.setattr(lessons, "initial_noise", lambda s, shape: honest(seeds.extend(s) or s, shape))
        calls()
    return seeds


def test_every_update_draws_fresh_noise_and_every_look_the_same(lesson, monkeypatch):
    tokens = Learning(lesson).tokens
    first, second = (noises(monkeypatch, lesson, lambda u=u: lesson.gradient(tokens, [0, 1], u, 64)) for u in (0, 1))
    looks = [noises(monkeypatch, lesson, lambda n=n: lesson.look(tokens, [0, 1], n)) for n in (64, 1)]
    assert looks[0] == looks[1]
    assert len({*first, *second, *looks[0]}) == 4 + 4 + 4


def test_the_middle_step_differs_between_species_and_updates_and_is_never_the_first():
    for steps in (2, 3, 4, 8, 30):
        drawn = {middle(steps, 0, species, update) for species in "abcdef" for update in range(20)}
        assert drawn == set(range(max(1, steps // 4), max(max(1, steps // 4) + 1, 3 * steps // 4)))


def test_the_walk_is_the_samplers_path(lesson):
    """At any step for any image, against the loop that all methods draw through."""
    noise, z = lesson.backbone.native_scheduler(4), torch.randn(3, *lesson.backbone.latent_shape)
    condition = lesson.condition(lesson.text.first[:3], torch.arange(3)).detach()
    predict, path = lesson._predict(condition), []
    end = sample(predict, z, noise, watch=lambda step, z, prediction: path.append(z))
    there = walked(predict, z, noise, torch.tensor([0, 2, 3]))
    wanted = torch.stack([path[0][0], path[2][1], path[3][2]])
    assert torch.allclose(there, wanted, atol=1e-5)
    last = dataclasses.replace(lesson, cfg={**CFG, "gradient": "last"})
    foreseen = last.foreseen(path[3], torch.full((3,), 3), condition)
    assert torch.allclose(foreseen, lesson.backbone.images.decode(end), atol=1e-5)


def test_the_clean_image_is_foreseen_as_the_schedule_foresees_it(lesson):
    noise, z = lesson.backbone.native_scheduler(4), torch.randn(2, *lesson.backbone.latent_shape)
    condition = lesson.condition(lesson.text.first[:2], torch.arange(2)).detach()
    predict = lesson._predict(condition)
    for until in (1, 2):
        out = predict(z, noise.timesteps[until], 0.0, torch.arange(2))
        wanted = noise.step(out, noise.timesteps[until], z).pred_original_sample
        images = lesson.foreseen(z, torch.tensor([until, until]), condition)
        assert torch.allclose(images, lesson.backbone.images.decode(wanted), atol=1e-5)


# --- the stop rule


@pytest.mark.parametrize("shares, done, kept", [
    pytest.param([0.75], 1, 0, id="above the threshold at once"),
    pytest.param([0.5, 0.7, 0.8], 3, 2, id="the threshold itself is not above; the first above ends it"),
    pytest.param([0.5, 0.25, 0.5, 0.0], 4, 0, id="three looks without more"),
    pytest.param([0.0, 0.0, 0.25, 0.0, 0.25, 0.25], 6, 2, id="patience counts anew after a rise"),
])  # fmt: skip
def test_when_a_species_stops(shares, done, kept):
    """Threshold 0.7, patience 3; the number of looks, and the look whose token stays."""
    standing = Standing()
    for number, share in enumerate(shares):
        assert not standing.done
        standing.updates = number
        standing.looked(share, 0.5, 0.7, 3)
    assert standing.done and len(shares) == done and standing.kept == kept


def test_of_equally_recognised_tokens_the_more_probable_one_is_kept():
    standing = Standing()
    assert standing.looked(0.5, 0.2, 0.7, 9) and standing.looked(0.5, 0.3, 0.7, 9)
    assert not standing.looked(0.5, 0.3, 0.7, 9) and not standing.looked(0.25, 0.9, 0.7, 9)
    assert standing.stale == 3


def test_looks_go_on_until_recognised_and_the_best_token_is_the_one_that_is_saved(world, tmp_path, monkeypatch):
    """Species 0 is recognised at the second look; the others worsen, and keep the row they started from."""
    shares, asked = {0: [0.0, 1.0]}, []

    def look(self, tokens, learning, at_once, seen):
        asked.append(list(learning))
        return [(shares.get(place, [0.5, 0.0, 0.0])[len(asked) - 1], 0.1) for place in learning]

    monkeypatch.setattr(lessons.Lesson, "look", look)
    out = learned(world, tmp_path / "out", cfg={**CFG, "stop": 0.7, "patience": 2, "updates": 50})
    assert asked == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2, 3, 4]]
    facts = Prompts.load(out).facts
    assert facts[SPECIES[0]] == {"prompt": f"species: S* {SPECIES[0]}", "top1": 1.0, "updates": EVERY, "kept": EVERY}
    assert (facts[SPECIES[1]]["updates"], facts[SPECIES[1]]["kept"]) == (2 * EVERY, 0)
    rows, start = rows_of(out), prepared(**world["files"], cfg=CFG, seed=7).text.first[0]
    assert list(load_file(out / "tokens/Viridia_viridiata.safetensors")) == ["<taxaforge-viridia-viridiata>"]
    assert torch.equal(rows[1], start) and not torch.equal(rows[0], start)


LONGER = {**CFG, "updates": 9, "images": 4, "held_out": 8, "scale": 2.0}


def held_out(world, rows) -> float:
    """Mean probability of the own species in images drawn with token rows (S, D), by the honest discriminator."""
    lesson = prepared(**world["files"], cfg=LONGER, seed=7)
    return np.mean([chance for _, chance in lesson.look(rows, range(5), 64)])


def rows_of(out) -> list[torch.Tensor]:
    files = [out / "tokens" / f"{name.replace(' ', '_')}.safetensors" for name in SPECIES]
    return [next(iter(load_file(file).values())) for file in files]


def test_learning_makes_species_recognisable_unless_the_prototypes_are_shuffled(world, tmp_path):
    """From a word that says nothing. The control is taught the species' names at random, and must not come as far."""
    learned(world, tmp_path / "out", cfg=LONGER)
    cfg = {
        "epochs": 5,
        "width": 32,
        "learning_rate": 1e-3,
        "temperature": 0.05,
        "batch_size": 8,
        "prototypes": "shuffled",
    }
    shared = {name: world["files"][name] for name in ("semantics", "classes", "train")}
    train_discriminator(**shared, validation=None, cfg=cfg, seed=0, out=tmp_path / "wrong")
    files = {**world["files"], "discriminator": tmp_path / "wrong"}
    learned({"files": files}, tmp_path / "control", cfg=LONGER)
    before = held_out(world, prepared(**world["files"], cfg=CFG, seed=7).text.first)
    after, control = (held_out(world, rows_of(tmp_path / name)) for name in ("out", "control"))
    print("VALUES", before, after, control)
    assert after > before + 0.1
    assert after > control + 0.1


# --- the job


def test_the_folder_holds_prompts_tokens_and_history(whole):
    made = Prompts.load(whole)
    assert made.strings == [f"species: S* {name}" for name in SPECIES] and list(made.row) == sorted(SPECIES)
    assert made.tokens.shape == (5, 16, 32) and made.pooled is None
    lines = read_lines(whole / "history.jsonl")
    assert [line["update"] for line in lines if "top1" in line and line["species"] == SPECIES[0]] == [0, EVERY, 4]
    assert len([line for line in lines if "loss" in line]) == 4 * 5
    assert len(list((whole / "tokens").iterdir())) == 5


def test_the_same_settings_give_the_same_bytes_and_leave_the_random_state(world, whole, tmp_path):
    before = torch.random.get_rng_state()
    again = learned(world, tmp_path / "again", state_dir=tmp_path / "state")
    assert torch.equal(before, torch.random.get_rng_state())
    assert tree(again) == tree(whole)


@pytest.mark.parametrize("killed_at", [0, 2])
def test_a_killed_learning_goes_on_to_the_same_bytes(world, whole, tmp_path, monkeypatch, killed_at):
    updates, honest = [], lessons.Lesson.gradient

    def dying(self, tokens, learning, update, *rest):
        updates.append(update)
        if update == killed_at and updates.count(update) == 1:
            raise KeyboardInterrupt
        return honest(self, tokens, learning, update, *rest)

    monkeypatch.setattr(lessons.Lesson, "gradient", dying)
    with pytest.raises(KeyboardInterrupt):
        learned(world, tmp_path / "out", state_dir=tmp_path / "state")
    assert not (tmp_path / "out").exists()
    learned(world, tmp_path / "out", state_dir=tmp_path / "state")
    assert updates == [*range(killed_at + 1), *range(killed_at, 4)]  # what was made is not made again
    assert tree(tmp_path / "out") == tree(whole)


def test_a_signal_saves_and_leaves_with_a_sentence(world, whole, tmp_path, monkeypatch):
    honest = lessons.Lesson.gradient

    def interrupted(self, tokens, learning, update, *rest):
        if update == 1:
            signal.raise_signal(signal.SIGTERM)
        return honest(self, tokens, learning, update, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(lessons.Lesson, "gradient", interrupted)
        with pytest.raises(Stopped, match="update 2 of 4 is saved"):
            learned(world, tmp_path / "out", state_dir=tmp_path / "state")
    assert tree(learned(world, tmp_path / "out", state_dir=tmp_path / "state")) == tree(whole)


def test_progress_and_figures_are_told(world, tmp_path, capsys):
    told = []
    learned(world, tmp_path / "out", log=lambda *a: told.append(a), every_s=0, micro_batch=3)
    assert [step for step, _ in told] == [1, 2, 3, 4, None]
    assert told[0][1].keys() == {"loss", "learning", "top1"} and told[0][1]["learning"] == 5
    assert told[-1][1]["species"] == 5 and told[-1][1]["updates"] == 4
    assert "40/40 images (100%)" in capsys.readouterr().err.splitlines()[-1]


# --- unseen species


def test_only_unseen_species_learn_and_compete(world, tmp_path):
    cfg = {**CFG, "species": "unseen"}
    lesson = prepared(**world["files"], cfg=cfg, seed=7)
    assert lesson.species == UNSEEN and lesson.candidates.tolist() == [3, 4]
    learned(world, tmp_path / "out", cfg={**cfg, "updates": 1})
    assert list(Prompts.load(tmp_path / "out").row) == sorted(UNSEEN)


def test_a_single_unseen_species_competes_with_all(world, tmp_path):
    train = pack(tmp_path / "train.npy", np.arange(16) % 4, 32)
    cfg = {"epochs": 0, "width": 32, "learning_rate": 1e-3, "temperature": 0.05, "batch_size": 8, "prototypes": "name"}
    files = {**world["files"], "train": train, "discriminator": tmp_path / "judge"}
    shared = {name: files[name] for name in ("semantics", "classes", "train")}
    train_discriminator(**shared, validation=None, cfg=cfg, seed=0, out=tmp_path / "judge")
    lesson = prepared(**files, cfg={**CFG, "species": "unseen"}, seed=7)
    assert lesson.species == UNSEEN[1:] and len(lesson.candidates) == 5


def test_an_image_of_an_unseen_species_planted_into_training_is_found(world, tmp_path):
    planted = pack(tmp_path / "train.npy", [0, 1, 2, 3], 32)
    with pytest.raises(SeenInstead, match=rf"{SPECIES[3]} has images in the training pack"):
        prepared(**{**world["files"], "train": planted}, cfg=CFG, seed=7)


def test_without_an_unseen_species_there_is_nothing_to_learn(world, tmp_path):
    train = pack(tmp_path / "train.npy", np.arange(10) % 5, 32)
    cfg = {"epochs": 0, "width": 32, "learning_rate": 1e-3, "temperature": 0.05, "batch_size": 8, "prototypes": "name"}
    files = {**world["files"], "train": train, "discriminator": tmp_path / "judge"}
    shared = {name: files[name] for name in ("semantics", "classes", "train")}
    train_discriminator(**shared, validation=None, cfg=cfg, seed=0, out=tmp_path / "judge")
    with pytest.raises(NothingToLearn, match=r"Set `species: all` for dig_zsl"):
        prepared(**files, cfg={**CFG, "species": "unseen"}, seed=7)


# --- the method


def drawn(lesson, cfg, prompts, items) -> list[torch.Tensor]:
    aids = Aids(CLASSES, prompts=prompts)
    return [branch.tokens for branch in dig_zsl.recipe(lesson.backbone, items, cfg, aids).term(0.5)]


def test_the_condition_is_the_lineage_with_the_learned_prompt(lesson, whole):
    made, items = Prompts.load(whole), worklist(SPECIES, [1] * 5, "dig_zsl", 1)
    towards, away = drawn(lesson, CFG, made, items)
    assert torch.equal(towards, conditions(lesson.backbone, torch.arange(5), made, SPECIES))
    assert torch.equal(away, lesson.backbone.null(5))
    weights = dig_zsl.recipe(lesson.backbone, items, CFG, Aids(CLASSES, prompts=made)).term(0.5)
    assert [branch.weight[0].item() for branch in weights] == [1.5, -0.5]
    assert dig_zsl.notes(items[2], CFG, Aids(CLASSES, prompts=made)) == {
        "scale": 1.5,
        "prompt": f"species: S* {SPECIES[2]}",
    }


def test_what_was_learned_is_what_is_drawn(world, whole):
    """The kept rows, spliced in anew, give the condition of the saved prompts."""
    lesson = prepared(**world["files"], cfg=CFG, seed=7)
    with torch.no_grad():
        anew = lesson.condition(torch.stack(rows_of(whole)), torch.arange(5))
    assert torch.equal(drawn(lesson, CFG, Prompts.load(whole), worklist(SPECIES, [1] * 5, "x", 1))[0], anew)


def test_a_species_without_a_token_is_drawn_from_its_lineage_only_where_that_was_asked_for(lesson, whole):
    made, items = Prompts.load(whole), worklist(SPECIES, [1] * 5, "dig_zsl", 1)
    some = Prompts(made.strings, made.tokens, {name: made.row[name] for name in UNSEEN}, facts=made.facts)
    towards = drawn(lesson, {**CFG, "species": "unseen"}, some, items)[0]
    plain = lesson.backbone.condition(torch.arange(5), 1)
    assert torch.equal(towards[:3], plain[:3]) and not torch.allclose(towards[3:], plain[3:])
    assert dig_zsl.notes(items[0], {**CFG, "species": "unseen"}, Aids(CLASSES, prompts=some)) == {"scale": 1.5}
    with pytest.raises(NoPrompt, match=SPECIES[0]):
        drawn(lesson, CFG, some, items)


@pytest.mark.parametrize("which", ["classes of the pack", "classes of the discriminator"])
def test_other_classes_are_refused(world, tmp_path, which):
    data = Pack.load(world["files"]["train"])
    classes = tmp_path / "classes.json"
    write_json(classes, CLASSES[::-1])
    files = {**world["files"], "classes": classes}
    if which == "classes of the discriminator":
        Pack(data.pixels, SPECIES[::-1], data.identifier, data.label, data.group, data.caption).save(tmp_path / "t.npy")
        files["train"] = tmp_path / "t.npy"
    with pytest.raises(SeenInstead, match="training pack" if which == "classes of the pack" else "discriminator"):
        prepared(**files, cfg=CFG, seed=7)


# --- Stable Diffusion pipelines

BOUNDARY = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """CLIP's own tokeniser as a folder, from the vocabulary that open_clip ships."""
    from open_clip.tokenizer import SimpleTokenizer

    bpe, folder = SimpleTokenizer(), tmp_path_factory.mktemp("words")
    rows = {BOUNDARY.get(piece, piece): row for piece, row in bpe.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    merges = [" ".join(pair) for pair in bpe.bpe_ranks]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")
    return folder


def tokenizer(words, pad: str = "<|endoftext|>"):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(words, model_max_length=20, pad_token=pad)


def encoder_of(width: int, kind: str = "CLIPTextModel", **more):
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=49408, hidden_size=width, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=20, bos_token_id=49406, eos_token_id=49407, pad_token_id=49407, **more,
    )  # fmt: skip
    return getattr(transformers, kind)(config)


def unet_and_vae(width: int, **more):
    from diffusers import AutoencoderKL, UNet2DConditionModel

    down, up = ["CrossAttnDownBlock2D", "DownBlock2D"], ["UpBlock2D", "CrossAttnUpBlock2D"]
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=[8, 16], layers_per_block=1,
        cross_attention_dim=width, norm_num_groups=4, down_block_types=down, up_block_types=up, attention_head_dim=2, **more,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, block_out_channels=[8, 8],
        latent_channels=4, norm_num_groups=4, sample_size=16,
    )  # fmt: skip
    return unet, vae


BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture(scope="module")
def one_encoder(words, tmp_path_factory):
    """A random SD 1.x folder."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    folder = tmp_path_factory.mktemp("sd")
    torch.manual_seed(0)
    unet, vae = unet_and_vae(16)
    StableDiffusionPipeline(
        vae, encoder_of(16), tokenizer(words), unet, DDIMScheduler(**BETAS), None, None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def two_encoders(words, tmp_path_factory):
    """A random SDXL folder: widths 16 and 24, sentence vectors of 12."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline

    folder = tmp_path_factory.mktemp("sdxl")
    torch.manual_seed(1)
    embedded = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    unet, vae = unet_and_vae(40, **embedded, projection_class_embeddings_input_dim=12 + 6 * 8)
    second = encoder_of(24, "CLIPTextModelWithProjection", projection_dim=12)
    StableDiffusionXLPipeline(
        vae, encoder_of(16), second, tokenizer(words), tokenizer(words, "!"), unet, DDIMScheduler(**BETAS),
        add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module", params=["one_encoder", "two_encoders"])
def piped(request, world, tmp_path_factory) -> dict:
    """Arguments of `prepared` for a generator made of each pipeline."""
    folder, made = request.getfixturevalue(request.param), tmp_path_factory.mktemp("piped")
    texts, pipeline = made / "texts.safetensors", {"pretrained": str(folder), "revision": "main"}
    classes = world["files"]["classes"]
    run_texts.encode(classes=classes, levels=LEVELS[1:], backbone="stable-diffusion", out=texts, **pipeline)
    cfg = {**GENERATOR, **pipeline, "backbone": "stable-diffusion", "levels": LEVELS[1:], "steps": 1, "batch_size": 4}
    train = pack(made / "train.npy", np.arange(15) % 3, 16, seed=1)
    stages.train(
        stage="species", pack=train, texts=texts, cfg=cfg, seed=1, out=made / "model", state_dir=made / "state"
    )
    return {**world["files"], "model": made / "model", "texts": texts}


def test_a_pipeline_reads_the_learned_token_as_it_was_learned(piped, tmp_path):
    """The files go into the stock pipeline, whose new token id lies beyond the end token's: same states, same pooling."""
    from diffusers import DiffusionPipeline

    stock = DiffusionPipeline.from_pretrained(read_json(piped["model"] / "manifest.json")["pretrained"])
    learned({"files": piped}, tmp_path / "out", cfg={**CFG, "updates": 1, "steps": 2, "images": 1, "held_out": 1})
    made, name = Prompts.load(tmp_path / "out"), "<taxaforge-caerula-caerulata>"
    row = load_file(tmp_path / "out/tokens/Caerula_caerulata.safetensors")
    prompt = f"species: {name} {SPECIES[2]}"
    if made.pooled is None:
        stock.load_textual_inversion(tmp_path / "out/tokens/Caerula_caerulata.safetensors")
        wanted, pooled = stock.encode_prompt(prompt, "cpu", 1, False)[0], None
    else:
        stock.load_textual_inversion(row["clip_l"], name, text_encoder=stock.text_encoder, tokenizer=stock.tokenizer)
        second = {"text_encoder": stock.text_encoder_2, "tokenizer": stock.tokenizer_2}
        stock.load_textual_inversion(row["clip_g"], name, **second)
        wanted, _, pooled, _ = stock.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
    assert stock.tokenizer.convert_tokens_to_ids(name) > stock.tokenizer.eos_token_id
    place = made.row[SPECIES[2]]
    assert torch.allclose(made.tokens[place], wanted[0].float(), atol=1e-5)
    assert pooled is None or torch.allclose(made.pooled[place], pooled[0].float(), atol=1e-5)


def test_tokens_of_a_pipeline_move_alone_and_by_their_own_gradient(piped):
    lesson = prepared(**piped, cfg={**CFG, "steps": 2, "images": 1}, seed=7)
    before, learning = bits(lesson), Learning(lesson)
    learning.advance(64, lambda images: None)
    assert all(torch.equal(value, before[name]) for name, value in bits(lesson).items())
    widths = lesson.text.widths
    for token, first in zip(learning.tokens, lesson.text.first, strict=True):
        assert all((part != old).any() for part, old in zip(token.split(widths), first.split(widths), strict=True))


def test_the_row_of_a_word_says_what_the_word_says_to_a_pipeline(piped):
    lesson = prepared(**piped, cfg={**CFG, "steps": 2}, seed=7)
    tower, prompts = lesson.text.tower, [prompt.replace(TOKEN, "bird") for prompt in lesson.text.prompts]
    ids = tower.ids(["bird"])
    row = torch.cat([table(part[0, 1]) for table, part in zip(tower.tables.values(), ids, strict=True)])
    tokens, pooled = lesson.text(row.expand(5, -1), torch.arange(5))
    folder = read_json(piped["model"] / "manifest.json")["pretrained"]
    wanted, sentences = Encoder.opened(piped["texts"], "stable-diffusion", pretrained=folder).encode(prompts)
    assert torch.equal(tokens, wanted)
    assert pooled is None if sentences is None else torch.equal(pooled, sentences)
