"""Which models images may be measured with, and what is said of mistakes before anything runs."""

import pytest

from taxaforge.config.settings import Settings, load


def test_by_default_the_judge_alone_measures():
    assert Settings().evaluation.features == ["judge"] and Settings().evaluation.extractors == {}


@pytest.mark.parametrize("evaluation, message", [
    pytest.param({"features": ["judge", "effnet"]}, r"'effnet' is no model.*evaluation.extractors", id="unknown name"),
    pytest.param({"features": ["semantics"]}, r"'judge' must be among them", id="without the judge"),
    pytest.param({"features": ["judge", "judge"]}, r"must not repeat", id="twice"),
    pytest.param({"extractors": {"judge": {"kind": "timm", "model": "a"}}}, r"'judge' cannot name", id="a name that is taken"),
    pytest.param({"extractors": {"a b": {"kind": "timm", "model": "a"}}}, r"'a b' cannot name", id="a name with a space"),
    pytest.param({"extractors": {"x": {"kind": "timm"}}}, r"extractors\.x: kind 'timm' needs a model", id="no model"),
    pytest.param({"extractors": {"x": {"kind": "inception"}}}, r"needs weights.*docs/image-metrics.md", id="no weights"),
    pytest.param({"extractors": {"x": {"kind": "inception", "weights": "pt.pth"}}}, r"Pickles can run code.*docs/image-metrics", id="a pickle"),
    pytest.param({"extractors": {"x": {"kind": "timm", "model": "a", "weights": "a.bin"}}}, r"no \.safetensors", id="another pickle"),
    pytest.param({"extractors": {"x": {"kind": "lpips", "model": "squeeze", "weights": "a.safetensors"}}}, r"alex or vgg", id="LPIPS of a third"),
    pytest.param({"extractors": {"x": {"kind": "open_clip", "model": "ViT-B-32"}}}, r"hf-hub:<id> or local-dir", id="open_clip by bare name"),
    pytest.param({"extractors": {"x": {"kind": "open_clip", "model": "hf-hub:a/b", "weights": "a.safetensors"}}}, r"leave weights empty", id="open_clip with a file"),
    pytest.param({"extractors": {"x": {"kind": "timm", "model": "a", "wieghts": ""}}}, r"did you mean 'weights'", id="a slip of the pen"),
])  # fmt: skip
def test_a_mistake_is_told_with_its_key_and_the_remedy(evaluation, message):
    with pytest.raises(ValueError, match=f"(?s)evaluation.*{message}"):
        load({"evaluation": evaluation})


def test_every_kind_can_be_set():
    extractors = {
        "effnet": {"kind": "timm", "model": "tf_efficientnet_lite0", "weights": "a.safetensors", "size": 96},
        "published": {"kind": "timm", "model": "resnet18.a1_in1k"},
        "fid": {"kind": "inception", "weights": "hf-hub:a/b/c.safetensors"},
        "lpips": {"kind": "lpips", "model": "alex", "weights": "b.safetensors"},
        "bioclip": {"kind": "open_clip", "model": "hf-hub:imageomics/bioclip"},
    }
    features = ["judge", "semantics", *extractors]
    assert load({"evaluation": {"features": features, "extractors": extractors}}).evaluation.features == features
