"""Features by a timm model: equal to timm's own, of length 1, and loud where weights are not what they should be."""

import hashlib
import random
import struct

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from taxaforge import tables
from taxaforge.collection.embed import NoFeatures, embed
from taxaforge.collection.features import Features
from taxaforge.collection.schema import CANDIDATES

MODEL = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a very small model, as its author would give them: with a head."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model(MODEL, num_classes=7).state_dict(), path)
    return path


def picture(seed, size=60):
    cells = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def collection(tmp_path):
    """Forty pictures, one cut short and one that was never had."""
    images = tmp_path / "c/images"
    images.mkdir(parents=True)
    rows = []
    for k in range(42):
        path = images / f"{k:02}.png"
        picture(k).save(path)
        rows.append(
            dict.fromkeys(CANDIDATES.columns)
            | {"identifier": f"p{k:02}", "scientificName": "P", "source": "folder", "caption": "", "errorCode": ""}
            | {"file_name": f"images/{path.name}", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        )
    (images / "05.png").write_bytes((images / "05.png").read_bytes()[:500])
    rows[6] |= {"file_name": None, "sha256": None, "errorCode": "not_found"}
    return images, rows


def embedded(collection, weights, name="features.npy", rows=None, **cfg):
    images, own = collection
    tables.write(CANDIDATES, rows or own, images.parent / "candidates.parquet")
    embed(
        candidates=images.parent / "candidates.parquet", images=images, cfg={"model": MODEL, "weights": str(weights)} | cfg,
        out=images.parent / name,
    )  # fmt: skip
    return images.parent / name


def test_features_are_those_of_timm_s_own_model_and_transform(collection, weights):
    features = Features.load(embedded(collection, weights))
    assert features.model == MODEL and features.values.dtype == np.float32
    assert list(features.place) == [f"p{k:02}" for k in range(42) if k not in (5, 6)]
    net = timm.create_model(MODEL, num_classes=7)
    net.load_state_dict(load_file(weights))
    net.eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(net), is_training=False)
    for k in (0, 7, 41):
        with torch.inference_mode():
            own = net.forward_head(net.forward_features(prepare(picture(k))[None]), pre_logits=True)[0].numpy()
        row = features.rows([f"p{k:02}"])[0]
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(row, own / np.linalg.norm(own), atol=1e-5)


def test_the_order_of_the_candidates_changes_no_byte(collection, weights):
    first = embedded(collection, weights)
    again = embedded(collection, weights, "again.npy", rows=collection[1][::-1])
    assert first.read_bytes() == again.read_bytes()
    assert first.with_suffix(".json").read_bytes() == again.with_suffix(".json").read_bytes()


def test_a_resized_copy_is_nearer_than_any_other_picture(collection, weights):
    images, _ = collection
    picture(3).resize((50, 50)).save(images / "41.png")
    features = Features.load(embedded(collection, weights))
    similarity = features.values @ features.rows(["p41"])[0]
    assert [list(features.place)[i] for i in np.argsort(-similarity)[:2]] == ["p41", "p03"]


def test_damaged_exif_blocks_neither_stop_the_run_nor_lose_a_picture(collection, weights, recwarn):
    images, rows = collection
    rng = random.Random(0)
    entries = [(0x010F, 11, 1, struct.pack("<f", 1.5)), (0x0112, 3, 1, struct.pack("<HH", 6, 0))]
    block = (
        b"II*\0" + struct.pack("<IH", 8, 2) + b"".join(struct.pack("<HHI", *e[:3]) + e[3] for e in entries) + bytes(4)
    )
    chosen = [row for row in rows if row["identifier"] not in ("p05", "p06")]
    for k, row in enumerate(chosen):
        exif = bytearray(block)
        if k:
            exif[rng.randrange(4, len(block))] = rng.choice([*range(14), rng.randrange(256)])
        picture(k).save(images.parent / row["file_name"], "JPEG", exif=b"Exif\0\0" + bytes(exif))
    features = Features.load(embedded(collection, weights, rows=chosen))
    assert list(features.place) == [row["identifier"] for row in chosen]


def test_a_model_that_is_not_there_or_weights_that_do_not_fit_are_clear_errors(collection, weights, tmp_path):
    with pytest.raises(NoFeatures, match=r"'resnet_of_dreams' is no timm"):
        embedded(collection, weights, model="resnet_of_dreams")
    with pytest.raises(NoFeatures, match=r"nowhere\.safetensors' is no file"):
        embedded(collection, tmp_path / "nowhere.safetensors")
    with pytest.raises(NoFeatures, match="test_vit"):
        embedded(collection, weights, model="test_vit.r160_in1k")
    part = {name: value for name, value in load_file(weights).items() if not name.startswith("layer2")}
    save_file(part, tmp_path / "part.safetensors")
    with pytest.raises(NoFeatures, match=r"part\.safetensors.*layer2"):
        embedded(collection, tmp_path / "part.safetensors")
    (tmp_path / "page.safetensors").write_bytes(b"<html>404</html>")
    with pytest.raises(NoFeatures, match=r"page\.safetensors|cannot be had"):
        embedded(collection, tmp_path / "page.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_features_that_say_nothing_are_refused(collection, weights, tmp_path, value):
    damaged = {name: torch.full_like(one, value) for name, one in load_file(weights).items() if one.is_floating_point()}
    save_file(load_file(weights) | damaged, tmp_path / "damaged.safetensors")
    with pytest.raises(NoFeatures, match="zero or not finite"):
        embedded(collection, tmp_path / "damaged.safetensors")


def test_nothing_to_embed_is_a_clear_error(collection, weights):
    _, rows = collection
    with pytest.raises(NoFeatures, match="None of 1 candidates"):
        embedded(collection, weights, rows=[rows[6]])
