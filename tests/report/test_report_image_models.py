"""Image metrics of several models in one figure."""

import pytest
from matplotlib.colors import same_color

from taxaforge.report.result_figures import image_metrics
from taxaforge.report.style import REAL


def row(method, features, metric="fd", value=1.0, independent=True):
    known = {"method": method, "features": features, "scope": "all", "metric": metric, "independent": independent}
    return known | {
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "floor": 0.5,
        "floor_low": 0.4,
        "floor_high": 0.6,
    }


@pytest.fixture
def drawn():
    rows = [row(method, "judge") for method in ("real", "cfg", "sgid")]
    rows += [row(method, "semantics", value=7.0, independent=method != "sgid") for method in ("real", "cfg", "sgid")]
    rows += [row(method, "semantics", "cmmd") for method in ("real", "cfg", "sgid")]
    return image_metrics(rows)


def test_every_model_has_its_own_panels_with_its_name(drawn):
    titles = [axis.get_title() for axis in drawn.figure.axes if axis.get_visible()]
    assert titles == ["Fréchet distance (fd)", "Fréchet distance (fd), semantics", "CLIP distance (cmmd), semantics"]
    first, second, _ = (axis for axis in drawn.figure.axes if axis.get_visible())
    assert first.get_xlim()[1] < 3 < second.get_xlim()[1]  # no value of one model stands in the other's panel


def test_a_model_that_had_its_hands_in_the_images_is_named_as_no_independent_judge(drawn):
    assert drawn.caption.endswith("semantics filtered or guided sgid: no independent judge of them.")
    assert "judge filtered" not in drawn.caption


def test_each_method_stands_over_the_floor_of_its_own_number_of_images():
    """Real images, measured with more, reach less than as few of them would: their row is no floor of a method's."""
    few = {"floor": 0.8, "floor_low": 0.7, "floor_high": 0.95, "value": 0.8}
    rows = [row("real", "judge"), row("cfg", "judge"), row("sgid", "judge") | few]
    (axis,) = image_metrics(rows).figure.axes
    bands = [
        (bar.get_x(), bar.get_x() + bar.get_width(), round(bar.get_y() + bar.get_height() / 2)) for bar in axis.patches
    ]
    assert bands == [(0.4, pytest.approx(0.6), 0), (0.7, pytest.approx(0.95), 1)]
    dashed = [line.get_xydata() for line in axis.lines if line.is_dashed() and same_color(line.get_color(), REAL)]
    assert [tuple(points.mean(0)) for points in dashed] == [(0.5, 0), (0.8, 1)]
    assert axis.get_xlim()[0] < 0.4


def test_a_range_over_draws_of_real_images_is_not_called_an_interval(drawn):
    assert "its 95% interval" not in drawn.caption and "leaves out the chance in the generated images" in drawn.caption
