"""Likeness of pictures to their copies, on invented pictures with the spectrum of photographs."""

import numpy as np
import pytest
from PIL import Image

from taxaforge.evaluation import likeness
from taxaforge.evaluation.alterations import ALTERATIONS, altered
from taxaforge.evaluation.likeness import nearest, paired, planes


def pictures(n, size=32, seed=0):
    """(n, size, size, 3) uint8: noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(seed)
    side = max(size, 64)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    f[0, 0] = 1
    noise = np.fft.fft2(rng.normal(size=(n, 3, side, side))) / f
    noise[:, 1:] = 0.7 * noise[:, :1] + 0.5 * noise[:, 1:]  # colours of a photograph go together
    values = np.fft.ifft2(noise).real
    values = (values - values.mean((2, 3), keepdims=True)) / values.std((2, 3), keepdims=True)
    small = [
        Image.fromarray(v).resize((size, size), Image.Resampling.BOX)
        for v in np.moveaxis((128 + 50 * values).clip(0, 255).astype(np.uint8), 1, 3)
    ]
    return np.stack([np.asarray(image) for image in small])


NAMES = [f"p{i}" for i in range(60)]


@pytest.mark.parametrize("size", [24, 32, 48, 128])
@pytest.mark.parametrize("kind", ALTERATIONS)
def test_a_copy_is_closer_to_its_original_than_any_other_picture_is_to_anything(kind, size):
    originals, others = pictures(30, size), pictures(30, size, seed=1)
    found = nearest(planes(altered(originals, NAMES[:30], 0, ALTERATIONS[kind])), planes(originals))
    assert found.which.tolist() == list(range(30))
    assert np.quantile(found.score, 0.05) > nearest(planes(others), planes(originals)).score.max() + 0.1


def test_a_picture_is_wholly_like_itself_brightened_or_with_less_contrast_or_mirrored():
    mine = pictures(8).astype(np.float64)
    changed = [mine, mine * 0.5 + 20, mine[:, :, ::-1], 128 + 0.7 * (mine - 128)]
    for other in changed[:3]:
        assert nearest(planes(other.round().astype(np.uint8)), planes(mine.astype(np.uint8))).score.min() > 0.97
    assert nearest(planes(mine.astype(np.uint8)), planes(mine.astype(np.uint8))).score == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.8), (0.2, 0.1, 0.75), (0.13, 0.06, 0.86)])
def test_a_crop_scores_high_wherever_it_was_cut(box):
    originals = pictures(12, 96)
    left, top, scale = (round(96 * v) for v in box)
    crops = [
        Image.fromarray(p).crop((left, top, left + scale, top + scale)).resize((40, 40), Image.Resampling.LANCZOS)
        for p in originals
    ]
    found = nearest(planes(np.stack([np.asarray(c) for c in crops])), planes(originals))
    assert found.which.tolist() == list(range(12)) and found.score.min() > 0.9


def test_waves_on_a_part_are_cosines_integrated_over_every_pixel():
    side, centre, scale = 10, 0.45, 0.62
    got = likeness._basis(side, np.array(centre), np.array(scale), 6)
    x = (np.arange(side * 4000) + 0.5) / (side * 4000)
    u = (x - (centre - scale / 2)) / scale
    for k in range(6):
        wave = np.where((u >= 0) & (u <= 1), np.cos(np.pi * k * u), 0) / (side * 4000) / scale
        np.testing.assert_allclose(got[k], wave.reshape(side, -1).sum(1), atol=1e-4)


def test_averaging_down_keeps_the_mean_of_every_cell_also_where_sizes_do_not_divide():
    image = np.zeros((1, 48, 48, 3), np.uint8)
    image[0, :, :24] = 200
    grey = planes(image)[0, 0]
    assert grey.shape == (32, 32)
    np.testing.assert_allclose(grey[:, :16], 200, atol=1e-3)
    np.testing.assert_allclose(grey[:, 16:], 0, atol=1e-3)
    assert planes(np.zeros((2, 20, 20, 3), np.uint8)).shape == (2, 3, 20, 20)


def test_sizes_of_blocks_change_nothing(monkeypatch):
    queries, references = planes(pictures(23, seed=2)), planes(pictures(31, seed=3))
    whole = nearest(queries, references)
    for name, size in {"QUERIES": 5, "REFERENCES": 3, "PAIRS": 7}.items():
        monkeypatch.setattr(likeness, name, size)
    parts = nearest(queries, references)
    np.testing.assert_allclose(parts.score, whole.score, atol=1e-5)
    assert (parts.which == whole.which).all()


def test_the_order_of_references_and_queries_does_not_matter():
    queries, references = planes(pictures(20, seed=4)), planes(pictures(30, seed=5))
    one = nearest(queries, references)
    turn, other = np.random.default_rng(0).permutation(30), np.random.default_rng(1).permutation(20)
    two = nearest(queries[other], references[turn])
    np.testing.assert_allclose(two.score, one.score[other], atol=1e-5)
    assert (turn[two.which] == one.which[other]).all()


def test_what_is_to_be_kept_apart_is_not_compared():
    mine = planes(pictures(6))
    group = np.array([0, 0, 1, 1, -1, -1])
    found = nearest(mine, mine, (group, group))
    assert all(group[i] != group[j] or group[i] < 0 for i, j in enumerate(found.which))
    assert found.score[4:] == pytest.approx(1, abs=1e-5), "negative numbers are no group"
    alone = nearest(mine[:2], mine[:2], (group[:2], group[:2]))
    assert (alone.which == -1).all() and (alone.score == -1).all()


def test_pairs_score_as_a_search_among_one_does():
    queries, references = planes(pictures(5, seed=6)), planes(pictures(5, seed=7))
    alone = [nearest(queries[i : i + 1], references[i : i + 1]).score[0] for i in range(5)]
    np.testing.assert_allclose(paired(queries, references), alone, atol=1e-5)


def test_nothing_to_compare_with_is_no_likeness():
    mine = planes(pictures(3))
    found = nearest(mine, mine[:0])
    assert found.which.tolist() == [-1] * 3 and found.score.tolist() == [-1.0] * 3
    assert len(nearest(mine[:0], mine).score) == 0
    flat = planes(np.full((2, 32, 32, 3), 90, np.uint8))
    assert np.isfinite(nearest(flat, mine).score).all()


def test_copies_belong_to_their_image_and_not_to_the_order():
    mine = pictures(6)
    one = altered(mine, NAMES[:6], 3)
    two = altered(mine[::-1], NAMES[:6][::-1], 3)
    assert (one == two[::-1]).all()
    assert (altered(mine, NAMES[:6], 4) != one).any()
