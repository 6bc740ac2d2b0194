"""Which likeness chance explains, and which makes a method a copier. Scores are invented; no picture is looked at."""

import numpy as np
import pytest

from taxaforge.evaluation.chance import all_largest, bound, excess, p_values, z_of
from taxaforge.evaluation.memorisation import Scored, judge, marks, scale_of

SPECIES = ["a", "b", "c", "d"]


def scored(z, label, rival=None, retained=None):
    n = len(z)
    return Scored(
        np.tanh(z), np.asarray(label), np.arange(n),
        np.full(n, 0.5) if rival is None else rival, np.full(n, np.nan) if retained is None else retained,
    )  # fmt: skip


def honest(rng, each=60, species=4, middle=(0.4, 0.5, 0.6, 0.7)):
    label = np.repeat(np.arange(species), each)
    return scored(np.array(middle)[label] + rng.gumbel(0, 0.12, len(label)), label)


def control(rng, middle=2.2):
    return scored(rng.normal(middle, 0.3, 80), np.repeat(np.arange(4), 20))


def outcome(images, held_out, made, references=(20, 20, 20, 20), **more):
    cfg = {"most": 0.01, "false_alarms": 0.05, "seed": 0} | more
    references = np.array(references)
    return judge(images, held_out, references, scale_of(references, held_out, made, 0.05), SPECIES, **cfg)


def planted(images, share, rng):
    z = z_of(images.score)
    copied = rng.permutation(len(z))[: round(share * len(z))]
    z[copied] = rng.normal(2.4, 0.2, len(copied))
    return scored(z, images.label)


def test_a_generator_that_copies_some_images_fails_and_the_copies_are_counted():
    rng = np.random.default_rng(0)
    images = planted(honest(rng), 0.05, rng)
    row = outcome(images, honest(rng, 100), control(rng))[0]
    assert row["outcome"] == "failed" and row["reason"].startswith("12 of 240")
    assert row["replicas"] == 12 and row["share"] == pytest.approx(0.05) and row["excess_low"] > 0


@pytest.mark.parametrize("apart", [2.2, 1.2])
def test_honest_generators_are_called_copiers_no_more_often_than_said(apart):
    """Also where copies look hardly different from other images of the species, so that the null alone decides."""
    rng = np.random.default_rng(1)
    wrong = [
        outcome(honest(rng, 30), honest(rng, 40), control(rng, apart))[0]["outcome"] == "failed" for _ in range(100)
    ]
    assert np.mean(wrong) <= 0.08  # 5 % and a standard error and a half


def test_copies_among_the_held_out_images_do_not_hide_those_of_a_method():
    rng = np.random.default_rng(2)
    held_out = planted(honest(rng, 100), 0.04, rng)
    row = outcome(planted(honest(rng), 0.05, rng), held_out, control(rng))[0]
    assert row["outcome"] == "failed" and row["replicas"] >= 11 and 14 <= row["held_out_copies"] <= 16
    assert outcome(honest(rng), held_out, control(rng))[0]["outcome"] == "passed"


def test_one_copy_among_many_images_is_let_pass_and_named():
    rng = np.random.default_rng(3)
    images = planted(honest(rng), 1 / 240, rng)
    row = outcome(images, honest(rng, 100), control(rng))[0]
    assert row["replicas"] == 1 and row["outcome"] == "passed" and "1 of 240" in row["reason"]
    assert outcome(images, honest(rng, 100), control(rng), most=0.0)[0]["outcome"] == "failed"


def test_species_with_few_images_are_listed_and_never_passed():
    rng = np.random.default_rng(4)
    held_out = honest(rng, 30)
    held_out = held_out.where((held_out.label != 1) | (np.arange(120) < 34))
    rows = {row["scope"]: row for row in outcome(honest(rng, 20), held_out, control(rng), (20, 20, 4, 20))}
    assert [rows[s]["outcome"] for s in "abcd"] == ["passed", "not assessable", "not assessable", "passed"]
    assert rows["all"]["assessed"] == 40 and "2 of 4 species" in rows["all"]["reason"]


def test_a_method_most_of_whose_images_were_not_looked_at_does_not_pass():
    rng = np.random.default_rng(14)
    row = outcome(honest(rng, 20), honest(rng, 30), control(rng), (20, 4, 4, 4))[0]
    assert (row["outcome"], row["assessed"]) == ("not assessable", 20) and "only 20 of 80 images" in row["reason"]
    assert outcome(honest(rng, 20), honest(rng, 30), control(rng), (20, 20, 4, 4))[0]["outcome"] == "passed"
    copied = planted(honest(rng, 20).where(np.arange(80) < 20), 0.5, rng)
    assert outcome(copied, honest(rng, 30), control(rng), (20, 4, 4, 4))[0]["outcome"] == "failed"


def test_images_of_no_assessed_species_are_not_called_no_images():
    rng = np.random.default_rng(15)
    images, held_out, made = honest(rng, 20), honest(rng, 30), control(rng)
    row = outcome(images.where(images.label == 3), held_out, made, (20, 20, 20, 4))[0]
    assert row["outcome"] == "not assessable" and "none of its images is of a species" in row["reason"]
    assert outcome(images.where(images.label > 3), held_out, made)[0]["reason"].startswith("no images")


