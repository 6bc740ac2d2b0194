"""Which classifier is trained with what: the compared ones, the judge, the guide."""

from pathlib import Path

import pytest

from taxaforge.config.settings import load
from taxaforge.plan.classification import classifier_settings
from taxaforge.plan.keys import MissingUserFile, Plan

ROOT = Path(__file__).parents[2]
BESIDE = {"classification.judge": "train_judge", "guidance.guide": "train_guide"}
OTHER = {"model": "resnet10t", "training": "probe", "image_size": 64}


def own(section: str, **settings) -> dict:
    first, second = section.split(".")
    return {first: {second: settings}}


@pytest.mark.parametrize("section, rule", BESIDE.items())
def test_without_a_model_of_its_own_it_is_like_the_compared_ones(section, rule):
    keys = {Plan(load(config), ROOT).key_of(rule, {}) for config in ({}, {"classification": OTHER})}
    assert len(keys) == 2
    settings, _ = classifier_settings(load({"classification": OTHER}), section)
    assert settings.items() >= OTHER.items() and settings["probe"]["views"] == 4


@pytest.mark.parametrize("section, rule", BESIDE.items())
def test_with_a_model_of_its_own_it_stays_what_it_is(section, rule):
    config = own(section, model="test_resnet")
    changed = {**config, "classification": {**config.get("classification", {}), **OTHER}}
    plain, other = (Plan(load(settings), ROOT) for settings in (config, changed))
    assert plain.key_of(rule, {}) == other.key_of(rule, {})
    assert plain.key_of("train_classifier", {"arm": "real"}) != other.key_of("train_classifier", {"arm": "real"})


def test_weights_belong_to_the_model_that_they_are_given_for(tmp_path):
    for name in ("compared", "judges"):
        (tmp_path / name).write_text(name)
    settings = load({
        "classification": {"weights": str(tmp_path / "compared"), "judge": {"model": "resnet10t", "weights": str(tmp_path / "judges")}}
    })  # fmt: skip
    assert classifier_settings(settings)[1] == {"classification.weights": str(tmp_path / "compared")}
    assert classifier_settings(settings, "guidance.guide")[1] == {"classification.weights": str(tmp_path / "compared")}
    assert classifier_settings(settings, "classification.judge")[1] == {
        "classification.judge.weights": str(tmp_path / "judges")
    }


def test_published_weights_are_no_file_of_the_user():
    settings, files = classifier_settings(load({"classification": {"weights": "hub"}}))
    assert settings["weights"] == "hub" and not files


@pytest.mark.parametrize("section", ["classification", *BESIDE])
def test_weights_that_are_not_there_are_named_before_anything_runs(section):
    given = {"model": "test_resnet", "weights": "nowhere.safetensors"}
    config = own(section, **given) if "." in section else {section: given}
    with pytest.raises(MissingUserFile, match=rf"^{section}.weights: there is no file 'nowhere.safetensors'"):
        Plan(load(config), ROOT).check_files()


def test_weights_without_their_model_are_a_mistake():
    with pytest.raises(ValueError, match="name the model that they are of"):
        load(own("guidance.guide", weights="x.safetensors"))


def test_what_learns_from_no_images_has_no_arms_to_compare():
    with pytest.raises(ValueError, match=r"arms must be \[real\]"):
        load({"classification": {"training": "zero_shot"}})
    settings, _ = classifier_settings(load({"classification": {"training": "zero_shot", "arms": ["real"]}}))
    assert settings["prompts"] == "taxonomic"
