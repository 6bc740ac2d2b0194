"""One job trains all repeats of an arm: what is finished stays, what is missing is trained."""

import pytest
from safetensors import safe_open

from taxaforge.classification import prompts, repeats
from taxaforge.classification.predict import load
from taxaforge.classification.train import train
from taxaforge.files import read_lines, write_json
from taxaforge.seeds import seed_of


class Killed(BaseException):
    """As a kill, it is caught by nobody."""


def ask(what, folder, seeds, **more):
    out = {name: [folder / f"seed{seed}" / name for seed in seeds] for name in ("model.safetensors", "history.jsonl")}
    repeats.train_repeats(
        seeds=seeds,
        out=out["model.safetensors"],
        out_history=out["history.jsonl"],
        state_dir=folder / "state",
        **{"cache": folder / "features"} | what | more,
    )
    return [path.read_bytes() for paths in out.values() for path in paths]


@pytest.fixture
def what(toy_pack, cfg, tmp_path):
    for name in ("train", "validation"):
        toy_pack(name).save(tmp_path / f"{name}.npy")
    packs = {"real": tmp_path / "train.npy", "validation": tmp_path / "validation.npy"}
    return {
        **packs,
        "synthetic": [],
        "arm": "real",
        "cfg": cfg | {"epochs": 1, "run_seed": 7, "training": "full"},
    }


def test_a_repeat_is_the_classifier_that_its_seed_gives_alone(what, tmp_path):
    ask(what, tmp_path, ["0", "1"])
    alone = tmp_path / "alone.safetensors"
    train(**what, budget=None, seed=seed_of(7, "classifier", "1"), out=alone, out_history=tmp_path / "alone.jsonl")
    assert (tmp_path / "seed1/model.safetensors").read_bytes() == alone.read_bytes()
    assert (tmp_path / "seed0/model.safetensors").read_bytes() != alone.read_bytes()
    assert read_lines(tmp_path / "seed1/history.jsonl") == read_lines(tmp_path / "alone.jsonl")


def test_the_images_asked_for_are_those_that_were_dealt_out_and_decide_the_steps(what, tmp_path):
    write_json(tmp_path / "allocation.json", {"Aa bb": 30, "Cc dd": 2})
    ask(what | {"arm": "real-duplicated", "allocation": tmp_path / "allocation.json"}, tmp_path, ["0"])
    assert read_lines(tmp_path / "seed0/history.jsonl")[-1]["step"] == (24 + 32) // 8


def test_more_seeds_train_the_missing_ones_alone(what, tmp_path, monkeypatch):
    first = ask(what, tmp_path, ["0", "1"])
    for path in tmp_path.glob("seed*/*"):
        path.unlink()  # as the workflow does before the job
    trained = []
    monkeypatch.setattr(repeats, "trainer", lambda *_: lambda **given: trained.append(given["seed"]) or train(**given))
    again = ask(what, tmp_path, ["0", "1", "2"])
    assert trained == [seed_of(7, "classifier", "2")]
    assert [again[0], again[1], again[3], again[4]] == first


def test_a_killed_job_keeps_the_repeats_it_finished(what, tmp_path, monkeypatch):
    def dies_in_the_second(**given):
        if given["seed"] == seed_of(7, "classifier", "1"):
            raise Killed
        train(**given)

    monkeypatch.setattr(repeats, "trainer", lambda *_: dies_in_the_second)
    with pytest.raises(Killed):
        ask(what, tmp_path, ["0", "1"])
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["seed0"]
    trained = []
    monkeypatch.setattr(repeats, "trainer", lambda *_: lambda **given: trained.append(given["seed"]) or train(**given))
    ask(what, tmp_path, ["0", "1"])
    assert trained == [seed_of(7, "classifier", "1")]


def test_a_disk_without_links_gets_a_copy(what, tmp_path, monkeypatch):
    def refuses(*paths):
        raise OSError("no links here")

    monkeypatch.setattr(repeats.os, "link", refuses)
    ask(what, tmp_path, ["0"])
    with safe_open(str(tmp_path / "seed0/model.safetensors"), "pt") as file:
        assert len(list(file.keys()))


def test_metrics_carry_the_name_of_their_repeat(what, tmp_path):
    heard = set()
    ask(what, tmp_path, ["0", "1"], log=lambda step, values: heard.update(values))
    assert {"loss/seed0", "loss/seed1", "validation_accuracy/seed1"} <= heard and "loss" not in heard


def test_probes_of_all_repeats_share_their_features(what, tmp_path):
    probe = what["cfg"] | {"training": "probe", "probe": {"views": 1, "weight_decay": [0.1]}}
    ask(what | {"cfg": probe}, tmp_path, ["0"])
    once = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()}
    assert len(once) == 2 * 3, "validation as it is, training images as they are and at another look"
    classifier = load(tmp_path / "seed0/model.safetensors")
    ask(what | {"cfg": probe | {"model": "test_resnet"}}, tmp_path / "again", ["0"], cache=tmp_path / "features")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "features").iterdir()} == once
    assert classifier.name == "test_resnet" and read_lines(tmp_path / "seed0/history.jsonl")[0]["weight_decay"] == 0.1


def test_what_needs_no_training_is_made_of_the_names_alone(what, tmp_path, monkeypatch):
    asked = {}

    def stand_in(**given):
        asked.update(given)
        for name in ("out", "out_history"):
            given[name].parent.mkdir(parents=True, exist_ok=True)
            given[name].write_text("made of sentences")

    monkeypatch.setattr(prompts, "zero_shot", stand_in)
    named = what["cfg"] | {"training": "zero_shot", "prompts": "name"}
    made = ask(what | {"cfg": named, "device": "cpu"}, tmp_path, ["0"], classes=tmp_path / "classes.json")
    assert made == [b"made of sentences"] * 2
    assert asked["classes"] == tmp_path / "classes.json" and asked["cfg"]["prompts"] == "name"
    assert "real" not in asked and "seed" not in asked
