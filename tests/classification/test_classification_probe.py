"""A linear probe is the solution of a convex problem; an arm enters through what it draws."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

from taxaforge.classification import arms, data, embeddings, frozen, model, probe, sampling
from taxaforge.classification.course import plan, pool_of
from taxaforge.classification.predict import features, load, predict
from taxaforge.classification.tuning import Trial
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines
from taxaforge.packs import Pack


def made(seed=0, n=80, d=12, classes=3, soft=False):
    """Features of unlike scales and classes that overlap; weights of 0 to 3."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=n)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + rng.normal(size=d) * 5
    x[:, :classes] += 1.5 * np.eye(classes)[label] * x[:, :classes].std(0)
    target = torch.from_numpy(np.eye(classes)[label])
    if soft:
        target = 0.7 * target + 0.3 * torch.from_numpy(np.eye(classes)[rng.integers(classes, size=n)])
    return x.astype(np.float32), label, target, rng.integers(4, size=(n, 1)).astype(float)


def reference(x, target, weight, decay):
    """scikit-learn's solution of the same problem: every class of a soft target is an image of its own."""
    classes, weight = target.shape[1], weight / weight.sum()
    mean = weight @ x
    scale = np.sqrt(weight @ (x - mean) ** 2)
    z, y = np.repeat((x - mean) / scale, classes, 0), np.tile(np.arange(classes), len(x))
    each = (target.numpy() * weight[:, None]).ravel()
    found = LogisticRegression(C=1 / decay, tol=1e-8, solver="newton-cg", max_iter=1000)
    found.fit(z[each > 0], y[each > 0], each[each > 0])
    return lambda new: found.predict_proba((new - mean) / scale)


