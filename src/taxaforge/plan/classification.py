"""The compared classifiers, and the judge."""

from taxaforge.config.classification import HUB
from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import learning_seed, pack
from taxaforge.plan.node import Node, Wildcards, by_name


def classifier_settings(s: Settings) -> tuple[dict, dict[str, str]]:
    """(settings that any classifier is trained with, its user files)."""
    own = s.classification
    local = bool(own.weights) and own.weights != HUB
    asked = {"probe": own.training != "full", "prompts": own.training == "zero_shot", "weights": own.weights == HUB}
    unasked = [name for name, needed in asked.items() if not needed]
    settings = dump(own, "arms", "seeds", "judge", "mixing", "strong", *unasked)
    files = {"classification.weights": own.weights} if local else {}
    return settings | strength(s, own.augmentation == "strong"), files


def strength(s: Settings, strong: bool) -> dict:
    """How strong the strong augmentation is, for those that use it."""
    return {"strong": dump(s.classification.strong)} if strong else {}


def mixing(s: Settings, arm: str) -> dict:
    """What of `classification.mixing` concerns an arm: nothing, unless it mixes or has as many trials as those that do."""
    own, mixes = s.classification.mixing, bool(methods_of(arm)) and not arm.startswith("synthetic+")
    if own.policy == "auto":
        name = "candidates" if mixes else "learning_rate_factors"
    elif mixes:
        name = {"add": "ratio", "replace": "probability", "weight": "weight", "pretrain": "share"}[own.policy]
    else:
        return {}
    return {"mixing": {"policy": own.policy, name: getattr(own, name)}}


def methods_of(arm: str) -> list[str]:
    """The method whose images an arm adds: none or one."""
    return [method] if (method := arm.partition("+")[2]) else []


def arms_and_seeds(s: Settings) -> list[Wildcards]:
    return [{"arm": arm, "seed": str(seed)} for arm in s.arms for seed in range(s.classification.seeds)]


def train_classifier(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    budget = None if w["arm"] == "real" else s.guidance.images_per_species
    synthetic = [("gather_images", {"method": method}) for method in methods_of(w["arm"])]
    settings |= strength(s, w["arm"] == "strong-augmentation") | mixing(s, w["arm"])
    return Node(
        {**settings, "budget": budget, "run_seed": learning_seed(s)},
        [pack("train"), pack("validation"), ("resolve_taxa", {}), *synthetic],
        files,
    )


def train_judge(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    return Node({**settings, "epochs": s.classification.judge.epochs, "seed": s.run.seed}, [pack("reserve")], files)


RULES = by_name(train_classifier, train_judge)
