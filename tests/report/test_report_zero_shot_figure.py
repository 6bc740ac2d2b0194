"""The figure of unseen against seen species: what it marks, what it says, and that averaging is right."""

import numpy as np
import pytest

from taxaforge.report.style import quiet, save
from taxaforge.report.zero_shot_figure import RAYS, _reach, unseen_seen


def tables(arms=("real", "real+cfg"), seeds=2):
    """A staircase a seed: (0, s) -> (u, s) -> (u, 0), handicap 0 on the corner."""
    rows, points = [], []
    for place, arm in enumerate(arms):
        for seed in range(seeds):
            u, s = 0.3 + 0.1 * place + 0.1 * seed, 0.8 - 0.1 * seed
            line = ((-1.0, 0.0, s), (0.0, u, s), (1.0, u, 0.0))
            points += [{"arm": arm, "seed": str(seed), "lambda": at, "u": x, "s": y} for at, x, y in line]
        values = {"T1": 0.6, "U": 0.35, "S": 0.75, "H": 0.477, "AUSUC": 0.27, "lambda": 0.25}
        for seed in (*map(str, range(seeds)), "mean"):
            for metric, value in values.items():
                bounds = (None, None) if metric == "lambda" or seeds == 1 else (value - 0.05, value + 0.05)
                rows.append(
                    {
                        "arm": arm,
                        "seed": seed,
                        "metric": metric,
                        "value": value,
                        "low": bounds[0],
                        "high": bounds[1],
                        "n": 90,
                    }
                )
    return rows, points


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_arm_is_drawn_and_told(tmp_path, seeds):
    rows, points = tables(seeds=seeds)
    with quiet():
        drawing = unseen_seen(rows, points, ["real+cfg", "real"])
    path = save(drawing, tmp_path, "zero_shot")
    assert path.suffix == ".svg" and path.stat().st_size > 1000
    assert "real + cfg: U 35%, S 75%, H 48% at handicap 0.25, T1 60%, area 0.27" in drawing.alt
    assert drawing.alt.index("real + cfg") < drawing.alt.index("real: ")
    labels = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert labels == ["real + cfg: H 48%", "real: H 48%"]
    axis = drawing.figure.axes[0]
    marks = [tuple(float(v[0]) for v in line.get_data()) for line in axis.lines if line.get_marker() == "o"]
    u, s = 0.3 + 0.05 * (seeds - 1), 0.8 - 0.05 * (seeds - 1)
    assert marks[2] == pytest.approx((100 * u, 100 * s)) and marks[3] == pytest.approx((35, 75))
    assert len(axis.patches) == (2 if seeds > 1 else 0)  # a band needs two seeds


def test_the_same_tables_give_the_same_bytes_and_none_give_no_figure(tmp_path):
    rows, points = tables()
    files = []
    for name in "ab":
        with quiet():
            files.append(save(unseen_seen(rows, points), tmp_path, name).read_bytes())
    assert files[0] == files[1]
    assert unseen_seen([], []) is None


def test_curves_are_followed_along_rays_from_the_origin():
    found = _reach([(-1.0, 0.0, 0.8), (0.0, 0.6, 0.8), (1.0, 0.6, 0.0)])  # a rectangle
    with np.errstate(divide="ignore"):
        want = np.minimum(0.6 / np.cos(RAYS), 0.8 / np.sin(RAYS))
    assert found == pytest.approx(want, abs=2e-3)
    assert not _reach([(-1.0, 0.0, 0.0), (0.0, 0.0, 0.0)]).any()


def test_an_arm_that_names_no_unseen_species_is_drawn_too(tmp_path):
    rows, points = tables(("real",), 1)
    points = [point | {"u": 0.0} for point in points]
    rows = [row | ({"value": 0.0} if row["metric"] in ("U", "H", "T1", "AUSUC") else {}) for row in rows]
    with quiet():
        drawing = unseen_seen(rows, points)
    assert save(drawing, tmp_path, "zero").exists() and "U 0%" in drawing.alt
