"""Figures, the page, and what is sent to the tracking server."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.audits import audited
from taxaforge.plan.collection import has_unseen, pack
from taxaforge.plan.evaluation import all_scores
from taxaforge.plan.guidance import gathered
from taxaforge.plan.node import Node, Wildcards, by_name
from taxaforge.plan.training import stages


def draw_figures(s: Settings, w: Wildcards) -> Node:
    tables = ["measure_images", "summarise_accuracy", "compare_arms", "decide_verdict", "tally_cost"]
    tables += ["score_zero_shot"] * has_unseen(s)
    data = ("resolve_taxa", "curate_images", "split_images")
    after = [(rule, {}) for rule in (*tables, *data)]
    after += [pack("train"), *gathered(s), *all_scores(s)]
    after += [("train_stage", {"stage": stage}) for stage in stages(s)]
    return Node({"delta_points": s.evaluation.delta_points}, after)


def write_report(s: Settings, w: Wildcards) -> Node:
    everything = {name: value for name, value in dump(s).items() if name not in ("runtime", "tracking", "network")}
    for section, name in (("taxonomy", "offline"), ("collection", "views"), ("collection", "publish")):
        del everything[section][name]  # changes nothing that the page shows
    everything["guidance"]["recipes"] = {name: dump(s.guidance.recipe(name)) for name in s.guidance.methods}
    return Node(
        {"settings": everything}, [("draw_figures", {}), ("weigh_gains", {}), *audited(s), *draw_figures(s, w).after]
    )


def ship_records(s: Settings, w: Wildcards) -> Node:
    return Node({**dump(s.tracking), "name": s.run.name}, [("write_report", {})])


RULES = by_name(draw_figures, write_report, ship_records)
