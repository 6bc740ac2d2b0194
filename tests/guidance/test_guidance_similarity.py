"""From similarity to scale (acceptance S1)."""

import numpy as np
import pytest

from taxaforge.guidance.similarity import NotComparable, calibrate

TRAIN = dict(zip("abcdefghijk", np.random.default_rng(0).normal(0.3, 0.05, 11).tolist(), strict=True))


def made(direction: str = "up", train: dict = TRAIN, percentiles=(10, 90)):
    return calibrate(train, direction, 1.5, 4.0, percentiles)


@pytest.mark.parametrize("direction, sign", [("up", 1), ("down", -1)])
def test_the_scale_is_monotone_and_stays_between_its_ends(direction, sign):
    scale = made(direction).scale(np.linspace(-1, 1, 2001))
    assert (sign * np.diff(scale) >= 0).all() and (sign * np.diff(scale)).max() > 0
    assert sorted({scale[0], scale[-1]}) == [1.5, 4.0] == [scale.min(), scale.max()]


def test_the_ends_are_reached_at_the_percentiles_of_training_and_nowhere_inside():
    calibration = made()
    values = np.array(sorted(TRAIN.values()))
    assert [calibration.low, calibration.high] == pytest.approx([values[1], values[9]])  # 11 values: 10 % is the second
    scale = calibration.scale(values)
    assert scale[:2].tolist() == [1.5, 1.5] and scale[9:].tolist() == [4.0, 4.0]
    assert ((scale[2:9] > 1.5) & (scale[2:9] < 4)).all()
    halfway = (calibration.low + calibration.high) / 2
    assert calibration.scale(np.array([halfway])) == pytest.approx([2.75])


def test_down_is_the_mirror_image_of_up():
    values = np.linspace(0, 0.6, 50)
    assert made("up").scale(values) + made("down").scale(values) == pytest.approx(5.5)


def test_constant_has_the_mean_that_up_has_over_training():
    own = np.array(list(TRAIN.values()))
    constant = made("constant").scale(np.linspace(-1, 1, 9))
    assert constant.tolist() == [constant[0]] * 9
    assert constant[0] == pytest.approx(made("up").scale(own).mean()) != pytest.approx(made("down").scale(own).mean())


@pytest.mark.parametrize("direction", ["up", "down", "constant"])
def test_where_all_agree_equally_the_scale_is_the_midpoint(direction):
    calibration = made(direction, dict.fromkeys("abc", 0.25))
    assert calibration.scale(np.array([-1.0, 0.25, 1.0])).tolist() == [2.75] * 3


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_similarity_that_is_no_number_names_its_image(value):
    with pytest.raises(NotComparable, match=r"for image 7\."):
        made(train={**TRAIN, "image 7": value})


@pytest.mark.parametrize("direction, least, most, percentiles", [
    pytest.param("sideways", 1, 2, (5, 95), id="unknown direction"),
    pytest.param("up", 2, 1, (5, 95), id="scales the wrong way round"),
    pytest.param("up", 1, 2, (95, 5), id="percentiles the wrong way round"),
    pytest.param("up", 1, 2, (5, 101), id="no percentile"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(direction, least, most, percentiles):
    with pytest.raises(NotComparable, match="wanted are"):
        calibrate(TRAIN, direction, least, most, percentiles)
    with pytest.raises(NotComparable, match="No training image"):
        made(train={})
