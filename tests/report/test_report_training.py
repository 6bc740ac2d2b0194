"""Curves and filmstrip of the training, read back from the figures: numbers, places of pictures, odd sizes."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from taxaforge.report.style import quiet
from taxaforge.report.training_figures import GRID_ROWS, curves, growth

TIMES = ("0-249", "250-499", "500-749", "750-999")


def line(images, loss, held_out=None, parts=(0.6, 0.1, 0.05, 0.02), **more):
    found = {"step": images // 32, "images": images, "loss": loss, "loss_by_level": {"null": loss}}
    found |= {"loss_by_time": dict(zip(TIMES, parts, strict=True)), "learning_rate": 1e-3, "seconds": 1.0}
    found |= {"images_per_second": 100.0, "memory_mib": 512.0, **more}
    return found | ({} if held_out is None else {"validation_loss": held_out})


def drawn(histories):
    with quiet():
        drawing = curves(histories)
    return drawing, drawing.figure.axes


def by_label(axis):
    return {found.get_label(): found for found in axis.lines}


def test_a_row_a_stage_with_loss_left_and_noise_right_for_any_number_of_stages():
    for stages in (["flat"], ["base", "order", "family", "genus", "species"]):
        _, axes = drawn({stage: [line(32, 0.5), line(64, 0.4)] for stage in stages})
        assert len(axes) == 2 * len(stages) and [axis.get_title(loc="left") for axis in axes[::2]] == stages
        for left, right in zip(axes[::2], axes[1::2], strict=True):
            assert list(by_label(left)["training"].get_xdata()) == [32, 64]
            assert tuple(by_label(right)) == TIMES
        assert [text.get_text() for text in axes[1].get_legend().get_texts()] == list(TIMES)


def test_every_loss_stands_where_the_history_says():
    lines = [line(32, 0.5, parts=(0.9, 0.5, 0.3, 0.1)), line(64, 0.4, 0.45, parts=(0.8, 0.4, 0.2, 0.05))]
    drawing, (left, right) = drawn({"order": lines})
    assert list(by_label(left)["training"].get_ydata()) == [0.5, 0.4]
    assert list(by_label(left)["validation"].get_xdata()) == [64]
    assert list(by_label(right)["500-749"].get_ydata()) == [0.3, 0.2]
    assert drawing.alt == "Loss of each stage: order from 0.5 to 0.4, validation 0.45."
    assert right.get_title(loc="right") == "100 images/s, 512 MiB"


def test_the_thick_line_is_a_mean_around_each_point_and_does_not_lag():
    losses = np.linspace(1, 0.5, 100)
    _, (left, _) = drawn({"base": [line(32 * (i + 1), loss) for i, loss in enumerate(losses)]})
    assert np.allclose(by_label(left)["training"].get_ydata()[5:95], losses[5:95])


def test_a_part_of_the_schedule_keeps_its_colour_in_a_stage_that_missed_another():
    bare = line(32, 0.5)
    del bare["loss_by_time"]["0-249"]
    _, axes = drawn({"order": [line(32, 0.5)], "family": [bare, bare | {"images": 64}]})
    full, partial = by_label(axes[1]), by_label(axes[3])
    assert list(partial["0-249"].get_xdata()) == []
    assert full["250-499"].get_color() == partial["250-499"].get_color()


def test_validation_is_in_the_legend_when_only_a_later_stage_has_it():
    _, axes = drawn({"order": [line(32, 0.5)], "family": [line(32, 0.5, 0.6)]})
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_a_single_line_shows_as_points_and_no_line_as_no_figure():
    _, (left, right) = drawn({"order": [line(32, 0.5)], "family": []})
    assert by_label(left)["training"].get_marker() == by_label(right)["750-999"].get_marker() == "o"
    assert curves({}) is None and curves({"order": []}) is None


def grid(path, rows, columns=4, side=8, shade=0):
    """Tile (row, column) has the colour (20 row, 60 column, shade)."""
    tiles = np.zeros((rows, side, columns, side, 3), np.uint8)
    tiles[..., 0] = 20 * np.arange(rows)[:, None, None, None]
    tiles[..., 1] = 60 * np.arange(columns)[None, None, :, None]
    tiles[..., 2] = shade
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(tiles.reshape(rows * side, columns * side, 3)).save(path)
    return path


def strip(samples, species):
    """The drawing, and the colours of its tiles: (rows, tiles of all looks, 3)."""
    with quiet():
        drawing = growth(samples, species)
    (axis,) = drawing.figure.axes
    pixels = axis.images[0].get_array()
    coloured = ~(pixels == 255).all(2)
    down, across = ([i for i in range(1, len(some)) if some[i] and not some[i - 1]] for some in (coloured.any(1), coloured.any(0)))  # fmt: skip
    return drawing, pixels[[0, *down]][:, [0, *across]], [text.get_text() for text in axis.texts]


def test_looks_stand_by_stage_and_step_with_the_same_species_in_a_row(tmp_path):
    samples = {
        "base": [grid(tmp_path / f"base/step-{k:06d}.png", 3, shade=k // 10) for k in (250, 500, 750, 1000, 1250)],
        "order": [grid(tmp_path / "order/step-000030.png", 3, shade=200)],
    }
    drawing, tiles, texts = strip(samples, ["A a", "B b", "C c"])
    assert tiles.shape[:2] == (3, 4 * 3)  # four looks with three of the four pictures each
    assert [list(row[0]) for row in tiles] == [[0, 0, 25], [20, 0, 25], [40, 0, 25]]
    assert list(tiles[0, :, 1]) == [0, 60, 120] * 4 and list(tiles[0, ::3, 2]) == [25, 75, 125, 200]
    assert texts == ["base", "250", "750", "1,250", "order", "30", "A a", "B b", "C c"]
    assert "base at step 250, 750, 1,250; order at step 30" in drawing.alt and drawing.raster


def test_rows_are_named_as_training_chose_them_where_species_are_many(tmp_path):
    names = [f"Genus species{i}" for i in range(40)]
    chosen = [names[40 * row // GRID_ROWS] for row in range(GRID_ROWS)]
    drawing, tiles, texts = strip({"flat": [grid(tmp_path / "step-000100.png", GRID_ROWS)]}, names)
    assert texts[2:] == chosen and len(tiles) == GRID_ROWS and "12 of 40 species" in drawing.alt


@pytest.mark.parametrize("stages, looks", [(1, 3), (5, 3), (6, 2), (8, 2)])
def test_the_strip_keeps_the_width_of_the_page(tmp_path, stages, looks):
    paths = [grid(tmp_path / f"step-{k:06d}.png", 2, side=256) for k in (100, 5_000, 125_000)]
    names = ["A very-long-name-of-a-species var. longissima", "B b"]
    drawing, tiles, texts = strip({f"stage{i}": paths for i in range(stages)}, names)
    assert tiles.shape[1] % (stages * looks) == 0 and ("5,000" in texts) == (looks == 3) and "125k" in texts
    figure = drawing.figure
    place = figure.axes[0].get_position()
    assert 0 < place.x0 < 0.35 and place.x1 <= 1.001
    with quiet():
        figure.canvas.draw()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
    steps = sorted((box for box, text in zip(boxes, texts, strict=True) if text in ("100", "5,000", "125k")), key=lambda box: box.x0)  # fmt: skip
    assert all(a.x1 <= b.x0 for a, b in pairwise(steps))


def test_without_sample_grids_there_is_no_strip(tmp_path):
    assert growth({"base": []}, ["A a"]) is None and growth({}, ["A a"]) is None
    assert growth({"base": [grid(tmp_path / "step-000001.png", 1)]}, []) is None
