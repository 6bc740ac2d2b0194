import numpy as np
import pytest

from taxaforge.classification import arms, data
from taxaforge.config import classification as settings
from taxaforge.errors import TaxaforgeError


@pytest.mark.parametrize(
    "name, method, pack, long",
    [
        ("real", None, None, False),
        ("real-equal-steps", None, None, True),
        ("real+cfg", "cfg", "kept", True),
        ("real+a+b", "a+b", "kept", True),
        ("random-drop+cfg", "cfg", "control", True),
        ("random-drop+a+b", "a+b", "control", True),
        ("strong-augmentation", None, None, True),
        ("real-duplicated", None, None, True),
        ("balanced", None, None, True),
        ("logit-adjusted", None, None, True),
        ("label-shuffled+cfg", "cfg", "kept", True),
        ("synthetic+cfg", "cfg", "kept", True),
    ],
)
def test_an_arm_is_read_from_its_name(name, method, pack, long):
    assert arms.parse(name) == arms.Arm(name, method, pack, long)


@pytest.mark.parametrize(
    "name",
    ["", "real+", "random-drop", "random-drop+", "+cfg", "synthetic", "cfg+real", "real-equal", "balanced+cfg"],
)
def test_what_is_no_arm_is_refused_with_all_that_are(name):
    with pytest.raises(TaxaforgeError, match="is no arm") as caught:
        arms.parse(name)
    assert all(f" {known}" in str(caught.value) for known in (*arms.ALONE, *(f"{kind}+<" for kind in arms.PACKS)))


def test_the_settings_know_the_same_arms():
    assert (arms.ALONE, tuple(arms.PACKS)) == (settings.ALONE, settings.WITH_METHOD)
    every = [*arms.ALONE, *(f"{kind}+m" for kind in arms.PACKS)]
    assert [arms.parse(arm).name for arm in settings.Classification(arms=every).arms] == every


@pytest.mark.parametrize("dealt", [dict.fromkeys("abcd", 25), {"a": 100, "b": 0, "c": 0, "d": 0}])
def test_every_arm_but_real_makes_as_many_steps_as_images_were_asked_for(dealt):
    counts = {
        name: arms.steps(arms.parse(name), 100, None if name == "real" else dealt, epochs=3, batch_size=32)
        for name in (*arms.ALONE, "real+b", *(f"{kind}+a" for kind in arms.PACKS))
    }
    assert counts.pop("real") == 3 * 4
    assert set(counts.values()) == {3 * 7}


def test_an_equal_steps_arm_without_a_budget_is_an_error():
    with pytest.raises(TaxaforgeError, match=r"allocation\.json"):
        arms.steps(arms.parse("real-equal-steps"), 100, None, 3, 32)


def test_a_pass_over_the_pool_shows_every_image_once():
    sequence = data.order(7, 5, length=30, seed=1)
    assert sorted(sequence[:12]) == sorted(sequence[12:24]) == list(range(12))
    assert len(sequence) == 30
    assert (sequence[:12] >= 7).tolist() != (sequence[12:24] >= 7).tolist()  # mixed anew each pass


def test_arms_of_one_seed_see_the_real_images_in_the_same_order():
    alone, mixed = data.order(9, 0, 27, seed=3), data.order(9, 6, 45, seed=3)
    assert mixed[mixed < 9].tolist() == alone.tolist()
    assert data.order(9, 0, 27, seed=4).tolist() != alone.tolist()


def test_the_pool_finds_each_image_in_its_pack(toy_pack):
    first, second = toy_pack("a", per_class=3), toy_pack("b", per_class=2)
    pool = data.Pool([first, second])
    indices = np.array([7, 0, 5, 9, 6])
    want = np.concatenate([first.pixels, second.pixels])[indices]
    assert np.array_equal(pool.pixels(indices), want)
    assert pool.label.tolist() == [*first.label, *second.label]


def test_packs_of_different_classes_do_not_become_one_pool(toy_pack):
    with pytest.raises(TaxaforgeError, match="different classes"):
        data.Pool([toy_pack("a", classes=("x", "y")), toy_pack("b", classes=("y", "x"))])
