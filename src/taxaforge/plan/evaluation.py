"""Scores, measures, comparisons, verdict and cost."""

from taxaforge.config.settings import Settings
from taxaforge.plan import guidance, training
from taxaforge.plan.audits import audited
from taxaforge.plan.classification import arms_and_seeds, counts_asked, methods_of
from taxaforge.plan.collection import pack
from taxaforge.plan.guidance import gathered
from taxaforge.plan.node import Job, Node, Wildcards, by_name


def score_classifier(s: Settings, w: Wildcards) -> Node:
    return Node({}, [("train_classifier", dict(w)), pack("test"), ("resolve_taxa", {})])


def all_scores(s: Settings) -> list[Job]:
    return [("score_classifier", {"arm": arm}) for arm in s.arms]


def predict_validation(s: Settings, w: Wildcards) -> Node:
    return Node({}, [("train_classifier", dict(w)), pack("validation")])


def score_zero_shot(s: Settings, w: Wildcards) -> Node:
    named = [("predict_validation", {"arm": arm}) for arm in s.arms]
    before = [*all_scores(s), *named, ("split_images", {}), ("resolve_taxa", {}), pack("train")]
    return Node({"alpha": s.evaluation.alpha, "seed": s.run.seed}, before)


def beside(s: Settings) -> dict[str, str]:
    """What is read of the runs in `evaluation.beside`: setting -> path; a run's training pack, then its predictions."""
    files = {}
    for number, folder in enumerate(s.evaluation.beside):
        setting = f"evaluation.beside[{number}]"
        files[f"{setting}.train"] = f"{folder}/collection/packs/train.json"
        for w in arms_and_seeds(s):
            place = f"{w['arm']}/seed{w['seed']}"
            files[f"{setting}.{place}"] = f"{folder}/classifiers/{place}/predictions.parquet"
    return files


def audits_beside(s: Settings) -> dict[str, str]:
    """What the audits say of the runs in `evaluation.beside`, where audits are made: setting -> path."""
    folders = enumerate(s.evaluation.beside if s.audit.enabled else ())
    return {f"evaluation.beside[{number}].audits": f"{folder}/evaluation/audits.csv" for number, folder in folders}


def images_beside(s: Settings) -> dict[str, str]:
    """Tables of the images of these runs: setting -> path; run after run, in the order of the methods."""
    return {
        f"evaluation.beside[{number}].{method}": f"{folder}/images/{method}/metadata.parquet"
        for number, folder in enumerate(s.evaluation.beside)
        for method in s.guidance.methods
    }


def summarise_accuracy(s: Settings, w: Wildcards) -> Node:
    return Node({"alpha": s.evaluation.alpha}, [*all_scores(s), pack("train"), ("resolve_taxa", {})], beside(s))


def compare_arms(s: Settings, w: Wildcards) -> Node:
    settings = {
        "alpha": s.evaluation.alpha,
        "resamples": s.evaluation.resamples,
        "methods": s.guidance.methods,
    }
    return Node(settings, [*all_scores(s), pack("train"), ("resolve_taxa", {})], beside(s))


def decide_verdict(s: Settings, w: Wildcards) -> Node:
    settings = {
        "alpha": s.evaluation.alpha,
        "delta_points": s.evaluation.delta_points,
        "delta_tier_points": s.evaluation.delta_tier_points,
        "methods": s.guidance.methods,
        "arms": s.arms,
    }
    after = [("compare_arms", {}), ("measure_images", {}), *gathered(s), *audited(s)]
    return Node(settings, after, audits_beside(s) | images_beside(s))


def tally_cost(s: Settings, w: Wildcards) -> Node:
    arms = {arm: {"methods": methods_of(arm), "rules": rules_behind(s, arm)} for arm in s.arms}
    return Node({"arms": arms}, [*all_scores(s), ("measure_images", {}), *audited(s)])


def weigh_gains(s: Settings, w: Wildcards) -> Node:
    settings = {
        "alpha": s.evaluation.alpha,
        "delta_points": s.evaluation.delta_points,
        "delta_tier_points": s.evaluation.delta_tier_points,
        "methods": s.guidance.methods,
        "arms": s.arms,
        "seeds": s.classification.seeds,
        "runs": 1 + len(s.evaluation.beside),
        "test": s.split.test,
    }
    read = ("compare_arms", "decide_verdict", "summarise_accuracy", "tally_cost")
    trained = [("train_classifier", {"arm": arm}) for arm in s.arms]
    return Node(settings, [*((rule, {}) for rule in read), *gathered(s), *trained])


def rules_behind(s: Settings, arm: str) -> list[str]:
    """The rules whose jobs a run makes only to have the images of an arm, or to know how many were asked for."""
    upstream = {**training.RULES, **guidance.RULES}
    found, waiting = set(), [("gather_images", {"method": method}) for method in methods_of(arm)]
    waiting += [("allocate_images", {})] if counts_asked(arm) else []
    while waiting:
        rule, w = waiting.pop()
        if rule not in ("resolve_taxa", "pack_split"):  # from there on it is what real images take, too
            found.add(rule)
            waiting += upstream[rule](s, w).after
    return sorted(found)


RULES = by_name(
    score_classifier,
    predict_validation,
    score_zero_shot,
    summarise_accuracy,
    compare_arms,
    decide_verdict,
    tally_cost,
    weigh_gains,
)
