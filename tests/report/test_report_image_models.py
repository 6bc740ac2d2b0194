"""Image metrics of several models in one figure."""

import pytest

from taxaforge.report.result_figures import image_metrics


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
