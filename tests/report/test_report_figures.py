"""Figures from a run of any size, including one with almost nothing in it."""

import json

import numpy as np
import pytest

from taxaforge.report import collection_figures, result_figures
from taxaforge.report.figures_job import TITLES, draw
from taxaforge.report.style import METHODS, OTHERS, colours, duration, quiet


def index(folder):
    return json.loads((folder / "figures.json").read_text())


def test_every_figure_is_drawn_from_a_whole_run(shown):
    w = shown()
    drawn = index(w.figures)["figures"]
    assert [figure["name"] for figure in drawn] == [name for name in TITLES if name != "zero_shot"]
    for figure in drawn:
        assert (w.figures / figure["file"]).stat().st_size > 1000 and figure["alt"] and figure["caption"]


@pytest.mark.parametrize("species, methods, seeds", [(1, ("cfg",), 1), (1, (), 1), (2, ("new-method",), 2)])
def test_a_run_with_almost_nothing_in_it_is_drawn_too(shown, species, methods, seeds):
    w = shown(species=species, methods=methods, seeds=seeds)
    found = index(w.figures)
    assert {f["name"] for f in found["figures"]} | {f["name"] for f in found["missing"]} == set(TITLES) - {"zero_shot"}
    assert {f["name"] for f in found["missing"]} == (set() if methods else {"images", "differences", "species"})


def test_what_was_not_given_is_named_and_the_rest_drawn(world):
    w = world()
    draw(classes=w.classes, splits=w.splits, cost=w.root / "nowhere.csv", out=w.figures)
    found = index(w.figures)
    assert [f["name"] for f in found["figures"]] == ["tree", "splits"]
    assert "Cost" in {f["title"] for f in found["missing"]}


def test_the_same_inputs_give_the_same_bytes(world):
    w = world(species=2, methods=("cfg",), seeds=1)
    for name in ("a", "b"):
        inputs = {"classes": w.classes, "train": w.train, "kept": w.kept, "accuracy": w.accuracy}
        draw(**inputs, histories=w.histories, out=w.root / name)
    for path in (w.root / "a").iterdir():
        assert path.read_bytes() == (w.root / "b" / path.name).read_bytes(), path.name


def test_a_method_has_one_colour_wherever_it_appears():
    everywhere = [
        ["cfg", "taxadiffusion"],
        ["real", "real-equal-steps", "real+taxadiffusion", "real+cfg"],
        ["real+cfg"],
    ]
    for names in everywhere:
        found = colours(names)
        for name in names:
            if "cfg" in name:
                assert found[name] == METHODS["cfg"]
    assert colours(["real+new"])["real+new"] == colours(["new"])["new"] in OTHERS
    assert len(set(colours(["cfg", "taxadiffusion", "b", "a", "real", "real-equal-steps"]).values())) == 6


def test_confusion_is_a_mean_over_seeds_and_its_worst_pair_is_named():
    matrix = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    with quiet():
        drawing = result_figures.confusion({"real": matrix}, ["A a", "B b", "C c"], ["x", "x", "y"])
    assert "A a is taken for B b (50%)" in drawing.alt


def test_a_species_without_test_images_leaves_its_row_empty():
    matrix = np.array([[1.0, 0.0], [np.nan, np.nan]])
    with quiet():
        assert "no confusion" in result_figures.confusion({"real": matrix}, ["A a", "B b"], [None, None]).alt


def test_a_missing_rank_does_not_break_the_tree():
    records = [
        {"kingdom": "K", "order": "O", "family": None, "genus": "A", "species": "A a"},
        {"kingdom": "K", "order": "O", "family": "F", "genus": "B", "species": "B b", "vernacularName": "bee"},
        {"kingdom": "K", "order": None, "family": None, "genus": None, "species": "C c"},
    ]
    with quiet():
        assert "3 species in 1 order, 1 family, 2 genera" in collection_figures.tree(records).alt


def test_an_interval_that_could_not_be_estimated_is_said_not_drawn():
    row = {"method": "cfg", "control": "real", "scope": "all", "difference_points": 2.0}
    with quiet():
        drawing = result_figures.differences([row | {"low_points": -100.0, "high_points": 100.0}], 1.0)
    (axis,) = drawing.figure.axes
    assert axis.get_xlim()[1] < 5 and any(text.get_text() == "no interval" for text in axis.texts)


@pytest.mark.parametrize(
    "seconds, words", [(0, "0 s"), (1.25, "1.2 s"), (48, "48 s"), (210, "3.5 min"), (7560, "2.1 h")]
)
def test_durations_come_in_the_unit_a_person_would_choose(seconds, words):
    assert duration(seconds) == words
