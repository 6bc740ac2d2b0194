"""Image metrics beside their floors, from features alone."""

import numpy as np
import pytest

from taxaforge.evaluation import floors
from taxaforge.evaluation.floors import SETS, Measure, mean_of, nearest
from taxaforge.evaluation.seen import Seen, halves, joined

SPECIES = ["Aa bb", "Cc dd"]
CFG = {"neighbours": 3, "floor_splits": 6, "kid_subset": 0}


def seen(n, seed, shift=0.0, right=0.9, prefix="", spread=1.0, d=6):
    """n images, half a species, in 6 dimensions; species differ by 3 in the first."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    feature = rng.normal(shift, spread, (n, d))
    feature[:, :1] += 3 * label[:, None]
    group = np.array([f"{prefix}{label[i]}-{i // 4}" for i in range(n)], dtype=object)
    return Seen(feature, label, group, {"recognised": rng.uniform(size=n) < right})


TRAINING, HELD_OUT = seen(80, 1, prefix="t"), seen(80, 2, prefix="h")


def measure(training=TRAINING, held_out=HELD_OUT, real=None, cfg=CFG, **kw):
    real = joined(training, held_out) if real is None else real
    return Measure(training=training, held_out=held_out, real=real, species=SPECIES, cfg=cfg, seed=0, **kw)


def rows_of(images, **kw):
    return {(r["scope"], r["metric"]): r for r in measure(**kw).rows(images)}


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
    training = Seen(np.eye(2), np.array([0, 1]), np.array(["a", "b"]))
    swapped = Seen(np.eye(2), np.array([1, 0]), np.array(["c", "d"]))
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


@pytest.mark.parametrize("n", [20, 50, 80, 400])
def test_values_and_floor_come_from_the_same_number_of_images_on_both_sides(monkeypatch, n):
    """At a different number each of these metrics differs between equal distributions."""
    sizes = set()
    for name in ("frechet_distance", "kid"):
        real = getattr(floors, name)
        monkeypatch.setattr(
            floors, name, lambda x, y, real=real: (sizes.add((len(x), len(y))), real(x, y))[1]
        )  # fmt: skip
    row = rows_of(seen(n, 9))["all", "fd"]
    half = min(len(side) for i in range(6) for side in halves(joined(TRAINING, HELD_OUT), i))
    assert len(sizes) == 1 and sizes == {(row["n"], row["n"])} and row["n"] <= min(n, 80)
    assert row["n"] == n or row["n"] >= half - 8


def test_the_floor_of_one_number_of_images_is_had_once(monkeypatch):
    calls = []
    monkeypatch.setattr(floors, "prdc", lambda x, y, k: calls.append(len(x)) or dict.fromkeys(SETS[2:], 0.0))
    measures = measure()
    for seed in (5, 6, 7):
        measures.rows(seen(40, seed))
    assert len(calls) == 6 + 3 * 6


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


def test_a_species_without_images_is_not_assessed_and_leaves_the_mean_to_the_others():
    images = seen(80, 3)
    rows = rows_of(images.where(images.label == 0))
    assert rows["Cc dd", "vendi"]["value"] is None and rows["Cc dd", "recognised"]["value"] is None
    assert rows["Cc dd", "vendi"]["n"] == 0
    assert rows["all", "vendi"]["value"] == rows["Aa bb", "vendi"]["value"]


def distances(n, spread, seed=0):
    points = np.random.default_rng(seed).normal(0, spread, (n, 3))
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def apart(near, n=20):
    """Both species' images as far apart as `near` says."""
    label = np.arange(2 * n) % 2
    return Seen(
        np.empty((2 * n, 0)), label, np.arange(2 * n).astype(str), {}, {c: distances(n, near, c) for c in (0, 1)}
    )


def test_images_that_resemble_each_other_lie_below_the_real_ones_of_their_species():
    real, narrow = apart(1.0), apart(0.1)
    rows = {(r["scope"], r["metric"]): r for r in measure(real, real, real, diversity="lpips").rows(narrow)}
    assert set(rows) == {(scope, "lpips") for scope in ("all", *SPECIES)}  # no features: nothing else is said
    for scope in ("all", "Aa bb"):
        assert rows[scope, "lpips"]["high"] < rows[scope, "lpips"]["floor_low"]
    assert rows["Aa bb", "lpips"]["n"] == floors.PAIRED == 10  # 45 pairs


def test_diversity_of_few_images_is_held_against_as_few_real_ones():
    rows = {(r["scope"], r["metric"]): r for r in measure(apart(1.0), apart(1.0), apart(1.0)).rows(apart(1.0, 4))}
    assert rows["Aa bb", "layer_diversity"]["n"] == 4
    single = {(r["scope"], r["metric"]): r for r in measure(apart(1.0), apart(1.0), apart(1.0)).rows(apart(1.0, 1))}
    assert single["all", "layer_diversity"]["value"] is None


def test_of_an_image_text_model_cmmd_stands_beside_the_other_distances():
    assert ("all", "cmmd") not in rows_of(seen(80, 3))
    rows = rows_of(seen(80, 3, shift=2.0), unit=True)
    assert {("all", "fd"), ("all", "kid"), ("all", "cmmd")} <= set(rows)
    assert rows["all", "cmmd"]["low"] > rows["all", "cmmd"]["floor_high"]


def test_kid_of_subsets_has_the_mean_of_kid_of_all():
    whole, parts = rows_of(seen(80, 3)), rows_of(seen(80, 3), cfg=CFG | {"kid_subset": 20})
    row, other = whole["all", "kid"], parts["all", "kid"]
    assert other["value"] != row["value"] and abs(other["value"] - row["value"]) < 0.2
    assert parts["all", "fd"] == whole["all", "fd"]


def test_a_share_has_wilson_s_interval_and_a_mean_the_normal_one():
    assert mean_of(np.array([True] * 8 + [False] * 2)) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-3)
    assert mean_of(np.array([1.0, 3.0])) == pytest.approx((2.0, 2 - 1.96, 2 + 1.96))
    assert mean_of(np.array([1.0])) == (None, None, None)
