"""The captions of `snakemake --report`: every one renders, as restructured text, with the lineage key."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined
from snakemake.iocontainers import Namedlist

from taxaforge.config.settings import dump, load
from taxaforge.report.figures_job import TITLES

FOLDER = Path(__file__).parents[2] / "report"
NAMES = {"workflow", "page", "verdict", "samples", "figures"}


def rendered(name, figure="accuracy"):
    given = SimpleNamespace(
        params=SimpleNamespace(cfg={"delta_points": 1.5}, key="0123456789ab"),
        wildcards=Namedlist(fromdict={"method": "cfg", "figure": figure}),
        config=dump(load({})),
    )
    text = Environment(undefined=StrictUndefined).from_string((FOLDER / f"{name}.rst").read_text("utf-8"))
    source = text.render(snakemake=given)
    return publish_parts(source, writer="html", settings_overrides={"halt_level": 2})["body"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_caption_renders(name):
    assert ("0123456789ab" in rendered(name)) == (name != "workflow")


@pytest.mark.parametrize("figure", TITLES)
def test_every_figure_has_words_of_its_own(figure):
    assert rendered("figures", figure) != rendered("figures", "none of them")


def test_captions_name_the_values_of_the_run():
    assert "of cfg" in rendered("samples") and "1.5 percentage points" in " ".join(rendered("verdict").split())
    assert "simulated" in rendered("workflow")


def test_no_caption_is_forgotten():
    assert {path.stem for path in FOLDER.glob("*.rst")} == NAMES
