import ast
from pathlib import Path

import numpy as np
import pytest

import taxaforge
from taxaforge import tables
from taxaforge.classification import model
from taxaforge.classification.predict import load, predict
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.schema import PREDICTIONS
from taxaforge.evaluation.score import assert_scored_once, score
from taxaforge.files import read_json, read_lines, write_json
from taxaforge.packs import Pack

SPECIES = ["Aa bb", "Cc dd", "Ee ff"]


@pytest.fixture
def sealed(tmp_path):
    """A classifier that learned nothing, and a test pack without images of the third species."""
    write_json(tmp_path / "classes.json", [{"species": name} for name in SPECIES])
    rng = np.random.default_rng(0)
    Pack(
        pixels=rng.integers(0, 256, (10, 16, 16, 3), dtype=np.uint8),
        classes=SPECIES,
        identifier=[f"t{i}" for i in range(10)],
        label=np.array([0, 1] * 5),
        group=[f"g{i // 2}" for i in range(10)],
        caption=[""] * 10,
    ).save(tmp_path / "test.npy")
    model.save(model.create("test_resnet", SPECIES, 16), tmp_path / "model.safetensors")
    return tmp_path


def run(folder, seed=0, classes="classes.json", log=lambda step, values: None):
    score(
        model=folder / "model.safetensors",
        test=folder / "test.npy",
        classes=folder / classes,
        arm="real",
        seed=seed,
        out_predictions=folder / "predictions.parquet",
        out_metrics=folder / "metrics.json",
        ledger=folder / "state" / "openings.jsonl",
        log=log,
    )


def test_every_test_image_is_named_once_with_what_the_classifier_says(sealed):
    run(sealed)
    rows, pack = tables.read(PREDICTIONS, sealed / "predictions.parquet"), Pack.load(sealed / "test.npy")
    assert [row["identifier"] for row in rows] == pack.identifier and [row["group"] for row in rows] == pack.group
    want = predict(load(sealed / "model.safetensors"), pack.pixels)
    assert np.array_equal([row["probabilities"] for row in rows], want)
    assert [row["predicted"] for row in rows] == [SPECIES[i] for i in want.argmax(1)]
    assert [row["true"] for row in rows] == [SPECIES[i] for i in pack.label]
    values = read_json(sealed / "metrics.json")
    assert values["micro_top1"] == (want.argmax(1) == pack.label).mean()
    assert values["images"] == 10 and values["species_without_test_images"] == 1


def test_an_opening_is_recorded_once_and_another_model_or_seed_again(sealed):
    for seed in (0, 0, 1):
        run(sealed, seed)
    model.save(model.create("test_resnet", SPECIES, 16, seed=5), sealed / "model.safetensors")
    run(sealed)
    lines = read_lines(sealed / "state" / "openings.jsonl")
    assert [(line["arm"], line["seed"]) for line in lines] == [("real", "0"), ("real", "1"), ("real", "0")]
    assert lines[0]["model"] != lines[2]["model"] and lines[0]["test"] == lines[2]["test"]


@pytest.mark.parametrize(
    "scored, test",
    [
        (["a", "b"], ["a", "b", "c"]),
        (["a", "a", "b"], ["a", "b"]),
        (["a", "c"], ["a", "b"]),
        (["a", "b"], ["a", "a", "b"]),
    ],
)
def test_a_missing_repeated_or_foreign_test_image_is_an_error(scored, test):
    with pytest.raises(TaxaforgeError, match="exactly once"):
        assert_scored_once(scored, test)
    assert_scored_once(["b", "a"], ["a", "b"])


def test_a_repeated_test_image_stops_the_job(sealed):
    columns = read_json(sealed / "test.json")
    write_json(sealed / "test.json", columns | {"identifier": ["t0"] * 2 + columns["identifier"][2:]})
    with pytest.raises(TaxaforgeError, match="exactly once"):
        run(sealed)
    assert not (sealed / "predictions.parquet").exists()


def test_a_model_of_another_species_list_is_refused(sealed):
    write_json(sealed / "other.json", [{"species": name} for name in SPECIES[::-1]])
    with pytest.raises(TaxaforgeError, match="another species list"):
        run(sealed, classes="other.json")


def test_statistics_and_tables_do_not_load_torch():
    """Nothing that these modules import, directly or through another module of ours, is torch or timm."""
    source = Path(taxaforge.__file__).parent

    def imports(name, seen):
        path = source / Path(*name.split(".")[1:])
        path = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        if name in seen or not path.is_file():
            return seen
        seen.add(name)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for target in found:
                imports(target, seen) if target.startswith("taxaforge") else seen.add(target.split(".")[0])
        return seen

    light = (
        "statistics",
        "metrics",
        "image_metrics",
        "comparisons",
        "accuracy",
        "verdict",
        "cost",
        "schema",
        "predictions",
    )
    for name in light:
        assert not imports(f"taxaforge.evaluation.{name}", set()) & {"torch", "timm", "torchvision"}, name
    assert "torch" in imports("taxaforge.evaluation.score", set())  # the search does find it
