import numpy as np
import pytest

from taxaforge import tables
from taxaforge.classification import model
from taxaforge.classification.judge import parts
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation.images import SETS, Seen, halves, measure, measure_method, nearest
from taxaforge.evaluation.schema import IMAGES
from taxaforge.files import write_json
from taxaforge.packs import Pack

SPECIES = ["Aa bb", "Cc dd"]
CFG = {"neighbours": 3, "floor_splits": 6}


def seen(n, seed, shift=0.0, right=0.9, prefix="", spread=1.0):
    """n images, half a species, in 6 dimensions; species differ by 3 in the first."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    feature = rng.normal(shift, spread, (n, 6))
    feature[:, 0] += 3 * label
    group = np.array([f"{prefix}{label[i]}-{i // 4}" for i in range(n)], dtype=object)
    return Seen(feature, rng.uniform(size=n) < right, label, group)


TRAINING, HELD_OUT = seen(80, 1, prefix="t"), seen(80, 2, prefix="h")


def rows_of(images, cfg=CFG):
    return {(r["scope"], r["metric"]): r for r in measure_method(images, TRAINING, HELD_OUT, SPECIES, cfg, 0)}


def test_fresh_real_images_lie_inside_the_floor_and_shifted_ones_do_not():
    fresh, shifted = rows_of(seen(80, 3)), rows_of(seen(80, 3, shift=2.0, right=0.2))
    for metric in ("fd", "kid"):
        assert fresh["all", metric]["value"] < 2 * abs(fresh["all", metric]["floor_high"])
        assert shifted["all", metric]["low"] > shifted["all", metric]["floor_high"]
    assert shifted["all", "precision"]["high"] < shifted["all", "precision"]["floor_low"]
    assert shifted["all", "recognised"]["high"] < shifted["all", "recognised"]["floor_low"]
    assert shifted["Aa bb", "recognised"]["n"] == 40


def test_copies_of_training_images_are_nearer_than_real_ones():
    copies = rows_of(TRAINING)
    assert copies["all", "nearest_train"]["value"] == pytest.approx(1)
    assert copies["all", "nearest_train"]["low"] > copies["all", "nearest_train"]["floor_high"]


def test_likeness_to_a_training_image_of_another_species_is_no_copy():
    training = Seen(np.eye(2), np.ones(2, bool), np.array([0, 1]), np.array(["a", "b"]))
    swapped = Seen(np.eye(2), np.ones(2, bool), np.array([1, 0]), np.array(["c", "d"]))
    assert nearest(swapped, training).tolist() == [0, 0] and nearest(training, training).tolist() == [1, 1]


def test_diversity_is_compared_at_equal_numbers():
    many = rows_of(seen(400, 8))["Aa bb", "vendi"]  # 200 generated, 80 real images of the species
    assert many["n"] == 80 and many["value"] == pytest.approx(many["floor"], rel=0.1)


def test_one_image_over_and_over_counts_as_one():
    same = seen(80, 4)
    same.feature[:] = same.feature[:2][same.label]
    row = rows_of(same)["all", "vendi"]
    assert row["value"] == pytest.approx(1) and row["floor_low"] > 2


def test_the_floor_does_not_depend_on_the_method_and_equals_the_real_row():
    one, two, real = rows_of(seen(80, 5)), rows_of(seen(80, 6)), rows_of(None)
    for metric in ("fd", "coverage"):
        assert one["all", metric]["floor"] == two["all", metric]["floor"] == real["all", metric]["value"]


def test_halves_share_no_group_and_hold_every_species():
    first, second = halves(HELD_OUT, 0)
    assert not set(HELD_OUT.group[first]) & set(HELD_OUT.group[second])
    assert sorted([*first, *second]) == list(range(80))
    assert set(HELD_OUT.label[first]) == set(HELD_OUT.label[second]) == {0, 1}
    assert sorted(first) != sorted(halves(HELD_OUT, 1)[0])


def test_too_few_images_are_not_assessed_instead_of_measured_badly():
    rows = rows_of(seen(6, 7))
    assert all(rows["all", metric]["value"] is None for metric in SETS)
    assert rows["all", "recognised"]["value"] is not None


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    write_json(tmp_path / "classes.json", [{"species": name} for name in SPECIES])
    for name, n in (("train", 24), ("validation", 16), ("reserve", 40), ("kept", 24)):
        Pack(
            pixels=rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8),
            classes=SPECIES,
            identifier=[f"{name}{i}" for i in range(n)],
            label=np.arange(n) % 2,
            group=[f"{name}{i}" for i in range(n)],
            caption=[""] * n,
        ).save(tmp_path / f"{name}.npy")
    model.save(model.create("test_resnet", SPECIES, 16), tmp_path / "judge.safetensors")
    return {name: tmp_path / f"{name}.npy" for name in ("train", "validation", "reserve")} | {
        "judge": tmp_path / "judge.safetensors",
        "classes": tmp_path / "classes.json",
        "kept": {"m": tmp_path / "kept.npy"},
    }


def test_the_table_holds_each_method_and_real_images_and_is_the_same_twice(files, tmp_path):
    for name in ("one.csv", "two.csv"):
        measure(**files, cfg=CFG, seed=0, out=tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    rows = {(r["method"], r["scope"], r["metric"]): r for r in tables.read(IMAGES, tmp_path / "one.csv")}
    assert {key[0] for key in rows} == {"real", "m"} and {key[1] for key in rows} == {"all", *SPECIES}
    held_out = len(parts(Pack.load(files["reserve"]))["held_out"])
    assert 0 < held_out < 10 and rows["real", "all", "recognised"]["n"] == 16 + held_out


def test_a_pack_of_other_species_is_refused(files, tmp_path):
    pack = Pack.load(files["kept"]["m"])
    Pack(pack.pixels, SPECIES[::-1], pack.identifier, pack.label, pack.group, pack.caption).save(tmp_path / "other.npy")
    with pytest.raises(TaxaforgeError, match="other species"):
        measure(**files | {"kept": {"m": tmp_path / "other.npy"}}, cfg=CFG, seed=0, out=tmp_path / "x.csv")