@pytest.mark.parametrize("references", [(20, 20, 0, 20), (0, 0, 0, 3)])
def test_a_species_without_training_images_is_judged_by_copies_of_all_others(references):
    """`compared` is what the copies audit hands over: such a species is held against all training images."""
    rng, references = np.random.default_rng(16), np.array(references)
    made = control(rng)
    made = made.where(references[made.label] > 0)
    compared = np.where(references > 0, references, 60)
    scale = scale_of(compared, honest(rng, 40), made, 0.05)
    row = judge(planted(honest(rng), 0.05, rng), honest(rng, 40), references, scale, SPECIES, 0.01, 0.05, 0)[3]
    assert row["scope"] == "c" and row["references"] == 0 and row["assessed"] == 60 and row["found"] > 0.8
    assert row["outcome"] == ("failed" if row["replicas"] else "passed")


def test_an_audit_without_anything_to_compare_with_fails():
    rng = np.random.default_rng(5)
    nothing = honest(rng).where(np.zeros(240, bool))
    assert outcome(honest(rng), nothing, control(rng))[0]["outcome"] == "failed"
    row = outcome(honest(rng), honest(rng), nothing, (0, 0, 0, 0))[0]
    assert row["outcome"] == "failed" and "no training" in row["reason"]


def test_an_audit_that_could_not_see_a_copy_does_not_pass():
    rng = np.random.default_rng(6)
    row = outcome(honest(rng), honest(rng, 100), control(rng, 0.7))[0]
    assert row["outcome"] == "not assessable" and row["found"] < 0.5


def test_results_do_not_depend_on_the_order_of_images():
    rng = np.random.default_rng(7)
    images, held_out, made = planted(honest(rng), 0.03, rng), honest(rng, 100), control(rng)
    turn, other = rng.permutation(240), rng.permutation(400)
    one = outcome(images, held_out, made)
    two = outcome(images.where(turn), held_out.where(other), made)
    for a, b in zip(one, two, strict=True):
        assert {k: a[k] for k in ("replicas", "share", "excess", "outcome")} == {
            k: b[k] for k in ("replicas", "share", "excess", "outcome")
        }


def test_authenticity_is_read_beside_that_of_real_images():
    rng = np.random.default_rng(8)
    images = honest(rng)
    rival = np.where(np.arange(240) < 60, 0.999, 0.0)
    row = outcome(
        Scored(images.score, images.label, images.cluster, rival, np.full(240, 0.3)), honest(rng), control(rng)
    )[0]
    assert row["authentic"] == pytest.approx(0.25) and row["retained"] == pytest.approx(0.3)


def test_p_values_count_what_is_as_large():
    rng = np.random.default_rng(9)
    z, null = rng.integers(0, 9, 30).astype(float), rng.integers(0, 9, 40).astype(float)
    assert p_values(z, null) == pytest.approx([(1 + sum(h >= g for h in null)) / 41 for g in z])


def test_the_bound_is_crossed_as_seldom_as_said_and_hardly_moved_by_copies():
    rng = np.random.default_rng(10)
    clean = rng.gumbel(0.5, 0.1, (400, 300))
    crossed = np.mean([row.max() > bound(row, 300, 0.05) for row in clean])
    assert crossed < 0.12  # the quartiles are estimates themselves
    mixed = clean.copy()
    mixed[:, :12] = 3.0
    assert np.mean([bound(row, 300, 0.05) for row in mixed]) < 1.15 * np.mean([bound(row, 300, 0.05) for row in clean])
    assert bound(clean[0], 300, 0.001) > bound(clean[0], 300, 0.05) > bound(clean[0], 30, 0.05)


def test_the_chance_of_standing_above_a_whole_null_is_that_of_a_random_order():
    rng = np.random.default_rng(11)
    order = np.argsort(rng.uniform(size=(20000, 12)), axis=1)  # 4 images, 8 of a null; place 11 is the largest
    ranks = np.argsort(order, axis=1)
    above = (ranks[:, :4] > ranks[:, 4:].max(axis=1, keepdims=True)).sum(axis=1)
    for k in (1, 2, 3):
        assert all_largest(k, 4, 8) == pytest.approx((above >= k).mean(), abs=0.01)


def test_the_excess_of_images_like_the_null_is_seldom_above_zero():
    rng = np.random.default_rng(12)
    above = 0
    for run in range(100):
        z, null = rng.normal(size=200), rng.normal(size=300)
        value, low, high = excess(z, np.arange(200), null, np.arange(300), 0.01, run, draws=200)
        assert low <= value <= high or value == pytest.approx(-0.01)
        above += low > 0
    assert above <= 8


def test_marks_of_species_that_are_not_assessed_stay_open():
    rng = np.random.default_rng(13)
    scale = scale_of(np.array([20, 20, 2, 20]), honest(rng), control(rng), 0.05)
    p, replica = marks(honest(rng, 10), scale)
    assert np.isnan(p[20:30]).all() and not replica[20:30].any() and not np.isnan(p[:20]).any()
