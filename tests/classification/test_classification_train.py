import json

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from taxaforge.classification import augmentation, data, judge, model
from taxaforge.classification.course import Course
from taxaforge.classification.predict import features, load, predict
from taxaforge.classification.train import fit, schedule, train
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, read_lines
from taxaforge.packs import Pack
from taxaforge.progress import Progress


@pytest.fixture
def packs(toy_pack, tmp_path):
    for name, per_class in (("train", 12), ("validation", 6), ("generated", 8)):
        toy_pack(name, per_class).save(tmp_path / f"{name}.npy")
    return tmp_path


def run(packs, cfg, arm="real", name="a", seed=0, log=lambda step, values: None):
    train(
        real=packs / "train.npy",
        validation=packs / "validation.npy",
        synthetic=[packs / "generated.npy"] if "+" in arm else [],
        arm=arm,
        budget=None if arm == "real" else {"Aa bb": 4, "Cc dd": 16},
        cfg=cfg,
        seed=seed,
        out=packs / f"{name}.safetensors",
        out_history=packs / f"{name}.jsonl",
        log=log,
    )
    return packs / f"{name}.safetensors", read_lines(packs / f"{name}.jsonl")


def twenty(cfg):
    """A course of twenty steps over 24 real images."""
    size = cfg["batch_size"]
    return Course(data.order(24, 0, 20 * size, seed=0).reshape(20, size), cfg["augmentation"], (20,))


def test_it_learns_a_separable_set_and_the_saved_file_predicts_fresh_images(packs, cfg, toy_pack):
    logged = []
    path, history = run(packs, cfg, log=lambda step, values: logged.append((step, values)))
    fresh = toy_pack("fresh")
    probability = predict(load(path), fresh.pixels)
    assert (probability.argmax(1) == fresh.label).mean() > 0.9
    assert np.allclose(probability.sum(1), 1) and probability.dtype == np.float64
    assert history[-1]["loss"] < history[0]["loss"]
    assert [step for step, _ in logged] == [line["step"] for line in history] + [None]
    assert logged[-1][1]["steps"] == history[-1]["step"] == 4 * 3


def test_the_same_call_writes_the_same_bytes_and_another_seed_does_not(packs, cfg):
    torch.manual_seed(1)
    first, _ = run(packs, cfg, "real+m", "a")
    after = torch.rand(1)
    torch.manual_seed(2)
    second, _ = run(packs, cfg, "real+m", "b")
    other, _ = run(packs, cfg, "real+m", "c", seed=1)
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    assert (packs / "a.jsonl").read_bytes() == (packs / "b.jsonl").read_bytes()
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)  # the global random state is left alone


def test_equal_steps_whatever_the_filter_dropped(packs, cfg, toy_pack):
    _, full = run(packs, cfg, "real+m", "a")
    toy_pack("generated", per_class=1).save(packs / "generated.npy")
    _, dropped = run(packs, cfg, "real+m", "b")
    _, lottery = run(packs, cfg, "random-drop+m", "d")
    _, control = run(packs, cfg, "real-equal-steps", "c")
    assert {history[-1]["step"] for history in (full, dropped, lottery, control)} == {4 * 6}


@pytest.mark.parametrize(
    "nll, best",
    [
        pytest.param([1.0] * 10, 3, id="first of the most accurate"),
        pytest.param([1.0] * 5 + [0.5] * 5, 5, id="surer of two that are equally accurate"),
    ],
)
def test_the_weights_returned_are_those_that_validation_liked_best(packs, cfg, monkeypatch, nll, best):
    """Validation is made to like the fourth and sixth look best: their weights, not the last ones."""
    from taxaforge.classification import train as module

    seen, liked = [], [0.2, 0.4, 0.5, 0.9, 0.6, 0.9, 0.1, 0.3, 0.2, 0.2]

    def look(probability, label):
        seen.append({key: value.clone() for key, value in classifier.net.state_dict().items()})
        return {"validation_accuracy": liked[len(seen) - 1], "validation_nll": nll[len(seen) - 1]}

    monkeypatch.setattr(module, "judged", look)
    pool = data.Pool([Pack.load(packs / "train.npy")])
    classifier = model.create("test_resnet", pool.classes, 16)
    progress = Progress("toy", 20, "steps")
    state, history = fit(
        classifier, pool, Pack.load(packs / "validation.npy"), twenty(cfg), cfg, 0, progress, lambda s, v: None
    )
    assert len(seen) == 10
    assert all(torch.equal(state[key], seen[best][key]) for key in state)
    assert not torch.equal(state["fc.weight"], seen[9]["fc.weight"])
    assert [i for i, line in enumerate(history) if line["best"]][-1] == best


