"""Training makes the adapter draw along contours, moves nothing else, and goes on where it was stopped."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file

from taxaforge.diffusion import checkpoint, contour_training, stage, texts, watching
from taxaforge.diffusion.backbone import BadGenerator, load
from taxaforge.diffusion.contour import WEIGHTS, Contour
from taxaforge.diffusion.contour_training import ContourObjective, digest, provide, train
from taxaforge.diffusion.edges import EdgeMaps
from taxaforge.diffusion.objective import Objective
from taxaforge.files import read_json, read_lines, write_json
from taxaforge.packs import Pack

CANNY = {"low": 60, "high": 150, "blur": 0.0}
WATCHED = {"samples_every": 0, "validate_every": 2, "validation_images": 8, "patience": 0}


@pytest.fixture(scope="module")
def cfg(cfg_of):
    """Settings of a short training, with changes."""
    return lambda **changes: cfg_of(**{**CANNY, "learning_rate": 1e-2, **changes})


@pytest.fixture(scope="module")
def trained(stages, files, cfg, tmp_path_factory):
    """Arguments of an undisturbed training, its folder among them."""
    folder = tmp_path_factory.mktemp("contour")
    arguments = {"model": stages["species"], **files, "cfg": cfg(), "seed": 3, "out": folder / "contour"}
    train(**arguments, state_dir=folder / "state")
    return arguments


def weights(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def boxes(count: int, classes: list[str], seed: int) -> Pack:
    """8 px, one bright box anywhere on dark ground: its contour says all there is to know, its class nothing."""
    rng, pixels = np.random.default_rng(seed), np.full((count, 8, 8, 3), (30, 60, 40), dtype=np.uint8)
    for picture in pixels:
        height, width = rng.integers(2, 5, 2)
        top, left = rng.integers(1, 8 - height), rng.integers(1, 8 - width)
        picture[top : top + height, left : left + width] = (230, 180, 90)
    names = [str(number) for number in range(count)]
    return Pack(pixels, classes, names, np.arange(count) % 3, names, [""] * count)


def test_a_trained_adapter_draws_along_the_contour_and_only_along_its_own(files, cfg, tmp_path):
    seen = boxes(96, Pack.load(files["pack"]).classes, 0)
    seen.save(tmp_path / "train.npy")
    unseen = boxes(64, seen.classes, 1)
    settings = cfg(channels=[16, 16], steps=120, batch_size=16, ema=0.98, learning_rate=2e-2)
    shared = {"pack": tmp_path / "train.npy", "texts": files["texts"], "seed": 0}
    stage.train(stage="base", cfg=settings, **shared, out=tmp_path / "base", state_dir=tmp_path / "s")
    settings["learning_rate"] = 3e-2
    train(model=tmp_path / "base", cfg=settings, **shared, out=tmp_path / "contour", state_dir=tmp_path / "t")

    backbone = load(tmp_path / "base", texts=files["texts"])
    adapter, maps = Contour.load(tmp_path / "contour", backbone), EdgeMaps(unseen.pixels, CANNY)
    labels = torch.from_numpy(unseen.label)
    steps = contour_training.batches(settings, 0, labels, backbone)
    look = watching.Validation.of(stage.source(backbone, unseen, None), steps, labels, 64, 2)

    def loss(edges) -> float:
        return look(ContourObjective(backbone, adapter, edges), torch.device("cpu"))

    own, swapped = loss(maps), loss(lambda chosen, mirrored: maps((chosen + 7) % 64, mirrored))
    without = look(Objective(backbone), torch.device("cpu"))
    assert own < 0.95 * without, "the contour helps"
    assert swapped > 1.2 * own, "another image's contour misleads"


def test_nothing_but_the_adapter_moves(trained, monkeypatch, tmp_path):
    opened, before = [], digest(trained["model"])

    def watched(*args, **more):
        opened.append(load(*args, **more))
        return opened[-1]

    monkeypatch.setattr(contour_training, "load", watched)
    train(**{**trained, "out": tmp_path / "again"}, state_dir=tmp_path / "state")
    (used,), fresh = opened, load(trained["model"], texts=trained["texts"])
    assert equal(used.state_dict(), fresh.state_dict())
    assert not any(value.requires_grad or value.grad is not None for value in used.parameters())
    assert digest(trained["model"]) == before
    start = contour_training.make(fresh, trained["seed"]).state_dict()
    moved = [name for name, value in weights(tmp_path / "again").items() if not torch.equal(value, start[name])]
    assert len(moved) > 0.9 * len(start)
    assert equal(weights(tmp_path / "again"), weights(trained["out"])), "the same arguments, the same bytes"


class After:
    """Asks this process to stop after a number of logged steps."""

    def __init__(self, step: int):
        self.step = step

    def __call__(self, step, values) -> None:
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stopped_training_goes_on_and_ends_bit_for_bit_where_an_undisturbed_one_does(trained, tmp_path):
    again = {**trained, "out": tmp_path / "out", "state_dir": tmp_path / "s"}
    with pytest.raises(checkpoint.Stopped, match="Stage contour was asked to stop and is saved at step 2 of 4"):
        train(**again, log=After(2))
    assert not (tmp_path / "out").exists()
    train(**again)
    assert equal(weights(tmp_path / "out"), weights(trained["out"]))
    losses = [[line["loss"] for line in read_lines(f / "history.jsonl")] for f in (tmp_path / "out", trained["out"])]
    assert losses[0] == losses[1]


def test_the_averaged_weights_are_handed_on(trained, tmp_path):
    last = {**trained, "cfg": {**trained["cfg"], "ema": 0.0}, "out": tmp_path / "out", "state_dir": tmp_path / "s"}
    train(**last)
    one, other = (
        [line["loss"] for line in read_lines(f / "history.jsonl")] for f in (tmp_path / "out", trained["out"])
    )
    assert one == other, "the same training"
    assert not equal(weights(tmp_path / "out"), weights(trained["out"]))


def test_a_state_of_another_generator_is_not_taken_up(trained, stages, tmp_path):
    again = {**trained, "out": tmp_path / "out", "state_dir": tmp_path / "s"}
    with pytest.raises(checkpoint.Stopped):
        train(**again, log=After(2))
    with pytest.raises(checkpoint.OtherTraining):
        train(**{**again, "model": stages["genus"]})


def test_the_folder_says_what_the_adapter_is_of(trained):
    manifest = read_json(trained["out"] / "manifest.json")
    assert manifest["generator"] == digest(trained["model"])
    wanted = {"kind": "contour", "stage": "species", "size": 8, "seed": 3, "steps": 4, "edges": CANNY}
    assert wanted.items() <= manifest.items()
    assert [line["step"] for line in read_lines(trained["out"] / "history.jsonl")] == [1, 2, 3, 4]
    backbone = load(trained["model"], texts=trained["texts"])
    assert Contour.load(trained["out"], backbone).edges == CANNY


def test_the_digest_is_of_the_weights_and_not_of_the_diary(stages, tmp_path):
    copy = shutil.copytree(stages["species"], tmp_path / "copy")
    (copy / "history.jsonl").write_text("{}\n")
    assert digest(copy) == digest(stages["species"])
    name = next(copy.rglob("*.safetensors"))
    name.write_bytes(name.read_bytes()[:-1] + b"\x7f")
    assert digest(copy) != digest(stages["species"])


def test_each_image_is_given_its_own_contour_however_a_batch_is_cut(trained):
    backbone, data = load(trained["model"], texts=trained["texts"]), Pack.load(trained["pack"])
    adapter = Contour.load(trained["out"], backbone)
    labels = torch.from_numpy(data.label)
    batch = contour_training.batches(trained["cfg"], 3, labels, backbone)(0)
    z0 = stage.source(backbone, data, None)(batch.chosen, batch.mirrored)
    asked = []

    def edges(chosen, mirrored):
        asked.append((chosen, mirrored))
        return EdgeMaps(data.pixels, CANNY)(chosen, mirrored)

    objective, places = ContourObjective(backbone, adapter, edges), torch.arange(4)
    with torch.no_grad():
        whole = objective(z0, batch, places)
        pieces = torch.cat([objective(z0[piece], batch, piece) for piece in places.split(1)])
    assert torch.allclose(whole, pieces, rtol=1e-5)
    assert torch.equal(asked[0][0], batch.chosen) and torch.equal(asked[0][1], batch.mirrored)
    assert [chosen.item() for chosen, _ in asked[1:]] == batch.chosen.tolist()


def test_validation_looks_along_the_held_out_contours_and_grids_show_them(trained, pack_of, tmp_path):
    held_out = pack_of(8, 30)  # more images than the training pack has contours
    held_out.save(tmp_path / "validation.npy")
    lines, shown = [], []
    cfg = {**trained["cfg"], "watch": {**WATCHED, "samples_every": 4, "validation_images": 30}}
    train(
        **{**trained, "cfg": cfg, "out": tmp_path / "out"}, state_dir=tmp_path / "s", validation=tmp_path / "validation.npy",
        log=lambda step, values: lines.append((step, values)), show=lambda name, path: shown.append((name, path)),
    )  # fmt: skip
    assert [step for step, values in lines if step and "validation_loss" in values] == [2, 4]
    assert [name for name, _ in shown] == ["samples/step-000004.png"]
    with Image.open(tmp_path / "out" / "samples" / "step-000004.png") as picture:
        grid = np.asarray(picture).reshape(8, 8, 5, 8, 3)  # 8 images; each, its contour, 3 drawings
    chosen = [30 * row // 8 for row in range(8)]
    assert np.array_equal(grid[:, :, 0], held_out.pixels[chosen])
    maps = EdgeMaps(held_out.pixels, CANNY)(torch.tensor(chosen), torch.zeros(8, dtype=torch.bool))
    assert np.array_equal(grid[:, :, 1, :, 0], maps.numpy())
    assert (grid[:, :, 2] != grid[:, :, 3]).any(), "each drawing has noise of its own"
    weights_of_both = weights(tmp_path / "out"), weights(trained["out"])
    assert equal(*weights_of_both), "looking changes nothing"


def test_pictures_of_another_size_are_refused(trained, pack_of, tmp_path):
    pack_of(16).save(tmp_path / "big.npy")
    with pytest.raises(BadGenerator, match="the generator draws 8 px"):
        train(**{**trained, "pack": tmp_path / "big.npy"}, state_dir=tmp_path / "s")


@pytest.mark.parametrize(
    "kind, precision", [("pipeline", "fp32"), ("pipeline_xl", "bf16")], ids=["sd 1.x", "sdxl, bf16"]
)
def test_a_pipeline_gets_an_adapter_trained_or_ready_made(kind, precision, request, cfg, pack_of, classes, tmp_path):
    levels, where = ["order"], {"pretrained": str(request.getfixturevalue(kind)), "revision": "main"}
    write_json(tmp_path / "classes.json", classes)
    pack_of(16).save(tmp_path / "train.npy")
    settings = cfg(
        backbone="stable-diffusion", size=16, levels=levels, steps=2, flip=False, precision=precision, **where
    )
    shared = {"pack": tmp_path / "train.npy", "texts": tmp_path / "texts.safetensors"}
    texts.encode(
        classes=tmp_path / "classes.json", levels=levels, backbone="stable-diffusion", out=shared["texts"], **where
    )
    from taxaforge.diffusion import latents

    latents.encode(pack=shared["pack"], size=16, flip=False, out=tmp_path / "latents.npy", **where)
    stage.train(
        stage="order", **shared, latents=tmp_path / "latents.npy", cfg=settings, seed=0, out=tmp_path / "order",
        state_dir=tmp_path / "s",
    )  # fmt: skip
    provide(
        model=tmp_path / "order", **shared, latents=tmp_path / "latents.npy", cfg={**settings, "pretrained": ""}, seed=0,
        out=tmp_path / "contour", state_dir=tmp_path / "t", micro_batch=3, gradient_checkpointing=True,
    )  # fmt: skip
    backbone = load(tmp_path / "order", texts=shared["texts"])
    adapter = Contour.load(tmp_path / "contour", backbone)
    assert adapter.net.controlnet_mid_block.weight.abs().max() > 0
    assert {value.dtype for value in weights(tmp_path / "contour").values()} == {torch.float32}

    ready = ControlNetModel.from_pretrained(tmp_path / "contour")
    ready.save_pretrained(tmp_path / "ready")
    chosen = {**CANNY, "low": 100, "pretrained": str(tmp_path / "ready"), "revision": "main"}
    provide(model=tmp_path / "order", **shared, cfg=chosen, seed=0, out=tmp_path / "adopted", state_dir=tmp_path / "u")
    adopted = Contour.load(tmp_path / "adopted", backbone)
    assert adopted.edges == {**CANNY, "low": 100} and adopted.about["pretrained"] == str(tmp_path / "ready")
    assert equal(adopted.net.state_dict(), adapter.net.state_dict())
