"""The job that measures images: which real images each model is held against, and what its table says."""

import numpy as np
import pytest
import torch

from taxaforge import tables
from taxaforge.classification import model
from taxaforge.classification.judge import parts
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import images
from taxaforge.evaluation.images import measure
from taxaforge.evaluation.schema import IMAGES
from taxaforge.files import write_json
from taxaforge.packs import Pack
from taxaforge.semantics.train import train as train_semantics

SPECIES = ["Aa bb", "Cc dd", "Ee ff"]
RECORDS = [{"species": name, "genus": name.split()[0], "family": "F" if i else "G"} for i, name in enumerate(SPECIES)]
JUDGE = {"name": "judge", "kind": "judge", "shaped": []}
CFG = {"neighbours": 3, "floor_splits": 4, "kid_subset": 0, "features": [JUDGE]}
SEMANTICS = {"source": "trained", "pretrained": "", "width": 32, "layers": 1, "context_length": 16}
SEMANTICS |= {"steps": 30, "batch_size": 12, "learning_rate": 4e-3}


def save(path, n, seed, label=None):
    """n pictures, red, green or blue after their species."""
    rng, colour = np.random.default_rng(seed), np.arange(n) % 3
    pixels = rng.integers(0, 90, (n, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(n), :, :, colour] += 150
    name = [f"{path.stem}{i}" for i in range(n)]
    Pack(pixels, SPECIES, name, colour if label is None else label, name, [""] * n).save(path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_json(folder / "classes.json", RECORDS)
    sizes = {"train": 36, "validation": 24, "reserve": 60, "kept": 36}
    made = {name: save(folder / f"{name}.npy", n, i) for i, (name, n) in enumerate(sizes.items())}
    model.save(model.create("test_resnet", SPECIES, 32), folder / "judge.safetensors")
    train_semantics(
        pack=made["train"], classes=folder / "classes.json", cfg=SEMANTICS, seed=0, out=folder / "semantics"
    )
    swapped = save(folder / "swapped.npy", 36, 9, (np.arange(36) + 1) % 3)
    return {name: made[name] for name in ("train", "validation", "reserve")} | {
        "judge": folder / "judge.safetensors",
        "classes": folder / "classes.json",
        "semantics": folder / "semantics",
        "kept": {"m": made["kept"], "swapped": swapped},
    }


def table(files, out, **changed):
    logged = {}
    cfg = CFG | changed
    measure(**files, cfg=cfg, seed=0, out=out, log=lambda step, values: logged.update(values))
    rows = {(r["method"], r["features"], r["scope"], r["metric"]): r for r in tables.read(IMAGES, out)}
    return rows, logged


@pytest.fixture(scope="module")
def both(files, tmp_path_factory):
    """Measured by the judge and by the image-text model, which filtered method m."""
    eyes = {"name": "semantics", "kind": "semantics", "shaped": ["m"]}
    return table(files, tmp_path_factory.mktemp("both") / "images.csv", features=[JUDGE, eyes])


def test_the_table_holds_each_method_and_real_images_and_is_the_same_twice(files, tmp_path):
    rows, _ = table(files, tmp_path / "one.csv")
    table(files, tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert {key[0] for key in rows} == {"real", "m", "swapped"} and {key[2] for key in rows} == {"all", *SPECIES}
    held_out = len(parts(Pack.load(files["reserve"]))["held_out"])
    assert 0 < held_out < 15 and rows["real", "judge", "all", "recognised"]["n"] == 24 + held_out


def test_a_further_model_leaves_the_judge_s_rows_as_they_were(both, files, tmp_path):
    alone, logged = table(files, tmp_path / "alone.csv")
    rows, more = both
    assert {key: row for key, row in rows.items() if key[1] == "judge"} == alone
    assert logged.items() <= more.items() and "fd/m" in logged and "semantics/fd/m" in more


def test_images_that_show_another_species_do_not_fit_their_name(both):
    rows, _ = both
    for metric in ("species_top1", "sibling_margin", "text_alignment", "clip_score"):
        right, wrong = (rows[method, "semantics", "all", metric] for method in ("m", "swapped"))
        assert right["low"] > wrong["high"] and wrong["value"] < wrong["floor_low"], metric
    assert rows["real", "semantics", "all", "species_top1"]["value"] > 0.9


def test_a_model_that_filtered_a_method_s_images_is_marked_there_and_nowhere_else(both):
    rows, _ = both
    assert {key[:2] for key, row in rows.items() if not row["independent"]} == {("m", "semantics")}


def test_a_model_trained_on_training_images_is_held_against_others_alone(both):
    """All of the reserve split, of which the judge may use only the part that it did not learn from."""
    rows, _ = both
    assert rows["real", "semantics", "all", "species_top1"]["n"] == 24 + 60
    assert rows["real", "semantics", "all", "fd"]["n"] <= (24 + 60) // 2 + 3
    assert rows["real", "semantics", "all", "cmmd"]["value"] is not None
    assert rows["real", "judge", "all", "fd"]["n"] >= 30


def test_each_pack_is_looked_at_once_a_model(files, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(
        images, "see", lambda eyes, pack, see=images.see: (looked.append(len(pack)), see(eyes, pack))[1]
    )
    table(files, tmp_path / "images.csv")
    assert len(looked) == len(["train", "validation", "reserve", "m", "swapped"])


def test_measuring_leaves_the_global_random_state_alone(files, tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    table(files, tmp_path / "images.csv")
    assert torch.equal(before[0], torch.random.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


def test_a_pack_of_other_species_is_refused(files, tmp_path):
    pack = Pack.load(files["kept"]["m"])
    Pack(pack.pixels, SPECIES[::-1], pack.identifier, pack.label, pack.group, pack.caption).save(tmp_path / "other.npy")
    with pytest.raises(TaxaforgeError, match="other species"):
        measure(**files | {"kept": {"m": tmp_path / "other.npy"}}, cfg=CFG, seed=0, out=tmp_path / "x.csv")


def test_a_judge_of_other_species_is_refused(files, tmp_path):
    write_json(tmp_path / "classes.json", RECORDS[::-1])
    with pytest.raises(TaxaforgeError, match=r"judge.safetensors was trained for another species list.*Delete it"):
        measure(**files | {"classes": tmp_path / "classes.json"}, cfg=CFG, seed=0, out=tmp_path / "x.csv")


def test_a_method_with_a_handful_of_images_is_not_assessed_rather_than_measured_badly(files, tmp_path):
    few = {"kept": {"few": save(tmp_path / "few.npy", 4, 5)}}
    rows, logged = table(files | few, tmp_path / "images.csv")
    assert rows["few", "judge", "all", "fd"]["value"] is None and "fd/few" not in logged
    assert rows["few", "judge", "Ee ff", "layer_diversity"]["value"] is None
    assert rows["few", "judge", "all", "recognised"]["n"] == 4
