"""Which image comes when: draws are counted."""

from collections import Counter

import numpy as np
import pytest

from taxaforge.classification import data, sampling
from taxaforge.errors import TaxaforgeError

REAL = np.array([0] * 8 + [1] * 3 + [3] * 1)  # species 2 has no real image
SYNTHETIC = np.array([0] * 2 + [1] * 5 + [2] * 2)  # species 3 has no synthetic one


def per_species(label, draws):
    return dict(Counter(label[draws].tolist()))


def test_balanced_draws_show_every_species_once_a_round():
    draws = sampling.balanced(REAL, 30, seed=0)
    assert per_species(REAL, draws) == {0: 10, 1: 10, 3: 10}
    assert all(sorted(REAL[draws[i : i + 3]]) == [0, 1, 3] for i in range(0, 30, 3))
    own = Counter(draws.tolist())
    assert {own[i] for i in range(8)} == {1, 2} and own[11] == 10  # no image again before all of its species came
    assert len(sampling.balanced(REAL, 31, seed=0)) == 31


def test_repeats_are_as_many_a_species_as_synthetic_images_would_be():
    budget, length = 5, 4 * (12 + 5 * 3)
    draws = sampling.duplicated(REAL, np.full(4, budget), length, seed=0)
    for i in range(0, length, 27):  # each pass: all real images, and five more of each species
        assert per_species(REAL, draws[i : i + 27]) == {0: 13, 1: 8, 3: 6}
    assert {Counter(draws.tolist())[i] for i in range(8)} == {6, 7}  # 4 + 20 / 8 repeats: all of them, in turn
    like_synthetic = data.order(12, 15, length, seed=0)
    unrepeated = like_synthetic < 12
    assert np.array_equal(draws[unrepeated], like_synthetic[unrepeated])  # same real image at the same place


def test_repeats_follow_a_budget_that_differs_by_species():
    budget, length = np.array([2, 9, 7, 0]), 5 * (12 + 11)  # the seven of the species without real images are nobody's
    draws = sampling.duplicated(REAL, budget, length, seed=0)
    for i in range(0, length, 23):
        assert per_species(REAL, draws[i : i + 23]) == {0: 10, 1: 12, 3: 1}
    like_synthetic = data.order(12, 11, length, seed=0)
    assert np.array_equal(draws[like_synthetic < 12], like_synthetic[like_synthetic < 12])


def test_without_a_budget_nothing_is_repeated():
    assert np.array_equal(sampling.duplicated(REAL, np.zeros(4, int), 20, seed=1), data.order(12, 0, 20, seed=1))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_replacing_keeps_the_species_of_every_draw(probability):
    draws, unreplaced = sampling.replaced(REAL, SYNTHETIC, probability, 6000, seed=0)
    plain = data.order(12, 0, 6000, seed=0)
    label = np.concatenate([REAL, SYNTHETIC])
    assert np.array_equal(label[draws], REAL[plain])
    exchanged = draws >= 12
    assert np.array_equal(draws[~exchanged], plain[~exchanged])
    possible = REAL[plain] != 3  # species 3 has nothing to be replaced by
    assert exchanged[possible].mean() == pytest.approx(probability, abs=0.03)
    assert unreplaced == pytest.approx(probability * (~possible).sum(), abs=40) and not exchanged[~possible].any()
    used = Counter(draws[exchanged].tolist())
    assert probability == 0 or abs(used[12] - used[13]) <= 1  # the two images of species 0 take turns
    assert not {19, 20} & used.keys()  # images of a species without real ones have nothing to replace


def test_what_is_replaced_at_a_lower_probability_is_replaced_at_a_higher_one():
    few, many = (sampling.replaced(REAL, SYNTHETIC, p, 500, seed=0)[0] >= 12 for p in (0.2, 0.6))
    assert few.any() and (many | ~few).all()


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_out_of_range_names_its_setting(probability):
    with pytest.raises(TaxaforgeError, match=r"classification\.mixing\.probability"):
        sampling.replaced(REAL, SYNTHETIC, probability, 10, seed=0)


def test_pretraining_is_synthetic_then_real_and_the_real_ones_are_those_of_all_arms():
    draws = sampling.pretrained(12, 9, first=20, length=50, seed=0)
    assert (draws[:20] >= 12).all() and np.array_equal(draws[20:], data.order(12, 0, 30, seed=0))
    assert sorted(draws[:9]) == list(range(12, 21))
    assert np.array_equal(sampling.pretrained(12, 9, 50, 50, seed=0), sampling.only_synthetic(12, 9, 50, seed=0))


def test_synthetic_images_alone_come_in_the_order_in_which_they_stand_beside_real_ones():
    beside = data.order(12, 9, 42, seed=0)
    assert np.array_equal(sampling.only_synthetic(12, 9, 18, seed=0), beside[beside >= 12])


def test_a_ratio_limits_synthetic_images_of_a_pass_and_all_of_them_come_round():
    draws = data.order(12, 9, 3 * 15, seed=0, share=3)
    for i in range(0, 45, 15):
        assert sorted(draws[i : i + 15][draws[i : i + 15] < 12]) == list(range(12))
    assert sorted(draws[draws >= 12]) == list(range(12, 21))  # three passes of three: each once
    assert np.array_equal(data.order(12, 9, 42, seed=0, share=50), data.order(12, 9, 42, seed=0))
    assert np.array_equal(draws[draws < 12], data.order(12, 0, 36, seed=0))


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: sampling.balanced(REAL, 60, seed),
        lambda seed: sampling.duplicated(REAL, np.full(4, 4), 60, seed),
        lambda seed: sampling.replaced(REAL, SYNTHETIC, 0.5, 60, seed)[0],
        lambda seed: sampling.pretrained(12, 9, 30, 60, seed),
        lambda seed: sampling.only_synthetic(12, 9, 60, seed),
    ],
)
def test_draws_depend_on_the_seed_alone(draw):
    assert np.array_equal(draw(0), draw(0)) and not np.array_equal(draw(0), draw(1))


def test_shuffled_labels_keep_their_histogram_their_mixtures_and_the_images(toy_pack):
    pack = toy_pack("generated", per_class=20)
    other, share = np.full(40, -1), np.ones(40)
    other[:5], share[:5] = 1, 0.7
    object.__setattr__(pack, "other", other)
    object.__setattr__(pack, "share", share)
    mixed = sampling.shuffled(pack, seed=0)
    rows = [sorted(zip(p.label, p.other, p.share, strict=True)) for p in (pack, mixed)]
    assert rows[0] == rows[1]  # a mixture moves as a whole
    assert mixed.label.tolist() != pack.label.tolist()
    assert 0.3 < (mixed.label == pack.label).mean() < 0.7  # two species: half are right by chance
    assert np.array_equal(mixed.pixels, pack.pixels) and mixed.identifier == pack.identifier
    assert sampling.shuffled(pack, seed=0).label.tolist() == mixed.label.tolist()
    assert sampling.shuffled(pack, seed=1).label.tolist() != mixed.label.tolist()


def test_species_without_synthetic_images_are_named():
    assert sampling.lacking(REAL, SYNTHETIC, ["a", "b", "c", "d"]) == ["d"]
