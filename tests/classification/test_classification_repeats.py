"""One job trains all repeats of an arm: what is finished stays, what is missing is trained."""

import pytest
from safetensors import safe_open

from taxaforge.classification import repeats
from taxaforge.classification.train import train
from taxaforge.files import read_lines
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
        **what | more,
    )
    return [path.read_bytes() for paths in out.values() for path in paths]


@pytest.fixture
def what(toy_pack, cfg, tmp_path):
    for name in ("train", "validation"):
        toy_pack(name).save(tmp_path / f"{name}.npy")
    packs = {"real": tmp_path / "train.npy", "validation": tmp_path / "validation.npy"}
    return {**packs, "synthetic": [], "arm": "real", "budget": None, "cfg": cfg | {"epochs": 1, "run_seed": 7}}


def test_a_repeat_is_the_classifier_that_its_seed_gives_alone(what, tmp_path):
    ask(what, tmp_path, ["0", "1"])
    alone = tmp_path / "alone.safetensors"
    train(**what, seed=seed_of(7, "classifier", "1"), out=alone, out_history=tmp_path / "alone.jsonl")
    assert (tmp_path / "seed1/model.safetensors").read_bytes() == alone.read_bytes()
    assert (tmp_path / "seed0/model.safetensors").read_bytes() != alone.read_bytes()
    assert read_lines(tmp_path / "seed1/history.jsonl") == read_lines(tmp_path / "alone.jsonl")


def test_more_seeds_train_the_missing_ones_alone(what, tmp_path, monkeypatch):
    first = ask(what, tmp_path, ["0", "1"])
    for path in tmp_path.glob("seed*/*"):
        path.unlink()  # as the workflow does before the job
    trained = []
    monkeypatch.setattr(repeats, "train", lambda **given: trained.append(given["seed"]) or train(**given))
    again = ask(what, tmp_path, ["0", "1", "2"])
    assert trained == [seed_of(7, "classifier", "2")]
    assert [again[0], again[1], again[3], again[4]] == first


def test_a_killed_job_keeps_the_repeats_it_finished(what, tmp_path, monkeypatch):
    def dies_in_the_second(**given):
        if given["seed"] == seed_of(7, "classifier", "1"):
            raise Killed
        train(**given)

    monkeypatch.setattr(repeats, "train", dies_in_the_second)
    with pytest.raises(Killed):
        ask(what, tmp_path, ["0", "1"])
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["seed0"]
    trained = []
    monkeypatch.setattr(repeats, "train", lambda **given: trained.append(given["seed"]) or train(**given))
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
