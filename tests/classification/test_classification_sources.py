"""Where a model comes from: names, folders and the hub; what is missing is named with its remedy."""

import json

import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from taxaforge.classification import model, sources
from taxaforge.classification.sources import NoBackbone


@pytest.fixture
def published(tmp_path):
    """A folder as timm saves a model for the hub; mean and std of its own, and one argument of the constructor."""
    folder = tmp_path / "published"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = timm.create_model("test_resnet", num_classes=7, stem_type="")
    save_file(net.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "model_args": {"stem_type": ""},
        "pretrained_cfg": {
            "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 7, "classifier": "fc", "first_conv": "conv1",
            "input_size": [3, 64, 64],
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def hub(monkeypatch, published):
    """A hub that gives the files of the folder, and notes what it was asked for."""
    import huggingface_hub

    asked = []

    def download(repository, filename, revision=None, **more):
        asked.append((repository, filename, revision))
        if not (published / filename).is_file():
            raise LocalEntryNotFoundError(
                "Cannot find the requested files in the disk cache.\nOutgoing traffic disabled"
            )
        return str(published / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return asked


def loads(classifier, published) -> bool:
    stored = load_file(published / "model.safetensors")
    state = classifier.net.state_dict()
    return all(torch.equal(state[key], stored[key]) for key in stored if not key.startswith("fc."))


def test_a_folder_brings_its_structure_weights_and_normalisation(published, tmp_path):
    classifier = model.create(f"local-dir:{published}", ["a", "b"], 32)
    assert loads(classifier, published) and classifier.net.fc.out_features == 2
    assert (classifier.mean, classifier.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (classifier.name, classifier.arguments) == ("test_resnet", {"stem_type": ""})
    model.save(classifier, tmp_path / "a.safetensors")
    for file in published.iterdir():
        file.unlink()
    opened = model.load(tmp_path / "a.safetensors")  # nothing but the saved file is needed
    assert (opened.mean, opened.arguments) == (classifier.mean, classifier.arguments)
    assert all(torch.equal(value, opened.net.state_dict()[key]) for key, value in classifier.net.state_dict().items())


@pytest.mark.parametrize("prefix", ["hf-hub:", "hf_hub:"])
def test_a_repository_is_asked_for_its_config_and_its_safetensors_alone(published, hub, prefix):
    classifier = model.create(f"{prefix}owner/moths@v2", ["a", "b"], 32)
    assert loads(classifier, published) and classifier.mean == (0.1, 0.2, 0.3)
    assert hub == [("owner/moths", "config.json", "v2"), ("owner/moths", "model.safetensors", "v2")]


def test_timms_own_weights_come_by_name_and_tag(published, hub):
    """The file is another's here, and that is noticed: its tensors are compared, whoever gave it."""
    with pytest.raises(model.TaxaforgeError, match=r"'test_resnet.r160_in1k' (do not fit|were not loaded)"):
        model.create("test_resnet.r160_in1k", ["a", "b"], 32, sources.HUB)
    assert hub == [("timm/test_resnet.r160_in1k", "model.safetensors", None)]


@pytest.mark.parametrize("weights", ["", "hub"])
def test_a_tag_that_timm_does_not_have_is_named_with_where_to_look(weights):
    with pytest.raises(NoBackbone, match=r"'test_resnet\.nobody' has a tag.*list_pretrained\('test_resnet\*'\)"):
        model.create("test_resnet.nobody", ["a", "b"], 32, weights)


def test_without_network_and_cache_the_remedy_is_named(published, hub):
    (published / "model.safetensors").unlink()
    for name, weights in (("test_resnet.r160_in1k", "hub"), ("hf-hub:owner/moths", "")):
        with pytest.raises(
            NoBackbone, match=r"is not on this machine.*disk cache\. .*classification\.weights.*HF_HOME"
        ):
            model.create(name, ["a", "b"], 32, weights)


def test_offline_the_hub_is_not_asked(monkeypatch):
    """The real library, told to stay offline, with an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NoBackbone, match="is not on this machine"):
        sources.found("hf-hub:owner/a-model-that-nobody-has-in-the-cache")


@pytest.mark.parametrize(
    "name, weights, said",
    [
        pytest.param("hf-hub:owner/moths", "w.safetensors", "brings its weights", id="two sources of weights"),
        pytest.param("owner/moths", "", "is no name of a model", id="a repository without its prefix"),
        pytest.param("ftp:moths", "", "is no name of a model", id="an unknown place"),
        pytest.param("local-dir:/nowhere", "", "has no config.json", id="no folder"),
        pytest.param("resnet10tt", "", "resnet10t", id="a slip"),
        pytest.param("test_resnet", "none.safetensors", "is no file.*'hub'", id="no file"),
        pytest.param("vit_tiny_patch16_384", "hub", "publishes no weights|not on this machine", id="nothing published"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_reason(name, weights, said, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NoBackbone, match=said):
        sources.found(name, weights)


def test_a_pickle_is_never_opened(published, monkeypatch):
    (published / "model.safetensors").rename(published / "pytorch_model.bin")
    with pytest.raises(NoBackbone, match="another format are not opened"):
        model.create(f"local-dir:{published}", ["a", "b"], 32)
    config = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    monkeypatch.setattr(config, "hf_hub_filename", "pytorch_model.bin")
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda *_, **__: config)
    with pytest.raises(NoBackbone, match="a pickle"):
        sources.found("test_resnet.r160_in1k", "hub")
