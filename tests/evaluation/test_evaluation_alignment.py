import numpy as np
import pytest

from taxaforge.evaluation.alignment import alignment

TEXT = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0, 0, 1]])
SIBLINGS = [[1], [0], [0, 1]]


def test_values_of_a_picture_by_hand():
    image = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0, 0, -1]])
    values = alignment(image, TEXT, np.array([0, 0, 2]), SIBLINGS)
    assert values["text_alignment"] == pytest.approx([1, 0.6, -1])
    assert values["clip_score"] == pytest.approx([100, 60, 0])  # a negative cosine scores nothing
    assert values["species_top1"].tolist() == [True, False, False]
    assert values["sibling_margin"] == pytest.approx([1 - 0.8, 0.6 - 0.96, -1 - 0])


def test_a_picture_that_fits_two_names_alike_is_not_named():
    values = alignment(np.array([[0.0, 1, 0]]), np.eye(3)[[1, 1]], np.array([0]), [[1], [0]])
    assert values["species_top1"].tolist() == [False] and values["sibling_margin"].tolist() == [0]


def test_a_run_of_one_species_has_no_sibling_to_be_told_from():
    values = alignment(np.eye(3)[:1], TEXT[:1], np.array([0]), [[]])
    assert "sibling_margin" not in values and values["species_top1"].tolist() == [True]


def test_a_method_without_images_has_no_values():
    assert alignment(np.empty((0, 3)), TEXT, np.empty(0, dtype=np.int64), SIBLINGS)["species_top1"].dtype == bool
