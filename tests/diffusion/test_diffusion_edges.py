"""Contours lie where the picture changes, belong to one picture alone, and flip with it."""

import cv2
import numpy as np
import pytest
import torch

from taxaforge.diffusion.edges import EdgeMaps, edges

CANNY = {"low": 60, "high": 150, "blur": 0.7}


def disc(side: int, colour, ground) -> np.ndarray:
    """(1, side, side, 3), a filled disc of half the side in the middle."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = (x**2 + y**2 < (side / 4) ** 2)[..., None]
    return np.where(inside, np.uint8(colour), np.uint8(ground))[None]


@pytest.mark.parametrize("side", [32, 64])
def test_the_contour_of_a_disc_is_its_rim(side):
    found = edges(disc(side, (250, 240, 230), (20, 30, 40)), CANNY)
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 255}
    y, x = np.nonzero(found[0])
    distance = np.hypot(y - (side - 1) / 2, x - (side - 1) / 2)
    assert abs(distance - side / 4).max() < 1.5
    sectors = (np.degrees(np.arctan2(y - (side - 1) / 2, x - (side - 1) / 2)) % 360) // 22.5
    assert len(set(sectors)) == 16, "the rim is closed"


def test_a_contour_in_colour_is_found_where_grey_is_even():
    red, green = (200, 0, 0), (0, 102, 0)  # of the same luma
    picture = disc(32, red, green)
    grey = cv2.cvtColor(picture[0], cv2.COLOR_RGB2GRAY)
    assert np.ptp(grey) <= 1
    assert (edges(picture, CANNY) > 0).sum() > 30


def test_an_even_picture_has_no_contour():
    assert not edges(np.full((2, 32, 32, 3), 77, dtype=np.uint8), CANNY).any()


def test_higher_thresholds_and_more_blur_leave_fewer_edges():
    noisy = np.random.default_rng(0).integers(60, 160, (1, 64, 64, 3), dtype=np.uint8)

    def count(**change) -> int:
        return int((edges(noisy, {**CANNY, **change}) > 0).sum())

    assert count(blur=3.0) < count(blur=1.0) < count(blur=0)
    assert count(low=150, high=250) < count()
    assert count(low=150) < count(), "the lower threshold decides how far a line is followed"


def test_without_blur_it_is_opencvs_own_canny():
    picture = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(edges(picture[None], {"low": 90, "high": 210, "blur": 0})[0], cv2.Canny(picture, 90, 210))


def test_a_contour_does_not_depend_on_its_batch():
    pictures = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    together = edges(pictures, CANNY)
    for number in range(5):
        assert np.array_equal(edges(pictures[number : number + 1], CANNY)[0], together[number])


def test_kept_contours_are_the_found_ones_and_a_mirrored_image_has_the_mirrored_contour():
    pictures = np.random.default_rng(3).integers(0, 256, (4, 30, 22, 3), dtype=np.uint8)  # 660 bits: not whole bytes
    maps, expected = EdgeMaps(pictures, CANNY), torch.from_numpy(edges(pictures, CANNY))
    chosen, mirrored = torch.tensor([2, 0, 2, 3]), torch.tensor([False, True, True, False])
    for _ in range(2):  # the second time from memory
        found = maps(chosen, mirrored)
        assert found.dtype == torch.uint8
        assert torch.equal(found[0], expected[2]) and torch.equal(found[3], expected[3])
        assert torch.equal(found[1], expected[0].flip(1)) and torch.equal(found[2], expected[2].flip(1))
    assert set(maps.kept) == {0, 2, 3}
    pictures[:] = 0
    assert torch.equal(maps(chosen, mirrored), found), "each is found once"