@pytest.mark.parametrize("tolerance, near", [(probe.TOLERANCE, 5e-3), (1e-8, 1e-4)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("d", [12, 150], ids=["more images than features", "fewer"])
@pytest.mark.parametrize("decay", [1.0, 1e-2, 1e-3])
def test_the_probe_is_the_weighted_logistic_regression_of_scikit_learn(decay, d, soft, tolerance, near, monkeypatch):
    monkeypatch.setattr(probe, "TOLERANCE", tolerance)
    x, _, target, weight = made(soft=soft, d=d)
    new, label, *_ = made(seed=1, d=d)
    found = probe.fit(probe.rows_of([x], target, weight), new, label, [decay])
    said = torch.softmax(torch.from_numpy(new).double() @ found.weight.T + found.bias, 1).numpy()
    assert np.abs(said - reference(x.astype(float), target, weight[:, 0], decay)(new)).max() < near
    assert found.history[0]["gradient"] <= 10 * tolerance


def test_the_gradient_at_the_solution_is_nothing_also_with_a_prior():
    """Logit adjustment: the prior is in the training alone. Checked in numpy against the formula."""
    x, label, target, weight = made()
    prior, p = torch.tensor([0.1, -1.0, 2.0]), weight[:, 0] / weight.sum()
    found = probe.fit(probe.rows_of([x], target, weight), x, label, [0.1], prior)
    mean = p @ x
    scale = np.sqrt(p @ (x - mean) ** 2)
    z, w = (x - mean) / scale, found.weight.numpy() * scale
    logits = z @ w.T + found.bias.numpy() + found.weight.numpy() @ mean + prior.numpy()
    q = np.exp(logits - logits.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    wrong = (q - target.numpy()) * p[:, None]
    assert np.abs(wrong.T @ z + 0.1 * w).max() < 1e-4 and np.abs(wrong.sum(0)).max() < 1e-4
    entropy = -(p * np.log((q * target.numpy()).sum(1))).sum()
    assert found.history[0]["loss"] == pytest.approx(entropy, rel=1e-6)


def test_starting_from_a_neighbour_leads_to_the_same_solution():
    x, label, target, weight = made()
    rows = probe.rows_of([x], target, weight)
    alone = probe.fit(rows, x, label, [1e-3])
    after = probe.fit(rows, x, label, [1e-3, 1.0, 0.03])
    assert [line["weight_decay"] for line in after.history] == [1.0, 0.03, 1e-3]
    if after.history[-1]["best"]:
        assert torch.allclose(alone.weight, after.weight, atol=1e-3)
    assert alone.history[0]["validation_nll"] == pytest.approx(after.history[-1]["validation_nll"], rel=1e-4)


def test_validation_chooses_the_decay_and_the_stronger_of_equals(monkeypatch):
    x, label, target, weight = made()
    rows, names = probe.rows_of([x], target, weight), ("validation_accuracy", "validation_nll")
    wanted = probe.fit(rows, x, label, [0.01])
    liked = iter([(0.5, 0.1), (0.9, 2.0), (0.9, 1.0), (0.9, 1.0)])
    monkeypatch.setattr(probe, "judged", lambda *_: dict(zip(names, next(liked), strict=True)))
    found = probe.fit(rows, x, label, [1e-3, 1e-2, 1.0, 0.1])
    assert [line["best"] for line in found.history] == [True, True, True, False]
    assert torch.allclose(found.weight, wanted.weight, rtol=1e-3, atol=1e-5)


def test_only_proportions_of_weights_count_and_rows_without_one_are_left_out():
    x, label, target, weight = made()
    one = probe.fit(probe.rows_of([x], target, weight), x, label, [0.1])
    kept = np.flatnonzero(weight[:, 0])
    other = probe.fit(probe.rows_of([x[kept]], target[kept], 5 * weight[kept]), x, label, [0.1])
    assert torch.allclose(one.weight, other.weight, atol=1e-6) and torch.allclose(one.bias, other.bias, atol=1e-5)


def test_a_feature_that_never_changes_gets_no_weight():
    x, label, target, weight = made()
    x[:, 5] = 3.0
    x[:, 6] = x[:, 7]  # and two that say the same share theirs
    found = probe.fit(probe.rows_of([x], target, weight), x, label, [1e-3])
    assert torch.allclose(found.weight[:, 6], found.weight[:, 7], rtol=1e-6)
    assert (found.weight[:, 5] == 0).all() and found.weight.isfinite().all() and found.bias.isfinite().all()


def test_single_precision_is_used_for_what_would_not_fit_and_says_nearly_the_same(monkeypatch):
    x, label, target, weight = made()
    double = probe.fit(probe.rows_of([x], target, weight), x, label, [0.1])
    monkeypatch.setattr(probe, "PRECISE", 10)
    rows = probe.rows_of([x], target, weight)
    single = probe.fit(rows, x, label, [0.1])
    assert rows.x.dtype == torch.float32
    assert torch.allclose(double.weight, single.weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("decays", [[], [0.0, 1.0], [-1.0]])
def test_a_decay_that_leaves_no_solution_is_refused(decays):
    x, label, target, weight = made()
    with pytest.raises(TaxaforgeError, match=r"probe\.weight_decay"):
        probe.fit(probe.rows_of([x], target, weight), x, label, decays)


def test_no_image_to_learn_from_is_said():
    x, _, target, weight = made()
    with pytest.raises(TaxaforgeError, match="no image to learn from"):
        probe.rows_of([x], target, 0 * weight)


def test_looks_are_drawn_evenly_and_belong_to_image_draw_and_seed():
    draws = np.concatenate([np.arange(50)] * 40)
    names = [f"i{i}" for i in range(50)]
    counts = probe.draws_of_looks(draws, names, 4, seed=1)
    assert (counts.sum(1) == 40).all() and np.abs(counts.mean(0) - 10).max() < 1.5
    assert not np.array_equal(counts, probe.draws_of_looks(draws, names, 4, seed=2))
    # Fewer draws are the first of the same draws, and other images do not disturb them.
    fewer = probe.draws_of_looks(draws[: 50 * 7], names, 4, seed=1)
    assert (fewer <= counts).all() and (fewer.sum(1) == 7).all()
    alone = probe.draws_of_looks(np.full(40, 3), names, 4, seed=1)
    assert np.array_equal(alone[3], counts[3]) and alone.sum() == 40
    assert probe.draws_of_looks(draws, names, 1, seed=1).tolist() == [[40]] * 50


# ---------------------------------------------------------------- the whole probe of an arm


@pytest.fixture
def settings(cfg):
    return cfg | {"probe": {"views": 2, "weight_decay": [0.1, 0.01]}}


@pytest.fixture
def packs(toy_pack, tmp_path):
    for name, per_class in (("train", 12), ("validation", 6), ("generated", 8)):
        toy_pack(name, per_class).save(tmp_path / f"{name}.npy")
    return tmp_path


def run(packs, settings, arm="real", name="a", seed=0, **more):
    asked = {
        "real": packs / "train.npy",
        "validation": packs / "validation.npy",
        "synthetic": [packs / "generated.npy"] if "+" in arm else [],
        "budget": None if arm == "real" else {"Aa bb": 8, "Cc dd": 8},
        "cache": packs / "cache",
    }
    out = {"out": packs / f"{name}.safetensors", "out_history": packs / f"{name}.jsonl"}
    frozen.train_probe(**{**asked, **more}, arm=arm, cfg=settings, seed=seed, **out)
    return out["out"], read_lines(out["out_history"])


def test_a_saved_probe_says_of_pictures_what_its_solution_says_of_features(packs, settings, toy_pack, monkeypatch):
    found = []
    crowned = probe.crowned
    monkeypatch.setattr(probe, "crowned", lambda *given: (found.append(given[1]), crowned(*given)))
    classifier = load(run(packs, settings, "real+m")[0])
    fresh = toy_pack("fresh", 10)
    logits = torch.from_numpy(features(classifier, fresh.pixels)) @ found[0].weight.T + found[0].bias
    said = predict(classifier, fresh.pixels)
    assert np.abs(said - logits.softmax(1).numpy()).max() < 1e-5
    assert (said.argmax(1) == fresh.label).mean() > 0.9


def test_the_backbone_is_the_one_that_was_given(packs, settings):
    path, _ = run(packs, settings)
    tensors, fresh = load_file(path), model.create("test_resnet", ["a", "b"], 16)
    assert set(tensors) == set(fresh.net.state_dict())
    twin = load_file(run(packs, settings, "real+m", "b")[0])
    assert all(torch.equal(tensors[key], twin[key]) for key in tensors if not key.startswith("fc."))
    assert not torch.equal(tensors["fc.weight"], twin["fc.weight"])


def test_the_same_call_writes_the_same_bytes_with_or_without_kept_features(packs, settings):
    first, _ = run(packs, settings, "real+m", "a")
    second, _ = run(packs, settings, "real+m", "b")
    third, _ = run(packs, settings, "real+m", "c", cache=packs / "elsewhere")
    other, _ = run(packs, settings, "real+m", "d", seed=1)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes() != other.read_bytes()
    assert (packs / "a.jsonl").read_bytes() == (packs / "b.jsonl").read_bytes()


def test_seeds_and_arms_share_features_where_the_backbone_has_weights(packs, settings, tmp_path, monkeypatch):
    weights = tmp_path / "w.safetensors"
    state = model.create("test_resnet", ["x"] * 5, 32, seed=9).net.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, weights)
    settings = settings | {"weights": str(weights)}
    run(packs, settings, "real+m", "a")
    monkeypatch.setattr(embeddings, "compute", None)  # whoever calls it fails
    for number, arm in enumerate(("real", "real-equal-steps", "balanced", "label-shuffled+m", "random-drop+m")):
        run(packs, settings, arm, f"b{number}", seed=number)


def test_an_arm_is_learned_in_proportion_to_its_draws(packs, settings, monkeypatch):
    """Against the same classifier trained, in scikit-learn, on a list of all draws of the course, one by one."""
    settings = settings | {
        "augmentation": "none",
        "probe": {"views": 3, "weight_decay": [0.05]},
        "label_smoothing": 0.0,
    }
    path, history = run(packs, settings, "balanced")
    pool = data.Pool([Pack.load(packs / "train.npy")])
    what = arms.parse("balanced")
    steps = arms.steps(what, 24, {"Aa bb": 8, "Cc dd": 8}, 4, 8)
    draws = plan(what, Trial(), pool, steps, None, settings, 0).sequence.ravel()
    assert history[0]["images"] == len(draws)
    classifier = load(path)
    x = features(classifier, pool.pixels(draws))
    mean, scale = x.mean(0), x.std(0)
    keep = scale > 1e-6 * scale.max()

    def standard(x):
        return (x - mean)[:, keep] / scale[keep]

    # With two classes scikit-learn has one vector of weights, twice as long as each of ours.
    wanted = LogisticRegression(C=2 / 0.05 / len(draws), tol=1e-10, max_iter=10_000).fit(standard(x), pool.label[draws])
    seen = Pack.load(packs / "validation.npy").pixels
    said = wanted.predict_proba(standard(features(classifier, seen)))
    assert np.abs(predict(classifier, seen) - said).max() < 1e-3


def test_synthetic_alone_never_looks_at_real_training_images(packs, settings, monkeypatch):
    looked, embedded = [], embeddings.embedded

    def watched(classifier, pack, *rest, **more):
        looked.append(pack.identifier[0].split("-")[0])
        return embedded(classifier, pack, *rest, **more)

    monkeypatch.setattr(embeddings, "embedded", watched)
    run(packs, settings, "synthetic+m")
    assert looked == ["validation", "generated"]


def test_shuffled_labels_teach_nothing_that_holds(packs, settings, toy_pack):
    toy_pack("generated", 60).save(packs / "generated.npy")
    sound, _ = run(packs, settings, "synthetic+m", "a", budget={"Aa bb": 60, "Cc dd": 60})
    monkey = sampling.shuffled(Pack.load(packs / "generated.npy"), 5)
    monkey.save(packs / "generated.npy")
    shuffled, _ = run(packs, settings, "synthetic+m", "b", budget={"Aa bb": 60, "Cc dd": 60})
    fresh = toy_pack("fresh", 30)
    right = [(predict(load(path), fresh.pixels).argmax(1) == fresh.label).mean() for path in (sound, shuffled)]
    assert right[0] > 0.95 > 0.85 > right[1]


def test_trials_multiply_the_decays_of_arms_that_mix_nothing(packs, settings):
    mixing = {"policy": "auto", "candidates": ["add:0", "weight:0.3"], "learning_rate_factors": [1.0, 10.0]}
    _, alone = run(packs, settings | {"mixing": mixing}, "real", "a")
    _, mixed = run(packs, settings | {"mixing": mixing}, "real+m", "b")
    assert [line["trial"] for line in alone] == [line["trial"] for line in mixed] == [1, 1, 2, 2]
    assert [line["weight_decay"] for line in alone] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert [line["mixing"] for line in mixed] == ["add:0"] * 2 + ["weight:0.3"] * 2
    for history in (alone, mixed):
        (chosen,) = [line for line in history if line["chosen"]]
        assert chosen["validation_accuracy"] == max(line["validation_accuracy"] for line in history)


def test_an_arm_without_its_images_or_without_validation_is_refused(packs, settings, toy_pack):
    with pytest.raises(TaxaforgeError, match="Did the filter drop all"):
        run(packs, settings, "real+m", synthetic=[])
    with pytest.raises(TaxaforgeError, match="takes no synthetic"):
        run(packs, settings, "real", synthetic=[packs / "generated.npy"])
    toy_pack("validation", 0).save(packs / "validation.npy")
    with pytest.raises(TaxaforgeError, match="one of the packs is empty"):
        run(packs, settings)


def test_a_network_without_a_linear_head_is_refused(packs, settings, monkeypatch):
    import timm

    create = timm.create_model

    def scaled(*given, **more):
        net = create(*given, **more)
        forward = net.forward_head
        net.forward_head = lambda x, pre_logits=False: forward(x, pre_logits) * (1 if pre_logits else 2)
        return net

    monkeypatch.setattr(timm, "create_model", scaled)
    with pytest.raises(TaxaforgeError, match="does not end in one linear layer"):
        run(packs, settings)


def test_the_curve_has_a_line_a_decay_without_clock_times(packs, settings):
    _, history = run(packs, settings)
    assert [line["step"] for line in history] == [1, 2] and sum(line["chosen"] for line in history) == 1
    assert set(history[0]) == {
        "step", "weight_decay", "loss", "iterations", "gradient", "validation_accuracy", "validation_nll", "best", "images",
        "trial", "mixing", "rate_factor", "chosen",
    }  # fmt: skip
    assert json.dumps(history)


def test_a_loss_weight_of_synthetic_images_is_a_share_of_the_rows(packs, settings):
    pool = pool_of(arms.parse("real+m"), packs / "train.npy", [packs / "generated.npy"], 0)
    classifier = model.create("test_resnet", pool.classes, 16)
    shares = []
    for trial in (Trial("add", 0.0), Trial("weight", 0.25)):
        course = plan(arms.parse("real+m"), trial, pool, 10, None, settings, 0)
        rows = frozen.learned(classifier, pool, course, settings, 0, packs / "cache")
        drawn = np.array([1.0, trial.number or 1.0]) * [(course.sequence < 24).sum(), (course.sequence >= 24).sum()]
        real = embeddings.embedded(classifier, pool.packs[0], range(3), packs / "cache")
        known = {row.tobytes() for look in real for row in look.astype(np.float64)}
        own = np.array([row.tobytes() in known for row in rows.x.numpy()])
        shares.append(rows.share.numpy()[own].sum())
        assert shares[-1] == pytest.approx(drawn[0] / drawn.sum())
    assert shares[0] < shares[1]


def test_a_prior_is_in_the_training_of_the_adjusted_arm_alone(packs, settings, toy_pack):
    whole = toy_pack("train", 24)
    few = np.r_[:24, 24:27]
    Pack(
        whole.pixels[few], whole.classes, [whole.identifier[i] for i in few], whole.label[few],
        [whole.group[i] for i in few], [""] * len(few),
    ).save(packs / "train.npy")  # fmt: skip
    settings = settings | {"probe": {"views": 0, "weight_decay": [3.0]}}
    grey = np.full((1, 16, 16, 3), 90, np.uint8)
    rare = {
        arm: predict(load(run(packs, settings, arm, arm)[0]), grey)[0, 1]
        for arm in ("real-equal-steps", "logit-adjusted")
    }
    assert rare["logit-adjusted"] > rare["real-equal-steps"] + 0.1
