"""What the filter measures, against values worked out by hand and plain loops."""

import numpy as np
import pytest

from taxaforge.guidance.scores import Known, clipped, contrast, nearest, repeats, rivals, standing
from taxaforge.packs import Pack


def units(*shape, seed=0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def pack_of(pixels, group=None) -> Pack:
    names = [f"real-{number}" for number in range(len(pixels))]
    return Pack(pixels, ["a", "b"], names, np.arange(len(pixels)) % 2, group or names, [""] * len(pixels))


def noise(n, size=8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_contrast_and_clipping_of_pictures_made_by_hand():
    half = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    half[:, :2] = 200
    assert contrast(half) == pytest.approx([100.0])
    half[:, :2, :, 1:] = 255
    assert clipped(half) == pytest.approx([1 - 1 / 6])  # all but the red of the upper half
    assert clipped(np.full((1, 4, 4, 3), 254, dtype=np.uint8)) == pytest.approx([0])


def test_standing_is_a_softmax_and_a_rank():
    """Four classes, worked out by hand: logits 10 * cosine."""
    logits = 10 * np.array([[1.0, 0.0, 0.8, -1.0], [0.6, 0.8, 0.96, -0.6], [0.6, 0.8, 0.96, -0.6]])
    score, rank = standing(logits, np.array([0, 0, 2]))
    e = np.exp
    assert score[0] == pytest.approx(e(10) / (e(10) + e(0) + e(8) + e(-10)))
    assert score[1] == pytest.approx(e(6) / (e(6) + e(8) + e(9.6) + e(-6)))
    assert rank.tolist() == [1, 3, 1]


def test_standing_among_rivals_ignores_everyone_else():
    logits = np.array([[1.0, 2.0, 9.0], [1.0, 2.0, 9.0]])
    rival = np.array([[True, True, False], [True, True, True], [False, True, True]])
    score, rank = standing(logits, np.array([0, 1]), rival)
    assert score == pytest.approx([1 / (1 + np.exp(1)), 1 / (1 + np.exp(-1) + np.exp(7))])
    assert rank.tolist() == [2, 2]


def test_a_tie_or_a_number_that_is_none_counts_against_the_image():
    score, rank = standing(np.array([[1.0, 1.0, 0.0], [np.nan, np.nan, np.nan]]), np.array([0, 2]))
    assert rank.tolist() == [2, 3] and score[0] < 0.5 and np.isnan(score[1])


def test_an_image_that_is_far_from_its_class_scores_zero_without_a_warning(recwarn):
    assert standing(np.array([[-2000.0, 0.0]]), np.array([0]))[0].tolist() == [0.0]
    assert not recwarn.list


TREE = [
    {"kingdom": "Animalia", "order": "O", "family": "F", "genus": "G", "species": "G a"},
    {"kingdom": "Animalia", "order": "O", "family": "F", "genus": "G", "species": "G b"},
    {"kingdom": "Animalia", "order": "O", "family": "F", "genus": "H", "species": "H a"},
    {"kingdom": "Animalia", "order": "O", "family": None, "genus": "I", "species": "I a"},
    {"kingdom": "Plantae", "order": "P", "family": "Q", "genus": "G", "species": "G plant"},
]


@pytest.mark.parametrize(
    ("species", "found"),
    [
        pytest.param(0, [0, 1], id="its genus"),
        pytest.param(2, [0, 1, 2], id="its family, where it is alone in its genus"),
        pytest.param(3, [0, 1, 2, 3], id="its order, where the family is not known"),
        pytest.param(
            4, [0, 1, 2, 3, 4], id="all, where it has no relative; a genus of that name among animals is none"
        ),
    ],
)
def test_siblings_of(species, found):
    assert np.flatnonzero(rivals(TREE, "siblings")[species]).tolist() == found
    assert rivals(TREE, "all").all()


def test_the_nearest_is_the_one_that_a_loop_over_all_pairs_finds(monkeypatch):
    feature, reference = units(7, 5), units(23, 5, seed=1)
    allowed = np.random.default_rng(2).random((7, 23)) < 0.5
    monkeypatch.setattr("taxaforge.guidance.scores.AT_ONCE", 4)  # several parts, the last one shorter
    index, best = nearest(feature, reference)
    among, near = nearest(feature, reference, allowed)
    for i in range(7):
        similar = [float(feature[i].astype(float) @ reference[j].astype(float)) for j in range(23)]
        assert index[i] == int(np.argmax(similar)) and best[i] == pytest.approx(max(similar), abs=1e-6)
        free = [value if allowed[i, j] else -1 for j, value in enumerate(similar)]
        assert among[i] == int(np.argmax(free)) and near[i] == pytest.approx(max(free), abs=1e-6)


def test_of_equal_training_images_the_first_is_named(monkeypatch):
    reference = units(3, 4)[[0, 1, 1, 2, 1]]
    monkeypatch.setattr("taxaforge.guidance.scores.AT_ONCE", 2)
    assert nearest(reference[4:], reference)[0].tolist() == [1]


def test_an_exact_copy_is_found_whatever_its_place_and_nothing_else_is():
    pixels = noise(5)
    pixels[3] = pixels[1]
    pixels[3, 0, 0, 0] ^= 1  # shares its middle line with image 1
    known = Known(pack_of(pixels))
    assert [known.exact(picture) for picture in pixels] == [0, 1, 2, 3, 4]
    assert known.exact(noise(1, seed=9)[0]) is None
    assert known.exact(noise(1, size=16)[0]) is None  # another size
    columns = known.columns(pixels[[3]], None)
    assert columns == [{"nearestTrain": "real-3", "nearestSimilarity": 1.0, "exactCopy": True}]


def test_a_threshold_is_judged_by_real_images_of_other_observations():
    feature = units(6, 4)
    feature[1], feature[3] = feature[0], feature[2]  # two pairs of twins
    groups = ["x", "x", "y", "z", "u", "v"]  # the first pair shows one animal twice, which is no false alarm
    assert Known(pack_of(noise(6), groups), feature).false_alarms(0.999) == pytest.approx(2 / 6)
    assert Known(pack_of(noise(6), groups), feature).false_alarms(1.0) == 0


def test_a_repeat_is_an_earlier_image_of_the_same_species():
    feature, label = units(5, 4), np.array([0, 1, 0, 0, 1])
    feature[1], feature[3] = feature[0], feature[2]
    found = repeats(feature, label)
    assert found[:2] == [None, None]
    assert found[2] == pytest.approx(float(feature[2] @ feature[0]), abs=1e-6)
    assert found[3] == pytest.approx(1.0) and found[2] < 0.999  # of twins the later one is the repeat
    assert found[4] == pytest.approx(float(feature[4] @ feature[1]), abs=1e-6)
