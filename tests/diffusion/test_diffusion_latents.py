"""Images are encoded once, one by one, and found again by their number and side."""

import json

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from taxaforge.diffusion import latents, pretrained
from taxaforge.diffusion.backbone import load
from taxaforge.diffusion.latents import BadLatents, Cached, Pixels
from taxaforge.files import read_json, sha256_of
from taxaforge.packs import Pack

CHOSEN, MIRRORED = torch.tensor([4, 0, 4, 8]), torch.tensor([False, True, True, False])


@pytest.fixture(scope="module")
def pack(pack_of, tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "train.npy"
    pack_of(16).save(path)
    return path


@pytest.fixture(scope="module")
def encoded(pack, pipeline, tmp_path_factory):
    """Encodes the pack; out comes the path."""

    def encode(flip=True, **more):
        out = tmp_path_factory.mktemp("latents") / "train.npy"
        where = {"pretrained": str(pipeline), "revision": "main", "size": 16}
        latents.encode(pack=pack, flip=flip, out=out, **where, **more)
        return out

    return encode


@pytest.fixture(scope="module")
def cache(encoded):
    return encoded()


def test_a_latent_is_the_mode_of_the_stock_vae_of_the_picture_and_of_its_mirror_image(cache, pack, pipeline):
    data = Pack.load(pack)
    vae = StableDiffusionPipeline.from_pretrained(pipeline).vae
    found = Cached.load(cache, data)(CHOSEN, MIRRORED)
    assert found.dtype == torch.float32 and found.shape == (4, 4, 8, 8)
    for latent, number, mirrored in zip(found, CHOSEN, MIRRORED, strict=True):
        picture = torch.tensor(data.pixels[number]).permute(2, 0, 1)[None] / 127.5 - 1
        picture = picture.flip(3) if mirrored else picture
        with torch.no_grad():
            assert (vae.encode(picture).latent_dist.mode() * 0.18215 - latent).abs().max() < 1e-5


def test_the_bytes_do_not_depend_on_how_many_images_are_read_at_a_time(cache, encoded):
    for batch in (1, 2, 100):
        assert encoded(batch=batch).read_bytes() == cache.read_bytes()


def test_without_mirrored_images_there_is_one_entry_and_asking_for_the_other_is_an_error(cache, encoded, pack):
    data, plain = Pack.load(pack), encoded(flip=False)
    both, one = Cached.load(cache, data), Cached.load(plain, data)
    assert read_json(plain.with_suffix(".json"))["augmentations"] == ["none"]
    assert (one.array.shape[1], both.array.shape[1]) == (1, 2)
    assert torch.equal(one(CHOSEN, torch.zeros(4, dtype=torch.bool)), both(CHOSEN, torch.zeros(4, dtype=torch.bool)))
    with pytest.raises(BadLatents, match="flip false"):
        one(CHOSEN, MIRRORED)


def test_the_record_says_which_pixels_and_which_vae(cache, pack, pipeline):
    table = json.loads(cache.with_suffix(".json").read_text())
    assert table["identifier"] == Pack.load(pack).identifier
    assert table["pixels"] == sha256_of(pack)
    assert table["vae"] == [sha256_of(pipeline / "vae/diffusion_pytorch_model.safetensors")]


def test_the_cache_is_opened_without_reading_it(cache, pack):
    array = Cached.load(cache, Pack.load(pack)).array
    assert isinstance(array.base, np.memmap) and not array.flags.writeable
    assert array.flags.c_contiguous and array.dtype == np.float32


def test_latents_of_other_images_or_another_order_are_refused(cache, pack):
    data = Pack.load(pack)
    for order in (slice(0, 8), slice(None, None, -1)):
        columns = {name: getattr(data, name)[order] for name in ("identifier", "label", "group", "caption", "pixels")}
        with pytest.raises(BadLatents, match="other images"):
            Cached.load(cache, Pack(classes=data.classes, **columns))


@pytest.mark.parametrize("lost", [".npy", ".json"])
def test_unfinished_latents_are_named(encoded, pack, lost):
    path = encoded(flip=False)
    path.with_suffix(lost).unlink()
    with pytest.raises(BadLatents, match=rf"train\{lost} is missing"):
        Cached.load(path, Pack.load(pack))


def test_pictures_of_another_size_are_not_encoded(pack, pipeline, tmp_path):
    with pytest.raises(BadLatents, match="not of 32 px"):
        latents.encode(
            pack=pack, pretrained=str(pipeline), revision="main", size=32, flip=False, out=tmp_path / "train.npy"
        )
    assert not list(tmp_path.iterdir())


def test_an_interrupted_encoding_leaves_nothing_behind(pack, pipeline, tmp_path, monkeypatch):
    done = []

    def fail(self, images):
        done.append(1)
        if len(done) > 3:
            raise KeyboardInterrupt
        return torch.zeros(1, 4, 8, 8)

    monkeypatch.setattr(pretrained.AutoencoderCodec, "encode", fail)
    with pytest.raises(KeyboardInterrupt):
        latents.encode(
            pack=pack, pretrained=str(pipeline), revision="main", size=16, flip=False, out=tmp_path / "train.npy"
        )
    assert not list(tmp_path.iterdir())


def test_encoding_says_how_far_it_is(encoded, capsys):
    encoded(every_s=0.0, batch=4)
    said = capsys.readouterr().err
    assert "latents: 4/9 images" in said and "latents: 9/9 images (100%)" in said and "images/s" in said


def test_pixels_are_mirrored_left_to_right_where_asked(stages, files):
    data, backbone = Pack.load(files["pack"]), load(stages["base"], texts=files["texts"])
    z = Pixels(backbone, data)(CHOSEN, MIRRORED)
    wanted = np.stack([data.pixels[n][:, :: -1 if m else 1] for n, m in zip(CHOSEN, MIRRORED, strict=True)])
    assert np.array_equal(backbone.to_image(z), wanted)
    assert np.array_equal(data.pixels, np.load(files["pack"]))  # and the pack is what it was
