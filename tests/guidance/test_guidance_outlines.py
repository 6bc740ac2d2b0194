"""Contours follow their image's seed, move as asked and no further, and come from the class they should."""

import numpy as np
import pytest

from taxaforge.diffusion.edges import edges
from taxaforge.guidance.outlines import READY_MADE, classmates, drawn, moved, outlines
from taxaforge.packs import Pack

STILL = {"flip": False, "shift": 0.0, "scale": 0.0, "rotate": 0.0, "perspective": 0.0}
ALL = {"flip": True, "shift": 0.1, "scale": 0.15, "rotate": 10.0, "perspective": 0.05}
SIDE = 32


def pictures(count: int) -> np.ndarray:
    """A bright block on dark, at another place in every picture."""
    out = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    for number in range(count):
        out[number, 8 + number : 20 + number, 6:18] = (200, 90, 60)
    return out


def corners(seed: int, **changes) -> np.ndarray:
    """Where (0, 0), (SIDE - 1, 0) and the middle go."""
    _, place = drawn(seed, {**STILL, **changes}, SIDE)
    middle = (SIDE - 1) / 2
    found = place @ np.array([[0, 0, 1], [SIDE - 1, 0, 1], [middle, middle, 1]], float).T
    return (found[:2] / found[2]).T


def test_where_nothing_moves_every_bit_of_the_contour_stays():
    source = edges(pictures(3), READY_MADE)
    found = outlines(pictures(3), [1, 2, 3], STILL, READY_MADE)
    assert found.dtype == np.uint8 and source.any()
    assert np.array_equal(found, source)


def test_a_contour_depends_on_its_seed_and_not_on_its_batch():
    together, again = (outlines(pictures(4), [1, 2, 3, 4], ALL, None) for _ in range(2))
    assert np.array_equal(together, again)
    for number in range(4):
        assert np.array_equal(together[number], outlines(pictures(4)[number : number + 1], [number + 1], ALL, None)[0])
    same = np.repeat(pictures(1), 4, 0)
    assert len({one.tobytes() for one in outlines(same, [1, 2, 3, 4], ALL, None)}) == 4


def test_no_global_random_number_is_drawn():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    outlines(pictures(2), [1, 2], ALL, None)
    assert np.array_equal(before, np.random.get_state()[1])


def test_edges_are_found_with_the_settings_that_the_adapter_was_trained_with():
    blind = outlines(pictures(1), [1], STILL, {"low": 60, "high": 2000, "blur": 0.7})
    assert not blind.any() and outlines(pictures(1), [1], STILL, None).any()


def test_a_mirrored_contour_is_the_contour_mirrored_and_half_of_them_are():
    source = edges(pictures(1), READY_MADE)[0]
    mirrored = [drawn(seed, {**STILL, "flip": True}, SIDE)[0] for seed in range(200)]
    assert 70 < sum(mirrored) < 130
    seed = mirrored.index(True)
    assert np.array_equal(outlines(pictures(1), [seed], {**STILL, "flip": True}, None)[0], source[:, ::-1])
    assert not any(drawn(seed, STILL, SIDE)[0] for seed in range(200))


def test_shift_moves_every_point_alike_and_at_most_so_far():
    found = np.array([corners(seed, shift=0.25) - corners(seed) for seed in range(200)])
    assert np.allclose(found, found[:, :1])
    assert np.abs(found).max(0).min() > 0.9 * 8 and np.abs(found).max() <= 8
    assert abs(found.mean()) < 1


def test_rotation_and_size_keep_the_middle_and_stay_within_their_limits():
    middle = np.full(2, (SIDE - 1) / 2)
    sides = np.array([corners(seed, rotate=30.0) for seed in range(200)])
    assert np.allclose(sides[:, 2], middle)
    edge = sides[:, 1] - sides[:, 0]
    angle = np.degrees(np.arctan2(edge[:, 1], edge[:, 0]))
    assert np.allclose(np.hypot(*edge.T), SIDE - 1)
    assert 27 < np.abs(angle).max() <= 30 and angle.min() < 0 < angle.max()
    sizes = np.array([np.diff(corners(seed, scale=0.25)[:2, 0])[0] for seed in range(200)]) / (SIDE - 1)
    assert 1 / 1.25 <= sizes.min() < 0.83 and 1.2 < sizes.max() <= 1.25
    assert abs(np.log(sizes).mean()) < 0.03  # as often smaller as larger


def test_perspective_moves_each_corner_on_its_own_and_at_most_so_far():
    far = np.array([corners(seed, perspective=0.1)[:2] - corners(seed)[:2] for seed in range(200)])
    assert 0.9 * 3.2 < np.abs(far).max() <= 3.2 + 1e-6
    assert abs(np.corrcoef(far[:, 0, 0], far[:, 1, 0])[0, 1]) < 0.2


def test_switching_one_transform_off_moves_no_other():
    for seed in range(5):
        kept = {**ALL, "flip": False, "perspective": 0.0}
        with_shift = drawn(seed, {**kept, "shift": 0.1}, SIDE)[1]
        without = drawn(seed, {**kept, "shift": 0.0}, SIDE)[1]
        assert np.array_equal(with_shift[:, :2], without[:, :2])
        assert (with_shift[:2, 2] != without[:2, 2]).all()


def test_a_point_goes_where_the_transform_says():
    """cv2 draws the forward map, not its inverse: a dot lands on the place of its pixel."""
    seed, change = 3, {**STILL, "shift": 0.2, "rotate": 20.0}
    dot = np.zeros((SIDE, SIDE), np.uint8)
    dot[9, 20] = 255
    x, y, _ = drawn(seed, change, SIDE)[1] @ np.array([20, 9, 1.0])
    found = moved(dot, drawn(seed, change, SIDE)).astype(float)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    centre = (found * columns).sum() / found.sum(), (found * rows).sum() / found.sum()
    assert centre == pytest.approx((x, y), abs=0.1)
    assert np.hypot(x - 20, y - 9) > 2


def pack(label: list[int]) -> Pack:
    names = [f"image {number}" for number in range(len(label))]
    return Pack(pictures(len(label)), ["a", "b", "c"], names, np.array(label), names, [""] * len(label))


def test_a_classmate_is_another_image_of_the_class_as_often_as_asked():
    train, seeds = pack([0, 0, 0, 1, 1, 2]), list(range(300))
    own = np.array([0, 3, 5] * 100)
    assert np.array_equal(classmates(own, train, seeds, 0.0), own)
    for share, least, most in ((0.5, 0.4, 0.6), (1.0, 1.0, 1.0)):
        chosen = classmates(own, train, seeds, share)
        assert np.array_equal(train.label[chosen], train.label[own])
        changed = (chosen != own).reshape(-1, 3).mean(0)
        assert least <= changed[0] <= most and least <= changed[1] <= most
        assert changed[2] == 0  # a class of one has no classmate
    assert set(chosen.tolist()) == {1, 2, 4, 5}
    alone = [classmates(own[i : i + 1], train, seeds[i : i + 1], 1.0)[0] for i in range(9)]
    assert np.array_equal(alone, chosen[:9])
