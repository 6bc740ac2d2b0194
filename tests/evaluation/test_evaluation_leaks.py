"""Planted leaks between splits, and what the audits then say about every method."""

import numpy as np
import pytest

from taxaforge import tables
from taxaforge.collection.schema import LEAKAGE
from taxaforge.evaluation.alterations import ALTERATIONS, altered
from taxaforge.evaluation.audit_schema import AUDITS, LEAKED, LEAKS, MEMORISATION
from taxaforge.evaluation.audits import conclude, failed, unmade
from taxaforge.evaluation.leaks import audit_leaks
from taxaforge.files import write_json
from taxaforge.guidance.schema import IMAGES
from taxaforge.packs import Pack

CFG = {"leaked": 0.0, "false_alarms": 0.05}
SIZES = {"train": 60, "validation": 24, "test": 30, "reserve": 40, "drawn": 30}


def pictures(n, seed, size=32):
    """(n, size, size, 3) uint8: noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    f[0, 0] = 1
    values = np.fft.ifft2(np.fft.fft2(rng.normal(size=(n, 3, size, size))) / f).real
    values = 128 + 50 * (values - values.mean((2, 3), keepdims=True)) / values.std((2, 3), keepdims=True)
    return np.moveaxis(values, 1, 3).clip(0, 255).astype(np.uint8)


@pytest.fixture
def audit(tmp_path):
    """audit(name=pixels, ...) -> (rows of LEAKS by pair, rows of LEAKED). The test pack has no .json that could be read."""
    images = {name: pictures(n, seed) for seed, (name, n) in enumerate(SIZES.items())}

    def run(cfg=CFG, ties=0, groups=None, **changed):
        for name, pixels in {**images, **changed}.items():
            if name == "test":
                np.save(tmp_path / "test.npy", pixels)
                continue
            names = [f"{name}{i:02d}" for i in range(len(pixels))]
            own = (groups or {}).get(name, names)
            Pack(pixels, ["a", "b"], names, np.arange(len(names)) % 2, own, [""] * len(names)).save(
                tmp_path / f"{name}.npy"
            )
        forbidden = {"ties": ties, "images": ties, "forbidden": True}
        tables.write(
            LEAKAGE, [{"edge": "event", "split_a": "train", "split_b": "test"} | forbidden], tmp_path / "ties.csv"
        )
        audit_leaks(
            **{name: tmp_path / f"{name}.npy" for name in ("train", "validation", "test", "reserve")},
            kept={"drawn": tmp_path / "drawn.npy"},
            leakage=tmp_path / "ties.csv", cfg=cfg, seed=0, out=tmp_path / "leaks.csv", out_pairs=tmp_path / "pairs.csv",
        )  # fmt: skip
        rows = {(row["first"], row["second"]): row for row in tables.read(LEAKS, tmp_path / "leaks.csv")}
        return rows, tables.read(LEAKED, tmp_path / "pairs.csv")

    run.images, run.folder = images, tmp_path
    return run


def failing(rows):
    return {pair for pair, row in rows.items() if row["outcome"] == "failed"}


def test_clean_splits_pass_and_every_pair_is_compared(audit):
    rows, pairs = audit()
    assert failing(rows) == set() and pairs == []
    assert len(rows) == 6 + 4 and all(row["outcome"] == "passed" for row in rows.values())
    assert rows["test", "train"]["found"] > 0.8 and rows["drawn", "test"]["likeness_median"] > 0


def test_what_was_not_searched_is_not_said_to_be_free_of_copies(audit):
    drawn = audit.images["drawn"].copy()
    drawn[2] = altered(audit.images["train"][9:10], ["x"], 0)[0]
    reason = audit(drawn=drawn)[0]["drawn", "train"]["reason"]
    assert "have a copy" not in reason and "see memorisation.csv" in reason


def test_each_kind_of_copy_is_said_to_be_seen_or_not(audit):
    rows, _ = audit()
    shares = dict(part.rsplit(" ", 1) for part in rows["test", "train"]["found_kinds"].split(", "))
    assert list(shares) == list(ALTERATIONS) and rows["drawn", "train"]["found_kinds"] == ""
    numbers = [float(share.rstrip("%")) / 100 for share in shares.values()]
    assert np.mean(numbers) == pytest.approx(rows["test", "train"]["found"], abs=0.01)
    assert f"flipped {shares['flipped']}" in concluded(audit.folder, rows)[0]["leaks", "drawn"]["reason"]


def test_a_copied_test_image_is_found_and_named_by_its_place(audit):
    test = audit.images["test"].copy()
    test[7] = altered(audit.images["train"][11:12], ["x"], 0)[0]
    rows, pairs = audit(test=test)
    assert failing(rows) == {("test", "train")}
    assert rows["test", "train"]["copies"] == 1 and rows["test", "train"]["identical"] == 0
    assert [(p["image_first"], p["image_second"]) for p in pairs] == [("7", "train11")]
    assert "1 of 30" in rows["test", "train"]["reason"]


def test_a_training_image_that_is_a_part_of_a_test_image_is_found_too(audit):
    train = audit.images["train"].copy()
    train[3] = altered(audit.images["test"][5:6], ["x"], 0)[0]
    rows, pairs = audit(train=train)
    assert failing(rows) == {("test", "train")} and pairs[0]["image_first"] == "5"


def test_a_synthetic_image_of_the_test_split_fails_its_method_alone(audit):
    drawn = audit.images["drawn"].copy()
    drawn[2] = audit.images["test"][9]
    rows, pairs = audit(drawn=drawn)
    assert failing(rows) == {("drawn", "test")} and pairs[0]["identical"]
    drawn[2] = audit.images["train"][9]  # for the copies audit to judge
    rows, pairs = audit(drawn=drawn)
    row = rows["drawn", "train"]
    assert failing(rows) == set() and row["identical"] == 1
    assert row["reason"] == "1 of 30 images are in train pixel by pixel; copies: see memorisation.csv"
    found, bad = concluded(audit.folder, rows)
    assert row["reason"] in found["leaks", "drawn"]["reason"] and bad["drawn"] == []


def test_what_is_let_pass_is_a_share_of_copies_but_never_of_identical_images(audit):
    test = audit.images["test"].copy()
    test[7] = altered(audit.images["train"][11:12], ["x"], 0)[0]
    rows, _ = audit(cfg=CFG | {"leaked": 0.05}, test=test)
    assert failing(rows) == set() and rows["test", "train"]["copies"] == 1
    test[7] = audit.images["train"][11]
    rows, _ = audit(cfg=CFG | {"leaked": 0.05}, test=test)
    assert failing(rows) == {("test", "train")}


def test_shared_occasions_fail_whatever_the_images_show(audit):
    groups = {"validation": ["train05", *(f"v{i}" for i in range(23))]}
    assert failing(audit(groups=groups)[0]) == {("validation", "train")}
    assert failing(audit(ties=2)[0]) == {("test", "train")}


def test_an_empty_split_fails_and_does_not_pass(audit):
    rows, _ = audit(reserve=audit.images["reserve"][:0])
    assert failing(rows) == {("reserve", s) for s in ("train", "validation", "test")} | {("drawn", "reserve")}


def test_pixels_without_any_structure_are_not_called_copies(audit):
    flat = np.full((20, 32, 32, 3), 255, np.uint8) - np.arange(20, dtype=np.uint8)[:, None, None, None]
    rows, _pairs = audit(reserve=flat)
    assert ("reserve", "train") not in failing(rows)


def concluded(folder, leaks, outcome="passed", source=None, captioned=()):
    tables.write(LEAKS, leaks.values(), folder / "leaks.csv")
    values = {"string": "x", "int64": 1, "float64": 0.5, "bool": True}
    remembered = {name: values[column.type] for name, column in MEMORISATION.columns.items()}
    remembered |= {"method": "drawn", "scope": "all", "outcome": outcome, "reason": "3 of 30 images"}
    tables.write(MEMORISATION, [remembered], folder / "m.csv")
    row = {name: None if column.nullable else values[column.type] for name, column in IMAGES.columns.items()}
    tables.write(IMAGES, [row | {"identifier": "d0", "source": source}], folder / "drawn.parquet")
    write_json(folder / "captions.json", {name: ["words"] for name in captioned})
    conclude(
        leaks=folder / "leaks.csv", memorisation=folder / "m.csv", metadata={"drawn": folder / "drawn.parquet"},
        train=folder / "train.json", captions={"drawn": folder / "captions.json"}, out=folder / "audits.csv",
    )  # fmt: skip
    found = {(row["audit"], row["subject"]): row for row in tables.read(AUDITS, folder / "audits.csv")}
    return found, failed(folder / "audits.csv", ["drawn", "other"])


def test_an_audit_that_could_not_be_made_is_neither_passed_nor_failed(audit):
    _, bad = concluded(audit.folder, audit()[0], outcome="not assessable")
    assert bad == {"drawn": [], "other": []}
    assert unmade(audit.folder / "audits.csv", ["drawn", "other"]) == {
        "drawn": ["copies (3 of 30 images)"], "other": [],
    }  # fmt: skip


def test_clean_audits_fail_no_method(audit):
    found, bad = concluded(audit.folder, audit()[0], source="train03")
    assert set(found) == {("leaks", "real images"), ("leaks", "drawn"), ("copies", "drawn"), ("sources", "drawn")}
    assert all(row["outcome"] == "passed" for row in found.values()) and bad == {"drawn": [], "other": []}
    assert failed(None, ["drawn"]) == {"drawn": []}
    assert unmade(None, ["drawn"]) == {"drawn": ["any (audit.enabled is false)"]}


def test_a_leak_between_real_splits_is_every_methods(audit):
    test = audit.images["test"].copy()
    test[0] = audit.images["train"][0]
    _, bad = concluded(audit.folder, audit(test=test)[0])
    assert len(bad["drawn"]) == len(bad["other"]) == 1 and "test and train" in bad["other"][0]
    assert bad["other"][0].startswith("the real images, which every method shares: leaks (")


def test_audits_of_runs_that_are_joined_count_as_much_and_are_named(audit):
    leaks, folder = audit()[0], audit.folder
    for name, outcome in (("one", "passed"), ("two", "failed"), ("three", "not assessable")):
        concluded(folder, leaks, outcome=outcome)
        (folder / "audits.csv").rename(folder / f"{name}.csv")
    paths = [folder / f"{name}.csv" for name in ("one", "two", "three")]
    told = "copies (3 of 30 images)"
    assert failed(paths[0], ["drawn"], paths[1:]) == {"drawn": [f"evaluation.beside[0]: {told}"]}
    assert unmade(paths[0], ["drawn"], paths[1:]) == {"drawn": [f"evaluation.beside[1]: {told}"]}
    assert failed(paths[1], ["drawn"], paths[:1]) == {"drawn": [told]}
    assert failed(None, ["drawn"]) == {"drawn": []}


def test_copies_and_strange_sources_are_their_methods_own(audit):
    _, bad = concluded(audit.folder, audit()[0], outcome="failed", source="validation02")
    assert bad["other"] == [] and len(bad["drawn"]) == 2
    assert "3 of 30 images" in bad["drawn"][0] and "validation02" in bad["drawn"][1]


def test_a_caption_of_an_image_that_is_no_training_image_fails(audit):
    _, bad = concluded(audit.folder, audit()[0], captioned=["train00", "test07"])
    assert len(bad["drawn"]) == 1 and "test07" in bad["drawn"][0]
