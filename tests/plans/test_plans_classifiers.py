"""Which classifier is trained with what: the compared ones, the judge, the guide."""

from pathlib import Path

import pytest

from taxaforge.config.settings import load
from taxaforge.plan.classification import classifier_settings
from taxaforge.plan.keys import MissingUserFile, Plan

ROOT = Path(__file__).parents[2]
BESIDE = {"classification.judge": "train_judge", "guidance.guide": "train_guide"}
OTHER = {"model": "resnet10t", "weights": "hub", "training": "probe", "image_size": 64}
TRAINED = {
    "learning_rate": 1e-4, "batch_size": 7, "weight_decay": 0.2, "label_smoothing": 0.3, "augmentation": "strong",
    "strong": {"operations": 1}, "probe": {"views": 1},
}  # fmt: skip
"""Settings of the compared classifiers that concern none with a model of its own."""


def own(section: str, **settings) -> dict:
    first, second = section.split(".")
    return {first: {second: settings}}


@pytest.mark.parametrize("section, rule", BESIDE.items())
def test_without_a_model_of_its_own_it_is_like_the_compared_ones(section, rule):
    keys = {Plan(load(config), ROOT).key_of(rule, {}) for config in ({}, {"classification": OTHER})}
    assert len(keys) == 2
    settings, _ = classifier_settings(load({"classification": OTHER}), section)
    assert settings.items() >= OTHER.items() and settings["probe"]["views"] == 4


@pytest.mark.parametrize("training", [{}, {"training": "probe", "weights": "hub"}])
@pytest.mark.parametrize("section, rule", BESIDE.items())
def test_with_a_model_of_its_own_it_stays_what_it_is(section, rule, training):
    config = own(section, model="test_resnet", **training)
    changed = {**config, "classification": {**config.get("classification", {}), **OTHER, **TRAINED}}
    plain, other = (Plan(load(settings), ROOT) for settings in (config, changed))
    assert plain.key_of(rule, {}) == other.key_of(rule, {})
    assert plain.key_of("train_classifier", {"arm": "real"}) != other.key_of("train_classifier", {"arm": "real"})


@pytest.mark.parametrize("section", BESIDE)
def test_a_model_of_its_own_has_a_learning_rate_of_its_own(section):
    settings, _ = classifier_settings(load(own(section, model="test_resnet", learning_rate=1e-5)), section)
    assert settings["learning_rate"] == 1e-5


def folder_of(path: Path, *files: str) -> Path:
    path.mkdir()
    for name in files:
        (path / name).write_text(name)
    return path


TIMM, CLIP = ("config.json", "model.safetensors"), ("open_clip_config.json", "weights.safetensors", "tokenizer.json")


@pytest.mark.parametrize("prefix, files", [("local-dir:", TIMM), ("open_clip:local-dir:", CLIP)])
@pytest.mark.parametrize("section, rule", [("classification", "train_classifier"), *BESIDE.items()])
def test_a_model_in_a_folder_counts_by_what_lies_there(tmp_path, section, rule, prefix, files):
    folder = folder_of(tmp_path / "own", *files, "README.md")
    settings = {"model": f"{prefix}{folder}", "training": "probe"}
    config = load(own(section, **settings) if "." in section else {section: settings})
    keys = [Plan(config, ROOT).key_of(rule, {"arm": "real"})]
    for file in (*files, "README.md"):
        (folder / file).write_text("changed")
        keys.append(Plan(config, ROOT).key_of(rule, {"arm": "real"}))
    assert len(set(keys)) == 1 + len(files) and keys[-1] == keys[-2], "what is not read is not asked"
    (folder / files[0]).unlink()
    with pytest.raises(MissingUserFile, match=rf"^{section}.model \({files[0]}\)"):
        Plan(config, ROOT).check_files()


def test_files_of_a_folder_are_no_weights_for_the_rule(make_planner, tmp_path):
    folder = folder_of(tmp_path / "own", *TIMM)
    config = {"classification": {"model": f"local-dir:{folder}"}}
    assert not [path for path in make_planner().inputs(config)["train_classifier"] if str(tmp_path / "own") in path]


def test_a_pretrained_image_text_model_in_a_folder_counts_by_what_lies_there(tmp_path):
    folder = folder_of(tmp_path / "own", *CLIP)
    config = load({"semantics": {"source": "pretrained", "pretrained": f"local-dir:{folder}"}})
    before = Plan(config, ROOT).key_of("train_semantics", {})
    (folder / CLIP[1]).write_text("changed")
    assert Plan(config, ROOT).key_of("train_semantics", {}) != before
    (folder / CLIP[0]).unlink()
    with pytest.raises(MissingUserFile, match=r"^semantics.pretrained \(open_clip_config.json\)"):
        Plan(config, ROOT).check_files()


@pytest.mark.parametrize("allocation", [{"by": "rare"}, {"least": 2}])
def test_how_images_are_dealt_out_concerns_every_arm_but_the_shortest(allocation):
    plans = [Plan(load(config), ROOT) for config in ({}, {"guidance": {"allocation": allocation}})]
    for arm in ("real", "real-equal-steps", "real-duplicated", "balanced", "real+cfg"):
        keys = {plan.key_of("train_classifier", {"arm": arm}) for plan in plans}
        assert len(keys) == (1 if arm == "real" else 2), arm


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
    with pytest.raises(ValueError, match="name the model that it is of"):
        load(own("guidance.guide", weights="x.safetensors"))


@pytest.mark.parametrize("stray", [{"image_size": 64}, {"training": "probe"}, {"learning_rate": 1e-4}])
@pytest.mark.parametrize("section", BESIDE)
def test_what_is_said_of_no_model_is_a_mistake(section, stray):
    with pytest.raises(ValueError, match="model is empty; name the model that it is of"):
        load(own(section, **stray))


@pytest.mark.parametrize("section", ["classification", *BESIDE])
def test_a_probe_of_random_weights_is_a_mistake(section):
    given = {"model": "resnet10t", "training": "probe"}
    for more in ({}, {"weights": "hub"}):
        config = own(section, **given, **more) if "." in section else {section: {**given, **more}}
        if more:
            load(config)
        else:
            with pytest.raises(ValueError, match=r"trains the head alone.*has random ones; give weights"):
                load(config)
    load({"classification": {"model": "hf-hub:owner/model", "training": "probe"}})


@pytest.mark.parametrize("section", ["classification", *BESIDE])
@pytest.mark.parametrize("model", ["open_clip:ViT-B-32:openai", "hf-hub:owner/model"])
def test_weights_of_a_model_that_brings_its_own_are_a_mistake(section, model):
    given = {"model": model, "weights": "x.safetensors"}
    with pytest.raises(ValueError, match=r"brings its weights.*leave them empty"):
        load(own(section, **given) if "." in section else {section: given})


def test_only_an_image_text_model_names_without_training():
    with pytest.raises(ValueError, match="name one as open_clip:<model>"):
        load({"classification": {"training": "zero_shot", "arms": ["real"], "model": "hf-hub:owner/model"}})


def test_what_learns_from_no_images_has_no_arms_to_compare():
    with pytest.raises(ValueError, match=r"arms must be \[real\]"):
        load({"classification": {"training": "zero_shot"}})
    settings, _ = classifier_settings(
        load({"classification": {"training": "zero_shot", "arms": ["real"], "model": "open_clip:a:b"}})
    )
    assert settings["prompts"] == "taxonomic"
