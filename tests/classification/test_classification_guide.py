"""The guide learns from the training split, is stopped by validation, and says which species it confuses."""

from dataclasses import replace

import numpy as np
import pytest

from taxaforge.classification.guide import train_guide
from taxaforge.classification.predict import load, predict
from taxaforge.classification.train import train
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of

CLASSES = ("Aa bb", "Cc dd", "Ee ff")


@pytest.fixture
def made(toy_pack, cfg, tmp_path):
    """Trains a guide; the third species has no validation image unless a pack is given."""
    few = toy_pack("validation", classes=CLASSES)
    few = Pack(few.pixels[:20], few.classes, few.identifier[:20], few.label[:20], few.group[:20], few.caption[:20])

    def run(name="guide", training=None, validation=few, **more):
        folder = tmp_path / name
        (toy_pack("train", classes=CLASSES) if training is None else training).save(folder / "packs/train.npy")
        validation.save(folder / "packs/validation.npy")
        packs = {"train": folder / "packs/train.npy", "validation": folder / "packs/validation.npy"}
        out = {"out": folder / "model.safetensors", "out_summary": folder / "validation.json"}
        train_guide(**packs, **out, **{"cfg": cfg, "seed": 1, **more}, every_s=1e9)
        return folder

    return run


def test_the_guide_is_the_classifier_of_the_real_arm_on_the_training_split(made, cfg):
    folder, told = made(), {}
    train(
        real=folder / "packs/train.npy", validation=folder / "packs/validation.npy", synthetic=[], arm="real",
        budget=None, cfg=cfg, seed=seed_of(1, "guide"), out=folder / "other.safetensors",
        out_history=folder / "history.jsonl", every_s=1e9, log=lambda step, values: told.update(values),
    )  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == (folder / "other.safetensors").read_bytes()
    assert read_json(folder / "validation.json")["accuracy"] == pytest.approx(told["validation_accuracy"])


def test_the_summary_counts_validation_images_and_mistakes_of_every_species(made, toy_pack):
    mislabelled = toy_pack("validation", classes=CLASSES)
    mislabelled = replace(mislabelled, label=np.array([0] * 10 + [1] * 2 + [1] * 12 + [1] * 12))  # none of Ee ff
    told: list[dict] = []
    folder = made(validation=mislabelled, log=lambda step, values: told.append(values))
    summary = read_json(folder / "validation.json")
    found = predict(load(folder / "model.safetensors"), mislabelled.pixels).argmax(1)
    missed = [int((found[mislabelled.label == c] != c).sum()) for c in (0, 1)]
    assert summary["species"] == {
        "Aa bb": {"images": 10, "wrong": missed[0]},
        "Cc dd": {"images": 26, "wrong": missed[1]},
        "Ee ff": {"images": 0, "wrong": 0},
    }
    assert missed[1] > 0
    alike = (missed[0] / 10 + missed[1] / 26) / 2  # species count alike, the absent one not at all
    assert summary["accuracy"] == pytest.approx(1 - alike)
    assert told[-1] == {"validation_accuracy": summary["accuracy"]}


def test_another_seed_is_another_guide_and_the_same_seed_the_same(made):
    one, again, other = made("one"), made("again"), made("other", seed=2)
    assert (one / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()


def test_packs_of_other_species_and_empty_ones_are_refused(made, toy_pack):
    with pytest.raises(TaxaforgeError, match="different classes"):
        made(validation=toy_pack("validation", classes=("Aa bb", "Xx yy", "Ee ff")))
