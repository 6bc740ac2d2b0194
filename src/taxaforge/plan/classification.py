"""The compared classifiers, and the judge."""

from taxaforge.config.classification import HUB, OWN, Classification
from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import learning_seed, pack
from taxaforge.plan.folders import folder_files
from taxaforge.plan.node import Node, Wildcards, by_name


def classifier_settings(s: Settings, beside: str = "") -> tuple[dict, dict[str, str]]:
    """(settings that a classifier is trained with, its user files).

    beside: the section of one that is not compared, `classification.judge` or `guidance.guide`.
    """
    section, base, own = "classification", s.classification, {}
    if beside:
        room, name = beside.split(".")
        own = dump(getattr(getattr(s, room), name))
        if own["model"]:  # then nothing that is set for the compared ones concerns it
            section, base = beside, Classification()
        else:
            own = {name: value for name, value in own.items() if name not in ("model", *OWN)}
    shared = dump(base, "arms", "seeds", "judge", "mixing", "strong") | own
    weights = shared.pop("weights")
    if shared["training"] == "full":
        del shared["probe"]
    if beside or shared["training"] != "zero_shot":
        del shared["prompts"]
    files = {f"{section}.weights": weights} if weights and weights != HUB else {}
    files |= folder_files(f"{section}.model", shared["model"])
    if weights == HUB:
        shared["weights"] = HUB
    return shared | strength(s, base.augmentation == "strong"), files


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


def counts_asked(arm: str) -> bool:
    """Does the arm train as long as the images that methods are asked for say, whether it has them or not?"""
    return arm != "real"


def arms_and_seeds(s: Settings) -> list[Wildcards]:
    return [{"arm": arm, "seed": str(seed)} for arm in s.arms for seed in range(s.classification.seeds)]


def train_classifier(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s)
    asked = [("allocate_images", {})] if counts_asked(w["arm"]) else []
    synthetic = [("gather_images", {"method": method}) for method in methods_of(w["arm"])]
    settings |= strength(s, w["arm"] == "strong-augmentation") | mixing(s, w["arm"])
    return Node(
        {**settings, "run_seed": learning_seed(s)},
        [pack("train"), pack("validation"), ("resolve_taxa", {}), *asked, *synthetic],
        files,
    )


def train_judge(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s, "classification.judge")
    return Node({**settings, "seed": s.run.seed}, [pack("reserve")], files)


RULES = by_name(train_classifier, train_judge)
