"""What measuring images stands on: models, their files, and which of them are independent judges."""

from pathlib import Path

import pytest

from taxaforge.config.settings import load
from taxaforge.files import sha256_of
from taxaforge.plan.images import feature_weights, measure_images
from taxaforge.plan.keys import MissingUserFile, Plan

ROOT = Path(__file__).parents[2]
EFFNET = {"kind": "timm", "model": "tf_efficientnet_lite0", "size": 96}


def node(**sections):
    return measure_images(load(sections), {})


def shaped(found, name):
    return next(spec["shaped"] for spec in found.settings["features"] if spec["name"] == name)


def test_by_default_no_other_model_is_waited_for():
    found = node()
    assert found.settings["features"] == [{"name": "judge", "kind": "judge", "shaped": []}]
    assert ("train_semantics", {}) not in found.after and found.files == {}


def test_the_image_text_model_is_waited_for_where_it_measures():
    assert ("train_semantics", {}) in node(evaluation={"features": ["judge", "semantics"]}).after


@pytest.mark.parametrize("filtering, expected", [
    pytest.param({"semantics": {"top_k": 0}, "near_copy": 0, "near_repeat": 0}, ["sgid"], id="it weighs the captions of sgid"),
    pytest.param({"semantics": {"top_k": 1}}, ["cfg", "sgid"], id="it filters everything"),
])  # fmt: skip
def test_what_the_image_text_model_filtered_or_guided_it_does_not_judge_independently(filtering, expected):
    found = node(
        evaluation={"features": ["judge", "semantics"]},
        guidance={"methods": ["cfg", "sgid"]},
        classification={"arms": ["real", "real+cfg"]},
        filter=filtering,
    )
    assert shaped(found, "semantics") == expected and shaped(found, "judge") == []


def test_the_same_model_under_another_name_is_no_more_independent():
    model = "hf-hub:imageomics/bioclip"
    sections = {
        "semantics": {"source": "pretrained", "pretrained": model},
        "guidance": {"methods": ["cfg"]},
        "classification": {"arms": ["real"]},
        "filter": {"semantics": {"top_k": 1}},
    }
    extractors = {
        "bioclip": {"kind": "open_clip", "model": model},
        "other": {"kind": "open_clip", "model": "hf-hub:other/model"},
    }
    found = node(**sections, evaluation={"features": ["judge", *extractors], "extractors": extractors})
    assert shaped(found, "bioclip") == ["cfg"] and shaped(found, "other") == []


def test_weights_count_by_content_and_only_where_the_model_measures(tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"one")
    extractors = {"effnet": {**EFFNET, "weights": str(file)}, "idle": {**EFFNET, "weights": "nowhere.safetensors"}}
    settings = load({"evaluation": {"features": ["judge", "effnet"], "extractors": extractors}})
    found = measure_images(settings, {})
    assert found.files == {"evaluation.extractors.effnet.weights": str(file)}
    assert feature_weights(settings) == {"effnet": str(file)}
    assert str(tmp_path) not in str(found.settings)  # a path is no part of the key
    one = Plan(settings, ROOT).key_of("measure_images", {})
    file.write_bytes(b"two")
    assert sha256_of(file) and Plan(settings, ROOT).key_of("measure_images", {}) != one
    file.unlink()
    with pytest.raises(MissingUserFile, match=r"evaluation.extractors.effnet.weights"):
        Plan(settings, ROOT).check_files()


def test_a_folder_of_an_image_text_model_counts_by_its_weights(tmp_path):
    extractors = {"own": {"kind": "open_clip", "model": f"local-dir:{tmp_path}"}}
    found = node(evaluation={"features": ["judge", "own"], "extractors": extractors})
    setting = "evaluation.extractors.own.model"
    assert found.files == {
        f"{setting} ({name})": f"{tmp_path}/{name}" for name in ("open_clip_config.json", "open_clip_model.safetensors")
    }


def test_the_plan_s_edges_are_snakemake_s_where_more_models_measure(make_planner, tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"")
    extractors = {"effnet": {**EFFNET, "weights": str(file)}}
    config = {"evaluation": {"features": ["judge", "semantics", "effnet"], "extractors": extractors}}
    before = make_planner().edges(config)[("measure_images",)]
    settings = load(config)
    planned = {(rule, *sorted(w.items())) for rule, w in measure_images(settings, {}).after}
    assert planned == before