def test_arms_of_one_seed_start_from_the_same_weights_and_other_seeds_do_not(packs, cfg):
    still = cfg | {"learning_rate": 1e-12, "epochs": 1}
    arms = [("real", "a", 0), ("real+m", "b", 0), ("real", "c", 1)]
    one, two, other = (
        load_file(str(run(packs, still, arm, name, seed)[0]))["conv1.0.weight"] for arm, name, seed in arms
    )
    assert torch.allclose(one, two, atol=1e-6) and not torch.allclose(one, other, atol=1e-2)


def test_looking_at_validation_does_not_leave_the_network_in_evaluation_mode(packs, cfg):
    pool, modes = data.Pool([Pack.load(packs / "train.npy")]), []
    classifier = model.create("test_resnet", pool.classes, 16)
    classifier.net.register_forward_pre_hook(lambda net, _: modes.append((net.training, torch.is_grad_enabled())))
    progress = Progress("toy", 20, "steps")
    fit(classifier, pool, Pack.load(packs / "validation.npy"), twenty(cfg), cfg, 0, progress, lambda s, v: None)
    assert modes.count((True, True)) == 20 and set(modes) == {(True, True), (False, False)}


def test_train_saves_the_weights_that_fit_returned(packs, cfg, monkeypatch):
    from taxaforge.classification import train as module

    def early(classifier, *rest):
        state, history = fit(classifier, *rest)
        return {key: torch.zeros_like(value) for key, value in state.items()}, history

    monkeypatch.setattr(module, "fit", early)
    assert all((value == 0).all() for value in load_file(str(run(packs, cfg)[0])).values())


