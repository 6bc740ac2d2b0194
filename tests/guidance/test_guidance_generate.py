"""A shard on disk: complete, resumable, the same bytes whatever the sharding."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.sampler import NotFinite
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_lines, write_json
from taxaforge.guidance import generate as module
from taxaforge.guidance.generate import draw, generate
from taxaforge.guidance.noise import initial_noise
from taxaforge.guidance.recipe import Aids
from taxaforge.guidance.worklist import worklist
from taxaforge.progress import Progress

CFG = {"kind": "cfg", "steps": 3, "scheduler": "ddim", "interval": (0.0, 1.0), "course": "constant"}
CFG |= {"scale": 20.0}  # so strong that a wrong condition shows
TAXA = {**CFG, "kind": "taxadiffusion", "fine": "", "weak": "coarsest"}
SPECIES = ["Parus major", "Poecile palustris", "Sitta europaea"]


def run(stage, out, **changes):
    asked = {"method": "cfg", "cfg": CFG, "seed": 1, "shard": 0, "shards": 1, "micro_batch": 2, "every_s": 1e9}
    allocation = stage["model"].parent / "allocation.json"
    write_json(allocation, dict.fromkeys(SPECIES, 4))
    generate(**stage, allocation=allocation, out=out, **{**asked, **changes})
    return out


def tree(*folders: Path) -> dict[str, bytes]:
    """Pictures of all folders by file name; no name twice."""
    files = [(str(file.relative_to(folder)), file) for folder in folders for file in folder.rglob("*.png")]
    assert len(dict(files)) == len(files)
    return {name: file.read_bytes() for name, file in files}


def records(*folders: Path) -> dict[str, dict]:
    lines = [line for folder in folders for line in read_lines(folder / "records.jsonl")]
    return {line["identifier"]: line for line in lines}


@pytest.fixture(scope="module")
def whole(stage, tmp_path_factory) -> Path:
    return run(stage, tmp_path_factory.mktemp("whole") / "0")


def test_every_image_has_a_file_and_a_record(whole):
    lines = read_lines(whole / "records.jsonl")
    assert len(lines) == 12
    assert {line["file_name"] for line in lines} == tree(whole).keys()
    assert lines[1] == {
        "identifier": "cfg-Poecile_palustris-0000",
        "file_name": "Poecile_palustris/cfg-Poecile_palustris-0000.png",
        "scientificName": "Poecile palustris",
        "seed": worklist(SPECIES, [1, 1, 1], "any", 1)[1].seed,
        "method": "cfg",
        "kind": "cfg",
        "evidence": "standard",
        "scale": 20.0,
        "source": None,
        "strength": None,
        "other": None,
        "share": None,
        "steps": 3,
        "trace": None,
        "prompt": "family: Paridae; genus: Poecile; species: Poecile palustris",
    }
    with Image.open(whole / lines[1]["file_name"]) as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
    assert len(set(tree(whole).values())) == 12


def test_a_species_gets_its_own_condition_and_its_own_noise(whole, backbone):
    """The fifth image of the run, drawn alone and by hand from the pieces, by way of the noise in float64."""
    item = worklist(SPECIES, [4] * 3, "cfg", 1)[4]
    backbone.double()
    z, schedule = initial_noise([item.seed], backbone.latent_shape).double(), backbone.scheduler(3)
    label = torch.tensor([SPECIES.index(item.species)])
    for t in schedule.timesteps:
        fine, null = (backbone(z, t, c) for c in (backbone.condition(label, 2), backbone.null(1)))
        z = schedule.step(null + CFG["scale"] * (fine - null), t, z).prev_sample
    with Image.open(whole / item.file_name) as image:
        assert np.abs(np.asarray(image).astype(int) - backbone.to_image(z)[0]).max() <= 1


def test_the_same_settings_give_the_same_bytes(stage, whole, tmp_path):
    again = run(stage, tmp_path / "0")
    for name in ("records.jsonl", "shard.json"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()
    assert tree(again) == tree(whole)


@pytest.mark.parametrize("shards", [2, 3])
def test_several_shards_equal_one(stage, whole, tmp_path, shards):
    parts = [run(stage, tmp_path / str(shard), shard=shard, shards=shards) for shard in range(shards)]
    assert tree(*parts) == tree(whole)
    assert records(*parts) == records(whole)


def test_more_shards_than_images_leave_empty_ones(stage, whole, tmp_path):
    parts = [run(stage, tmp_path / str(shard), shard=shard, shards=9) for shard in range(9)]
    assert tree(*parts).keys() == tree(whole).keys()
    assert (parts[8] / "records.jsonl").read_bytes() == b""


def test_batch_and_order_change_an_image_by_rounding_only(backbone, monkeypatch):
    items = worklist(SPECIES, [3] * 3, "cfg", 1)
    latents, aids = {}, Aids([{"species": name} for name in SPECIES])
    monkeypatch.setattr(Backbone, "to_image", lambda self, z: z)
    for name, batch in {"all": items, "back": items[::-1], "pair": items[3:5], "one": items[4:5]}.items():
        cfg = {**CFG, "steps": 25, "scale": 2.0, "name": "cfg", "seed": 1}
        for item, z in zip(batch, draw(backbone, batch, cfg, aids)[0], strict=True):
            latents[name, item.identifier] = z
    for (_, identifier), z in latents.items():
        reference = latents["all", identifier]
        assert (z - reference).abs().max() <= 5e-6 * max(1, reference.abs().max())


def test_another_micro_batch_draws_the_same_pictures_within_a_grey_level(stage, whole, tmp_path):
    other = run(stage, tmp_path / "0", micro_batch=1)
    assert records(other) == records(whole)
    for name in tree(whole):
        with Image.open(whole / name) as a, Image.open(other / name) as b:
            assert np.abs(np.asarray(a).astype(int) - np.asarray(b)).max() <= 1


def killed_after(monkeypatch, batches):
    """Lets `batches` batches finish and cuts the next one in two: one of its images is written, then nothing."""
    calls, save = [], Image.Image.save

    def dying(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > 2 * batches + 1:
            raise KeyboardInterrupt
        save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", dying)


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_a_killed_shard_goes_on_and_ends_with_the_same_bytes(stage, whole, tmp_path, monkeypatch, batches):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_after(patch, batches)
        run(stage, tmp_path / "0", state_dir=tmp_path / "state")
    assert not (tmp_path / "0").exists()
    sizes = []
    monkeypatch.setattr(module, "draw", lambda *a, **k: sizes.append(len(a[1])) or draw(*a, **k))
    run(stage, tmp_path / "0", state_dir=tmp_path / "state")
    assert sum(sizes) == 12 - 2 * batches  # what was finished is not drawn again
    assert tree(tmp_path / "0") == tree(whole)
    assert (tmp_path / "0/records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    assert not list((tmp_path / "state").rglob("*.png"))
    assert {file.name for file in tmp_path.iterdir()} == {"0", "state"}


def test_a_killed_shard_goes_on_although_the_interval_is_a_tuple(stage, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_after(patch, 5)
        run(stage, tmp_path / "0", method="taxadiffusion", cfg=TAXA, state_dir=tmp_path / "state")
    drawn = []
    monkeypatch.setattr(module, "draw", lambda *a, **k: drawn.append(1) or draw(*a, **k))
    run(stage, tmp_path / "0", method="taxadiffusion", cfg=TAXA, state_dir=tmp_path / "state")
    assert len(drawn) == 1


@pytest.mark.parametrize("change", [{"cfg": {**CFG, "scale": 1.5}}, {"seed": 2}], ids=str)
def test_what_another_request_left_is_not_used(stage, tmp_path, monkeypatch, change):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_after(patch, 3)
        run(stage, tmp_path / "0", state_dir=tmp_path / "state")
    run(stage, tmp_path / "0", state_dir=tmp_path / "state", **change)
    assert tree(tmp_path / "0") == tree(run(stage, tmp_path / "1", **change))


def test_what_another_model_left_is_not_used(stage, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_after(patch, 3)
        run(stage, tmp_path / "0", state_dir=tmp_path / "state")
    other = shutil.copytree(stage["model"], tmp_path / "model")
    weights = module.backbones.load(other, texts=stage["texts"]).unet
    with torch.no_grad():
        weights.conv_out.weight.mul_(0.5)
    weights.save_pretrained(other / "unet")
    changed = {**stage, "model": other}
    run(changed, tmp_path / "0", state_dir=tmp_path / "state")
    assert tree(tmp_path / "0") == tree(run(changed, tmp_path / "1"))


def test_compared_methods_start_from_the_same_noise(stage, tmp_path, monkeypatch):
    starts, original = {}, module.sample
    for method, cfg in {"cfg": CFG, "taxadiffusion": TAXA}.items():
        monkeypatch.setattr(module, "sample", lambda p, z, *rest, m=method: original(p, starts.setdefault(m, z), *rest))
        run(stage, tmp_path / method, method=method, cfg=cfg, micro_batch=64)
    assert torch.equal(starts["cfg"], starts["taxadiffusion"])
    images = [tree(tmp_path / method) for method in starts]
    assert set(images[0].values()).isdisjoint(images[1].values())


def test_a_nan_stops_the_job_with_method_step_and_image(stage, tmp_path, monkeypatch):
    original = Backbone.predict

    def breaks(self, z, t, tokens, **more):
        eps = original(self, z, t, tokens)
        if t < 500:
            eps[1] = float("nan")
        return eps

    monkeypatch.setattr(Backbone, "predict", breaks)
    with pytest.raises(NotFinite, match=r"Method cfg: .* step 2 in 1 image\(s\): cfg-Poecile_palustris-0000\."):
        run(stage, tmp_path / "0")
    assert not (tmp_path / "0").exists()


def test_an_unknown_method_is_answered_with_the_known_ones(stage, tmp_path):
    with pytest.raises(TaxaforgeError, match=r"'cgf'. Choose from cfg, "):
        run(stage, tmp_path / "0", cfg={**CFG, "kind": "cgf"})


def test_progress_counts_only_what_this_process_draws(stage, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        killed_after(patch, 3)
        run(stage, tmp_path / "0", state_dir=tmp_path / "state")
    logged, starts = [], []
    monkeypatch.setattr(module, "Progress", lambda *a, **k: starts.append(k["start"]) or Progress(*a, **k))
    run(stage, tmp_path / "0", state_dir=tmp_path / "state", every_s=0, log=lambda *a: logged.append(a))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("cfg:")]
    assert starts == [6]
    assert "6/12" in lines[0]
    assert "12/12 images (100%)" in lines[-1]
    ((step, values),) = logged
    assert step is None
    assert values["images"] == 12
    assert 0 < values["seconds_per_image"] < 5


def test_what_was_asked_is_written_beside_the_images(whole):
    assert json.loads((whole / "shard.json").read_text()) == {
        "method": "cfg",
        "seed": 1,
        "cfg": {**CFG, "interval": [0.0, 1.0], "name": "cfg", "seed": 1},
        "shard": 0,
        "shards": 1,
        "counts": dict.fromkeys(SPECIES, 4),
        "species": SPECIES,
    }
