"""The compared classifiers, and the judge."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import pack
from taxaforge.plan.node import Node, Wildcards, by_name


def classifier_settings(s: Settings) -> tuple[dict, dict[str, str]]:
    """(settings that any classifier is trained with, its user files)."""
    files = {"classification.weights": s.classification.weights} if s.classification.weights else {}
    return dump(s.classification, "arms", "seeds", "judge", "weights"), files


def methods_of(arm: str) -> list[str]:
    """The method whose images an arm adds: none or one."""
    return [method] if (method := arm.partition("+")[2]) else []


def arms_and_seeds(s: Settings) -> list[Wildcards]:
    return [{"arm": arm, "seed": str(seed)} for arm in s.classification.arms for seed in range(s.classification.seeds)]


def train_classifier(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    budget = None if w["arm"] == "real" else s.guidance.images_per_species
    synthetic = [("gather_images", {"method": method}) for method in methods_of(w["arm"])]
    return Node(
        {**settings, "budget": budget, "run_seed": s.run.seed}, [pack("train"), pack("validation"), *synthetic], files
    )


def train_judge(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    return Node({**settings, "epochs": s.classification.judge.epochs, "seed": s.run.seed}, [pack("reserve")], files)


RULES = by_name(train_classifier, train_judge)
