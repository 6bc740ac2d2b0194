"""What the page says of costs, power, tiers and the next run."""

import re

from taxaforge import tables
from taxaforge.evaluation.schema import EFFICIENCY, NEXT_RUN, POWER, SECONDARY, VERDICT
from taxaforge.report import words
from taxaforge.report.page import write
from taxaforge.tables import TYPES


def full(schema, **values):
    """A row with every column of a schema."""
    return {n: None if c.nullable else TYPES[c.type]() for n, c in schema.columns.items()} | values


def text_of(page) -> str:
    return " ".join(re.sub(r"<style.*?</style>|<[^>]+>", " ", page.read_text("utf-8"), flags=re.S).split())


def test_the_page_prices_a_gain_plans_the_next_run_and_shows_tiers(world, tmp_path):
    w = world(species=2, methods=("cfg", "taxadiffusion"), seeds=1, verdicts=("adopt", "inconclusive"))
    price = {
        "wall_s_per_point": 7200.0,
        "wall_s_per_point_low": 3600.0,
        "wall_s_per_point_high": 10800.0,
        "images_per_point": 48.0,
    }
    prices = [
        full(EFFICIENCY, method="cfg", cost_per_point="defined", trials=6, control_trials=6, **price),
        full(
            EFFICIENCY,
            method="taxadiffusion",
            cost_per_point="undefined: the gain may be nothing (-1.0 to +2.0 points)",
        ),
    ]
    plan = full(NEXT_RUN, method="taxadiffusion", option="seeds", cheapest=True, sentence="About 8 seeds would settle it.",
                change="classification.seeds: 8")  # fmt: skip
    decided = tables.read(VERDICT, w.verdict)
    decided[0] |= {"filter": "no better than random"}
    tier = full(VERDICT, method="cfg", scope="tier:few", verdict="do not use", reason="Worse where images are few.")
    power = full(
        POWER,
        method="cfg",
        control="real",
        effect_points=1.0,
        detectable_points=2.5,
        seeds_needed=11,
        images_needed=1200,
    )
    second = full(
        SECONDARY, method="cfg", control="real-equal-steps", metric="sibling_mass", without=0.2, difference=-0.05
    )
    for schema, rows, name in ((EFFICIENCY, prices, "efficiency"), (NEXT_RUN, [plan], "next_run"), (POWER, [power], "power"),
                               (SECONDARY, [second], "secondary"), (VERDICT, [*decided, tier], "verdict")):  # fmt: skip
        tables.write(schema, rows, tmp_path / f"new_{name}.csv")
    more = {name: tmp_path / f"new_{name}.csv" for name in ("efficiency", "next_run", "power", "secondary", "verdict")}
    write(settings={}, provenance={}, out=w.page, **more)
    text = text_of(w.page)
    assert "Cost of a point gained: 2.0 h of jobs (1.0 h to 3.0 h), 48 images drawn." in text
    assert "Cost of a point gained: undefined: the gain may be nothing" in text
    assert "Settings tried on validation: 6, its hardest control 6." in text
    assert "Next: About 8 seeds would settle it. classification.seeds: 8" in text
    assert "Filter: its filter brings less than" in text
    assert "Worse where images are few." in text and "+2.5" in text and "1,200" in text
    assert "probability given to other species of the genus" in text


def test_plain_generators_that_did_not_run_are_a_caveat():
    rows = [{"method": "m", "evidence": "code", "missing_controls": "", "missing_beside": "real+cfg"}]
    assert any("real + cfg" in sentence for sentence in words.caveats({}, rows, [], {}))
    assert not any("Plain generators" in s for s in words.caveats({}, [rows[0] | {"missing_beside": ""}], [], {}))