def test_the_file_has_timm_layout_and_says_how_to_prepare_pictures(packs, cfg):
    path, _ = run(packs, cfg)
    with safe_open(str(path), "pt") as file:
        header = json.loads(file.metadata()["taxaforge"])
    assert header == {
        "model": "test_resnet",
        "classes": ["Aa bb", "Cc dd"],
        "image_size": 16,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    timm.create_model("test_resnet", num_classes=2).load_state_dict(load_file(str(path)))


def test_features_are_what_the_head_sees(packs, cfg, toy_pack):
    classifier = load(run(packs, cfg)[0])
    pixels = toy_pack("fresh", 3).pixels
    with torch.inference_mode():
        logits = classifier.net.fc(torch.tensor(features(classifier, pixels)).float())
    assert np.allclose(logits.double().softmax(1).numpy(), predict(classifier, pixels), atol=1e-6)


def test_images_of_another_size_are_resized_to_what_the_classifier_wants(packs, cfg, toy_pack):
    classifier = load(run(packs, cfg)[0])
    large = toy_pack("large", 4, size=48)
    assert (predict(classifier, large.pixels).argmax(1) == large.label).mean() > 0.9


def test_an_arm_gets_exactly_the_kind_of_images_it_names(packs, cfg, toy_pack):
    toy_pack("generated", per_class=0).save(packs / "generated.npy")
    with pytest.raises(TaxaforgeError, match="Did the filter drop all"):
        run(packs, cfg, "real+m")
    arguments = {"real": packs / "train.npy", "validation": packs / "validation.npy", "cfg": cfg, "seed": 0}
    outputs = {"out": packs / "x", "out_history": packs / "y"}
    with pytest.raises(TaxaforgeError, match="takes no synthetic"):
        train(synthetic=[packs / "validation.npy"], arm="real", budget=None, **arguments, **outputs)


def test_a_loss_that_explodes_names_the_setting(packs, cfg):
    with pytest.raises(TaxaforgeError, match="learning_rate"):
        run(packs, cfg | {"learning_rate": 1e30, "augmentation": "none"})


def test_the_rate_warms_up_and_comes_back_to_nearly_nothing():
    rates = [schedule(step, 100) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[4] == 1 and 0 < rates[-1] < 0.001
    assert schedule(1, 1) == 1


def test_augmentation_keeps_range_and_shape_and_differs_between_images():
    x = torch.rand(1, 3, 16, 16).expand(6, -1, -1, -1).contiguous()
    y = augmentation.standard(x, torch.Generator().manual_seed(0))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert not torch.equal(y[0], y[1])
    assert torch.equal(y, augmentation.standard(x, torch.Generator().manual_seed(0)))


def test_an_unknown_model_is_answered_with_close_names():
    with pytest.raises(TaxaforgeError, match="resnet10t"):
        model.create("resnet10tt", ["a", "b"], 32)


@pytest.fixture
def weights(tmp_path):
    net = timm.create_model("test_resnet", num_classes=1000)
    state = {key: torch.full_like(value, 0.01) for key, value in net.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_local_weights_are_loaded_under_a_fresh_head(weights):
    classifier = model.create("test_resnet", ["a", "b", "c"], 32, weights)
    assert (classifier.net.conv1[0].weight == 0.01).all()
    assert classifier.net.fc.weight.shape[0] == 3 and not (classifier.net.fc.weight == 0.01).any()
    assert classifier.mean == tuple(timm.data.resolve_model_data_config(classifier.net)["mean"])


def test_weights_that_timm_silently_ignores_are_an_error(weights, monkeypatch):
    """`pretrained=False` ignores the file without a word: the tensors are compared, not the call trusted."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **kw: create(name, **kw | {"pretrained": False}))
    with pytest.raises(TaxaforgeError, match="were not loaded"):
        model.create("test_resnet", ["a", "b"], 32, weights)


def test_weights_of_another_model_or_no_file_say_so(weights, tmp_path):
    with pytest.raises(TaxaforgeError, match="is missing"):  # timm only warns
        model.create("test_byobnet", ["a", "b"], 32, weights)
    with pytest.raises(TaxaforgeError, match="do not fit 'resnet10t'"):
        model.create("resnet10t", ["a", "b"], 32, weights)
    with pytest.raises(TaxaforgeError, match="is no file"):
        model.create("test_resnet", ["a", "b"], 32, tmp_path / "none.safetensors")
    with pytest.raises(TaxaforgeError, match="no classifier of taxaforge"):
        load(weights)


def test_the_judge_is_measured_on_groups_it_never_saw(tmp_path, cfg, toy_pack):
    pack = toy_pack("reserve", per_class=30, per_group=2)
    roles = {name: {pack.group[i] for i in indices} for name, indices in judge.parts(pack).items()}
    assert not roles["training"] & roles["stopping"] and not roles["held_out"] & (roles["training"] | roles["stopping"])
    assert sum(map(len, judge.parts(pack).values())) == len(pack)
    pack.save(tmp_path / "reserve.npy")
    out = {"out": tmp_path / "judge" / "model.safetensors", "out_summary": tmp_path / "judge" / "judge.json"}
    judge.train_judge(reserve=tmp_path / "reserve.npy", cfg=cfg, seed=0, **out)
    summary = read_json(out["out_summary"])
    assert summary["accuracy"] > 0.9 and sum(summary["images"].values()) == 60
    assert {pack.group[pack.identifier.index(name)] for name in summary["held_out"]} == roles["held_out"]


def test_a_reserve_too_small_for_a_judge_is_refused(tmp_path, cfg, toy_pack):
    toy_pack("reserve", per_class=1).save(tmp_path / "reserve.npy")
    with pytest.raises(TaxaforgeError, match=r"split\.reserve"):
        judge.train_judge(
            reserve=tmp_path / "reserve.npy", cfg=cfg, seed=0, out=tmp_path / "m", out_summary=tmp_path / "j"
        )
