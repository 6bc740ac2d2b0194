"""The memorisation audit on packs: a method that copies, one that does not, and one that starts from training images."""

import numpy as np
import pytest
from PIL import Image

from taxaforge import tables
from taxaforge.evaluation.alterations import altered
from taxaforge.evaluation.audit_schema import COPIES, MEMORISATION
from taxaforge.evaluation.copies import audit_copies
from taxaforge.guidance.schema import IMAGES
from taxaforge.packs import Pack
from taxaforge.tables import TYPES

SPECIES = ["Aglais io", "Aglais urticae", "Pieris rapae"]
CFG = {"replicas": 0.01, "false_alarms": 0.05}


def pictures(n, seed, size=24):
    """(n, size, size, 3) uint8: noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, 3, size, size))) / f).real
    values = 128 + 50 * (values - values.mean((2, 3), keepdims=True)) / values.std((2, 3), keepdims=True)
    return np.moveaxis(values, 1, 3).clip(0, 255).astype(np.uint8)


def pack(pixels, prefix, groups=None, labels=None):
    n = len(pixels)
    names = [f"{prefix}{i:03d}" for i in range(n)]
    labels = np.arange(n) % 3 if labels is None else np.full(n, labels)
    return Pack(pixels, SPECIES, names, labels, groups or names, [""] * n)


def record(identifier, method, source=None):
    values = {"string": "x", "int64": 1, "float64": 0.5, "bool": True, "list<double>": [0.5]}
    row = {name: None if column.nullable else values[column.type] for name, column in IMAGES.columns.items()}
    return row | {"identifier": identifier, "method": method, "source": source, "kept": True, "reason": ""}


@pytest.fixture
def run(tmp_path):
    """run({method: (pixels, sources)}) -> (rows of MEMORISATION, rows of COPIES by identifier); sources None: none."""
    train = pack(pictures(60, 1), "t", [f"g{i // 6}-{i % 3}" for i in range(60)])
    train.save(tmp_path / "train.npy")
    pack(pictures(45, 2), "v").save(tmp_path / "validation.npy")
    pack(pictures(60, 3), "r").save(tmp_path / "reserve.npy")

    def audit(methods, held_out=("validation", "reserve"), folder="out", labels=None):
        for method, (pixels, sources) in methods.items():
            images = pack(pixels, f"{method}-", labels=labels)
            images.save(tmp_path / f"{method}.npy")
            rows = [
                record(n, method, s) for n, s in zip(images.identifier, sources or [None] * len(pixels), strict=True)
            ]
            tables.write(IMAGES, rows, tmp_path / f"{method}.parquet")
        out = tmp_path / folder
        audit_copies(
            train=tmp_path / "train.npy",
            held_out=[tmp_path / f"{name}.npy" for name in held_out],
            kept={method: tmp_path / f"{method}.npy" for method in methods},
            metadata={method: tmp_path / f"{method}.parquet" for method in methods},
            cfg=CFG, seed=0, out=out / "m.csv", out_copies=out / "c.parquet", out_sheet=out / "s.png",
        )  # fmt: skip
        copies = tables.read(COPIES, out / "c.parquet")
        return tables.read(MEMORISATION, out / "m.csv"), {row["identifier"]: row for row in copies}

    audit.train, audit.folder = train, tmp_path
    return audit


def whole(rows):
    return {row["method"]: row for row in rows if row["scope"] == "all"}


def test_a_generator_that_copies_fails_and_one_that_draws_passes(run):
    copied = altered(run.train.pixels[:9], run.train.identifier[:9], 5)
    rows, copies = run({"copier": (np.concatenate([copied, pictures(51, 7)]), None), "honest": (pictures(60, 8), None)})
    found = whole(rows)
    assert found["copier"]["outcome"] == "failed" and 8 <= found["copier"]["replicas"] <= 9
    assert found["honest"]["outcome"] == "passed" and found["honest"]["replicas"] == 0
    assert found["honest"]["found"] > 0.8 and found["copier"]["references"] == 60 and found["copier"]["held_out"] == 105
    marked = {name for name, row in copies.items() if row["replica"]}
    assert marked <= {f"copier-{i:03d}" for i in range(9)}
    assert copies["copier-000"]["nearest"] == "t000" and copies["copier-000"]["p"] == pytest.approx(1 / 106)
    assert {row["scope"] for row in rows} == {"all", *SPECIES}


def test_what_an_image_started_from_is_retention_and_a_copy_of_another_image_is_not(run):
    names = run.train.identifier
    faithful = run.train.pixels[:30]
    rows, copies = run({
        "faithful": (faithful, names[:30]),  # hardly changed, each from the image that it shows
        "stray": (faithful, [names[(i + 30) % 60] for i in range(30)]),  # each said to start from another group's image
    })  # fmt: skip
    found = whole(rows)
    assert found["faithful"]["outcome"] == "passed" and found["faithful"]["retained"] == pytest.approx(1, abs=1e-4)
    assert found["stray"]["outcome"] == "failed" and found["stray"]["replicas"] == 30
    assert found["stray"]["retained"] < 0.8
    row = copies["faithful-000"]
    assert row["source"] == "t000" and row["retained"] == pytest.approx(1, abs=1e-4) and row["nearest"] != "t000"


def test_a_copy_of_its_sources_own_occasion_is_no_copy_of_another_image(run):
    names, group = run.train.identifier, run.train.group
    other = [next(j for j in range(60) if j != i and group[j] == group[i]) for i in range(30)]
    rows, _ = run({"burst": (run.train.pixels[:30], [names[j] for j in other])})
    assert whole(rows)["burst"]["outcome"] == "passed"


def test_copies_are_seen_in_images_of_a_species_that_nothing_was_learned_of(run):
    train = run.train.pixels
    seen = np.arange(60)[np.arange(60) % 3 < 2]
    Pack(train[seen], SPECIES, [f"t{i:03d}" for i in seen], seen % 3, [f"g{i}" for i in seen], [""] * 40).save(
        run.folder / "train.npy"
    )
    copied = altered(train[seen[:6]], [f"t{i:03d}" for i in seen[:6]], 5)
    rows, copies = run({"copier": (np.concatenate([copied, pictures(24, 7)]), None)}, labels=2)
    found = {row["scope"]: row for row in rows}
    for scope in ("all", SPECIES[2]):
        assert found[scope]["outcome"] == "failed" and found[scope]["replicas"] >= 5, scope
    assert found[SPECIES[2]]["references"] == 0 and copies["copier-001"]["nearest"] == "t001"
    honest, _ = run({"honest": (pictures(30, 8), None)}, labels=2)
    assert whole(honest)["honest"]["outcome"] == "passed" and whole(honest)["honest"]["assessed"] == 30


def test_without_held_out_images_the_audit_fails(run):
    pack(pictures(0, 1), "none").save(run.folder / "empty.npy")
    rows, _ = run({"honest": (pictures(30, 8), None)}, held_out=("empty",))
    assert whole(rows)["honest"]["outcome"] == "failed"


def test_held_out_images_of_a_training_occasion_are_no_null(run):
    train = run.train
    pack(np.concatenate([train.pixels[:30], pictures(60, 3)]), "r", [*train.group[:30], *map(str, range(60))]).save(
        run.folder / "mixed.npy"
    )
    rows, _ = run({"honest": (pictures(30, 8), None)}, held_out=("mixed",))
    assert whole(rows)["honest"]["held_out"] == 60


def test_the_same_packs_give_the_same_bytes_and_a_sheet_to_look_at(run):
    methods = {"honest": (pictures(60, 8), None)}
    run(methods, folder="one")
    run(methods, folder="two")
    for name in ("m.csv", "c.parquet", "s.png"):
        assert (run.folder / "one" / name).read_bytes() == (run.folder / "two" / name).read_bytes()
    with Image.open(run.folder / "one/s.png") as sheet:
        assert sheet.width > 1000 and sheet.height > 1000


def test_records_of_the_test_have_the_columns_of_the_workflow():
    assert all(column.type in TYPES for column in IMAGES.columns.values())
    IMAGES.check([record("a", "m")], "here")
