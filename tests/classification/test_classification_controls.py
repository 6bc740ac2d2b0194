"""Every arm and every policy, trained: draws, steps, what is learned, and that it can be repeated."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from taxaforge.classification import arms, course, data, tuning
from taxaforge.classification.judge import subset
from taxaforge.classification.predict import load, predict
from taxaforge.classification.train import train
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines

STRONG = {"operations": 1, "magnitude": 3, "mixup_alpha": 0.2, "cutmix_alpha": 1.0, "blend_probability": 0.5}
EVERY = [*arms.ALONE, *(f"{kind}+m" for kind in arms.PACKS)]
POLICIES = [
    {"policy": "add", "ratio": 0.5}, {"policy": "replace", "probability": 0.4}, {"policy": "weight", "weight": 0.3},
    {"policy": "pretrain", "share": 0.5},
]  # fmt: skip
BUDGET = {"Aa bb": 10, "Cc dd": 10}


@pytest.fixture
def packs(toy_pack, tmp_path):
    for name, per_class in (("train", 12), ("validation", 6), ("generated", 8)):
        toy_pack(name, per_class).save(tmp_path / f"{name}.npy")
    return tmp_path


@pytest.fixture
def run(packs, cfg):
    def run(arm, name="a", **settings):
        train(
            real=packs / "train.npy", validation=packs / "validation.npy", arm=arm, seed=0,
            synthetic=[packs / "generated.npy"] if "+" in arm else [], budget=None if arm == "real" else BUDGET,
            cfg=cfg | {"strong": STRONG} | settings, out=packs / f"{name}.safetensors", out_history=packs / f"{name}.jsonl",
        )  # fmt: skip
        return packs / f"{name}.safetensors", read_lines(packs / f"{name}.jsonl")

    return run


@pytest.fixture
def planned(toy_pack):
    """The course of an arm, its draws, and the pool they are drawn from."""

    def plan(arm, mixing=None, generated=None, steps=33, **settings):
        packs = [toy_pack("train", 12)] + ([generated or toy_pack("generated", 8)] if "+" in arm else [])
        what, pool = arms.parse(arm), data.Pool(packs)
        trial = tuning.trials(what, mixing or tuning.PLAIN)[0]
        made = course.plan(
            what, trial, pool, steps, BUDGET, {"batch_size": 8, "augmentation": "standard"} | settings, 0
        )
        return made, made.sequence.ravel(), pool

    return plan


def counts(draws, pool):
    """Draws of (real, synthetic) images, a row a species."""
    synthetic, label = draws >= pool.n_real, pool.label[draws]
    return [[int(((label == c) & (synthetic == kind)).sum()) for kind in (False, True)] for c in (0, 1)]


@pytest.mark.parametrize(
    "arm, mixing, want",
    [
        pytest.param("real-equal-steps", None, [[132, 0], [132, 0]], id="equal steps"),
        pytest.param("logit-adjusted", None, [[132, 0], [132, 0]], id="logit adjustment"),
        pytest.param("strong-augmentation", None, [[132, 0], [132, 0]], id="strong"),
        pytest.param("balanced", None, [[132, 0], [132, 0]], id="balanced"),
        pytest.param("real-duplicated", None, [[132, 0], [132, 0]], id="duplicated"),
        pytest.param("synthetic+m", None, [[0, 132], [0, 132]], id="synthetic alone"),
        pytest.param("synthetic+m", {"policy": "weight", "weight": 0.3}, [[0, 132], [0, 132]], id="alone whatever the policy"),
        pytest.param("real+m", None, [[80, 53], [79, 52]], id="all"),
        pytest.param("random-drop+m", None, [[80, 53], [79, 52]], id="all of the control"),
        pytest.param("label-shuffled+m", None, [[80, 53], [79, 52]], id="all under other labels"),
        pytest.param("real+m", {"policy": "add", "ratio": 0.5}, [[88, 44], [88, 44]], id="one for two"),
        pytest.param("real+m", {"policy": "weight", "weight": 0.3}, [[80, 53], [79, 52]], id="weighted"),
        pytest.param("real+m", {"policy": "replace", "probability": 1.0}, [[0, 132], [0, 132]], id="all replaced"),
        pytest.param("real+m", {"policy": "pretrain", "share": 0.5}, [[68, 64], [68, 64]], id="first synthetic"),
    ],
)  # fmt: skip
def test_how_often_each_species_and_source_is_drawn(planned, arm, mixing, want):
    made, draws, pool = planned(arm, mixing)
    assert made.sequence.shape == (33, 8)
    assert np.abs(np.array(counts(draws, pool)) - want).max() <= 5  # the last pass is cut off
    assert sum(made.parts) == 33


@pytest.mark.parametrize(
    "arm, mixing",
    [(arm, None) for arm in EVERY if arm not in ("balanced", "real-duplicated")]  # these draw some more often
    + [("real+m", mixing) for mixing in POLICIES if mixing["policy"] != "replace"],
)
def test_arms_of_a_seed_meet_real_images_in_one_order(planned, arm, mixing):
    _, draws, pool = planned(arm, mixing)
    real = draws[draws < pool.n_real]
    assert np.array_equal(real, planned("real-equal-steps")[1][: len(real)])
    assert len(real) or arm == "synthetic+m"


def test_what_an_arm_does_besides_drawing(planned):
    courses = {arm: planned(arm)[0] for arm in EVERY}
    assert {arm for arm, made in courses.items() if made.offset is not None} == {"logit-adjusted"}
    assert {arm for arm, made in courses.items() if made.augmentation == "strong"} == {"strong-augmentation"}
    assert planned("strong-augmentation", augmentation="none")[0].augmentation == "strong"
    assert {made.weight for made in courses.values()} == {1.0}
    weighted, draws, pool = planned("real+m", {"policy": "weight", "weight": 0.3})
    want = np.where(draws[:8] >= pool.n_real, np.float32(0.3), np.float32(1))
    assert np.array_equal(weighted.weights(draws[:8], pool.n_real).numpy(), want)


def test_both_parts_of_a_pretraining_warm_up():
    made = course.Course(np.zeros((50, 8), int), "none", (20, 30))
    assert [made.place(step) for step in (1, 20, 21, 50)] == [(1, 20), (20, 20), (1, 30), (30, 30)]


def test_a_species_without_synthetic_images_is_named(planned, toy_pack, capsys):
    whole = toy_pack("generated", 8)
    half = subset(whole, np.arange(8))
    with pytest.raises(TaxaforgeError, match="no synthetic image of Cc dd"):
        planned("synthetic+m", generated=half)
    _, draws, pool = planned("real+m", {"policy": "replace", "probability": 1.0}, half)
    assert counts(draws, pool) == [[0, 132], [132, 0]]
    said = capsys.readouterr().out
    assert "no synthetic image of Cc dd" in said and "132 of 264 draws" in said


@pytest.mark.parametrize("arm", EVERY)
def test_every_arm_learns_makes_its_steps_and_leaves_random_states_alone(run, toy_pack, arm):
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    path, history = run(arm)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert history[-1]["step"] == (12 if arm == "real" else 24)
    fresh = toy_pack("fresh")
    right = (predict(load(path), fresh.pixels).argmax(1) == fresh.label).mean()
    assert right > (0.7 if arm == "label-shuffled+m" else 0.9)
    assert [line["chosen"] for line in history].count(True) == 1


@pytest.mark.parametrize("mixing", POLICIES, ids=lambda mixing: mixing["policy"])
def test_every_policy_learns_in_as_many_steps_and_is_written_down(run, toy_pack, mixing):
    path, history = run("real+m", mixing=mixing)
    fresh = toy_pack("fresh")
    assert (predict(load(path), fresh.pixels).argmax(1) == fresh.label).mean() > 0.9
    assert history[-1]["step"] == 24
    assert {line["mixing"] for line in history} == {f"{mixing['policy']}:{list(mixing.values())[1]:g}"}


def test_each_arm_is_a_training_of_its_own_and_equal_images_give_equal_weights(run, packs, toy_pack):
    subset(toy_pack("train", 12), np.arange(15)).save(packs / "train.npy")  # twelve of one species, three of the other
    learned = {arm: load_file(str(run(arm, epochs=1)[0]))["fc.weight"] for arm in EVERY}
    assert torch.equal(learned["real+m"], learned.pop("random-drop+m"))  # the same pack, named differently
    names = sorted(learned)
    same = [(a, b) for a in names for b in names if a < b and torch.equal(learned[a], learned[b])]
    assert same == []


@pytest.mark.parametrize("weight, matters", [(1e-9, False), (1.0, True)])
def test_labels_of_images_without_weight_do_not_matter(run, packs, toy_pack, weight, matters):
    mixing, right = {"policy": "weight", "weight": weight}, toy_pack("generated", 8)
    first = load_file(str(run("real+m", "a", mixing=mixing, epochs=1)[0]))["fc.weight"]
    replace(right, label=1 - right.label).save(packs / "generated.npy")
    second = load_file(str(run("real+m", "b", mixing=mixing, epochs=1)[0]))["fc.weight"]
    assert ((first - second).abs().max() > 3e-3) == matters  # AdamW makes 1e-4 of the rounding


def test_after_a_pretraining_the_learning_rate_starts_anew(run):
    _, history = run("real+m", mixing={"policy": "pretrain", "share": 0.5})
    rates = {line["step"]: line["learning_rate"] for line in history}
    assert rates[12] < 0.1 * rates[2] and rates[14] > 0.9 * rates[2] and rates[24] < 0.1 * rates[2]


@pytest.mark.parametrize("arm", ["strong-augmentation", "label-shuffled+m", "balanced"])
def test_the_same_training_twice_gives_the_same_bytes(run, packs, arm):
    first, _ = run(arm, "a", epochs=1)
    second, _ = run(arm, "b", epochs=1)
    assert first.read_bytes() == second.read_bytes()
    assert (packs / "a.jsonl").read_bytes() == (packs / "b.jsonl").read_bytes()


@pytest.mark.parametrize("mixing", POLICIES, ids=lambda mixing: mixing["policy"])
def test_mixtures_of_species_are_learned_under_every_policy_and_blended(run, packs, toy_pack, mixing):
    whole = toy_pack("generated", 8)
    other, share = np.full(16, -1), np.ones(16)
    other[:8], share[:8] = 1, 0.5
    plain, _ = run("real+m", "a", mixing=mixing, augmentation="strong", epochs=1)
    replace(whole, other=other, share=share).save(packs / "generated.npy")
    soft, _ = run("real+m", "b", mixing=mixing, augmentation="strong", epochs=1)
    assert not torch.equal(load_file(str(plain))["fc.weight"], load_file(str(soft))["fc.weight"])


def test_auto_takes_the_mixing_that_validation_likes_best(run, packs, toy_pack):
    """The generated images are under wrong labels, so whatever ignores most of them must win."""
    wrong = toy_pack("generated", 8)
    replace(wrong, label=1 - wrong.label).save(packs / "generated.npy")
    candidates = ["replace:1", "weight:0.0001", "pretrain:0.9"]
    path, history = run("real+m", mixing={"policy": "auto", "candidates": candidates})
    tried = tuning.summary(history)
    assert [line["mixing"] for line in tried] == candidates
    assert [line["mixing"] for line in tried if line["chosen"]] == ["weight:0.0001"]
    best = max(tried, key=lambda line: line["validation_accuracy"])
    assert best["chosen"] and tried[0]["validation_accuracy"] <= 0.5
    fresh = toy_pack("fresh")
    assert (predict(load(path), fresh.pixels).argmax(1) == fresh.label).mean() > 0.9


def test_auto_gives_arms_without_a_mixing_as_many_trials_of_as_many_steps(run):
    mixing = {"policy": "auto", "candidates": ["add:0", "weight:0.5"], "learning_rate_factors": [1e-6, 1.0]}
    tried = {arm: tuning.summary(run(arm, mixing=mixing)[1]) for arm in ("real-equal-steps", "real+m", "synthetic+m")}
    assert {tuple(line["steps"] for line in lines) for lines in tried.values()} == {(24, 24)}
    assert [line["rate_factor"] for line in tried["real-equal-steps"]] == [1e-6, 1.0]
    assert [line["chosen"] for line in tried["real-equal-steps"]] == [False, True]  # no learning at a millionth
