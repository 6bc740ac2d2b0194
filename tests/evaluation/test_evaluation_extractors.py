"""Models that images are measured with: opened from local files, and their features."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from taxaforge.classification import model
from taxaforge.evaluation import extractors
from taxaforge.evaluation.extractors import POOL, NoExtractor, open_extractor, see
from taxaforge.evaluation.inception import Inception
from taxaforge.evaluation.perceptual import NETWORKS, _slices
from taxaforge.evaluation.weights import NoWeights
from taxaforge.packs import Pack

RECORDS = [{"species": "Aa bb", "genus": "Aa"}, {"species": "Cc dd", "genus": "Cc"}]
PIXELS = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def pack(pixels=PIXELS, names=None):
    n = len(pixels)
    names = names or [f"i{i}" for i in range(n)]
    return Pack(pixels, [r["species"] for r in RECORDS], names, np.arange(n) % 2, names, [""] * n)


def opened(kind, name="own", **spec):
    given = {"judge": spec.pop("judge", ""), "weights": spec.pop("local", "")}
    return open_extractor({"name": name, "kind": kind, "model": "", "size": 0, **spec}, classes=RECORDS, **given)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of each network, as files in the published layouts."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet").state_dict(), folder / "timm.safetensors")
        state = {key: value for key, value in Inception().state_dict().items() if "num_batches" not in key}
        save_file(state | {"fc.weight": torch.zeros(1008, 2048)}, folder / "inception.safetensors")
        save_file(lpips_state(), folder / "lpips.safetensors")
    model.save(model.create("test_resnet", [r["species"] for r in RECORDS], 32), folder / "judge.safetensors")
    return folder


def lpips_state(net="alex"):
    slices = torch.nn.ModuleDict(_slices(*NETWORKS[net]))
    state = {f"net.{key}": value for key, value in slices.state_dict().items()}
    widths = [part[-2].out_channels for part in slices.values()]
    return state | {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}


@pytest.fixture(scope="module")
def made(weights):
    return {
        "judge": opened("judge", "judge", judge=weights / "judge.safetensors"),
        "timm": opened("timm", model="test_resnet", local=weights / "timm.safetensors", size=64),
        "inception": opened("inception", local=weights / "inception.safetensors"),
    }


@pytest.mark.parametrize("kind, d", [("judge", None), ("timm", None), ("inception", 2048)])
def test_features_of_an_image_do_not_depend_on_its_batch(made, kind, d, monkeypatch):
    run = made[kind].features
    some = PIXELS[:3] if kind == "inception" else PIXELS
    together = run(some)
    assert together.dtype == np.float64 and together.shape == (len(some), d or together.shape[1])
    alone = np.concatenate([run(some[i : i + 1]) for i in range(len(some))])
    assert np.abs(alone - together).max() < 1e-4 * np.abs(together).max()
    assert np.ptp(together, axis=0).max() > 0  # pictures differ, so do features


def test_timm_features_are_what_timm_itself_gives(weights, made):
    net = timm.create_model("test_resnet", num_classes=0, pretrained=True,
                            pretrained_cfg_overlay={"file": str(weights / "timm.safetensors")}).eval()  # fmt: skip
    data = timm.data.resolve_model_data_config(net)
    x = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    x = torch.nn.functional.interpolate(x, (64, 64), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(data[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        want = net((x - mean) / std).numpy()
    assert np.abs(made["timm"].features(PIXELS) - want).max() < 1e-4


def test_the_judge_names_species_and_the_others_do_not(made):
    assert see(made["judge"], pack()).scores["recognised"].dtype == bool
    assert see(made["timm"], pack()).scores == {}


def test_distances_are_had_among_the_same_images_whatever_their_order(made):
    pixels = np.random.default_rng(1).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    names = [f"n{i}" for i in range(60)]
    order = np.r_[np.arange(0, 60, 2)[::-1], np.arange(1, 60, 2)]  # other places, the same species
    label = np.arange(60) % 2
    shuffled = Pack(pixels[order], [r["species"] for r in RECORDS], [names[i] for i in order], label[order],
                    [names[i] for i in order], [""] * 60)  # fmt: skip
    one, two = see(made["judge"], pack(pixels, names)).apart, see(made["judge"], shuffled).apart
    for c in (0, 1):
        assert one[c].shape == two[c].shape == (POOL, POOL)
        assert np.sort(one[c].ravel()) == pytest.approx(np.sort(two[c].ravel()), abs=1e-5)


def test_lpips_says_how_far_pictures_are_apart_and_nothing_else(weights):
    eyes = opened("lpips", model="alex", local=weights / "lpips.safetensors")
    found = see(eyes, pack())
    assert found.feature.shape == (7, 0) and found.scores == {} and eyes.diversity == "lpips"
    assert found.apart[0].shape == (4, 4) and (np.diag(found.apart[0]) == 0).all() and found.apart[0][0, 1] > 0


def save(path, state):
    save_file({key: value.clone() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("kind, spec, message", [
    pytest.param("inception", {}, r"own\.weights is empty.*pytorch-fid publishes pt_inception.*save_file", id="no weights"),
    pytest.param("lpips", {"model": "alex"}, r"own\.weights is empty.*package lpips.*save_file", id="no LPIPS weights"),
    pytest.param("inception", {"local": "pt_inception.pth"}, r"no \.safetensors file; pickles.*never loaded.*torch\.load", id="a pickle"),
    pytest.param("inception", {"local": "away.safetensors"}, r"there is no file 'away.safetensors'. Correct", id="no file"),
    pytest.param("timm", {"model": "test_resent"}, r"own\.model 'test_resent' is not a timm .*test_resnet", id="no timm model"),
    pytest.param("timm", {"model": "test_resnet", "local": "x.safetensors"}, r"own\.weights.* is no file", id="no timm file"),
    pytest.param("open_clip", {"model": "local-dir:nowhere"}, r"'own' cannot be opened.*nowhere", id="no open_clip folder"),
])  # fmt: skip
def test_what_cannot_be_opened_names_the_setting_the_cause_and_the_remedy(kind, spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((NoExtractor, NoWeights), match=f"(?s)evaluation.*{message}"):
        opened(kind, **spec)


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(NoExtractor, match=r"lack Conv2d_1a_3x3.* not those of the FID Inception"):
        opened("inception", local=weights / "timm.safetensors")
    with pytest.raises(NoExtractor, match=r"own\.weights.*timm layout"):
        opened("timm", model="test_resnet", local=weights / "inception.safetensors")
    with pytest.raises(NoExtractor, match=r"not those of LPIPS with 'vgg'"):
        opened("lpips", model="vgg", local=weights / "lpips.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(NoWeights, match="no safetensors file"):
        opened("inception", local=tmp_path / "broken.safetensors")


def test_a_negative_learned_weight_is_no_lpips(tmp_path):
    state = lpips_state()
    state["lin2.model.1.weight"][0, 3] = -0.1
    with pytest.raises(NoExtractor, match="negative"):
        opened("lpips", model="alex", local=save(tmp_path / "odd.safetensors", state))


def test_weights_of_the_hub_are_fetched_by_owner_model_and_file(weights, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download",
        lambda *place: asked.append(place) or str(weights / "inception.safetensors"),
    )
    opened("inception", weights="hf-hub:someone/metrics/sub/inception.safetensors")
    assert asked == [("someone/metrics", "sub/inception.safetensors")]

    def away(*place):
        raise OSError("no network\nmore")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", away)
    with pytest.raises(NoWeights, match=r"cannot be had \(no network\).*hub_offline"):
        opened("inception", weights="hf-hub:someone/metrics/inception.safetensors")


def test_published_weights_are_asked_for_where_a_timm_model_is_given_none(monkeypatch, weights):
    asked = []

    def create(name, classes, size, weights_given):
        asked.append((name, size, weights_given))
        return model.create(name, classes, size, weights / "timm.safetensors")

    monkeypatch.setattr(extractors, "create", create)
    opened("timm", model="test_resnet.r160_in1k")
    assert asked == [("test_resnet.r160_in1k", 160, "hub")]


def test_the_local_imagenet_weights_measure(shared):
    file = shared / "weights/tf_efficientnet_lite0.in1k.safetensors"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    eyes = opened("timm", model="tf_efficientnet_lite0.in1k", local=file, size=64)
    found = see(eyes, pack())
    assert found.feature.shape == (7, 1280) and found.apart[0][0, 1] > 0
