"""What images are measured with."""

from taxaforge.config.evaluation import Extractor
from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import pack
from taxaforge.plan.folders import folder_files
from taxaforge.plan.guidance import gathered, reads_images
from taxaforge.plan.node import Node, Wildcards, by_name


def measure_images(s: Settings, w: Wildcards) -> Node:
    settings = {
        "neighbours": s.evaluation.neighbours,
        "floor_splits": s.evaluation.floor_splits,
        "kid_subset": s.evaluation.kid_subset,
        "features": image_features(s),
        "seed": s.run.seed,
    }
    real = [pack("train"), pack("reserve"), pack("validation")]
    judges = [("train_judge", {}), *[("train_semantics", {})] * ("semantics" in s.evaluation.features)]
    return Node(settings, [*judges, *gathered(s), *real, ("resolve_taxa", {})], model_files(s))


def used_extractors(s: Settings) -> dict[str, Extractor]:
    """The user's models that measure images, by name."""
    return {name: own for name, own in s.evaluation.extractors.items() if name in s.evaluation.features}


def feature_weights(s: Settings) -> dict[str, str]:
    """Local weights of these models: name -> path."""
    local = {name: own.weights for name, own in used_extractors(s).items()}
    return {name: path for name, path in local.items() if path and not path.startswith("hf-hub:")}


def model_files(s: Settings) -> dict[str, str]:
    """The user's files that these models are read from, by their setting."""
    setting = "evaluation.extractors.{}.{}".format
    files = {setting(name, "weights"): path for name, path in feature_weights(s).items()}
    for name, own in used_extractors(s).items():
        files |= folder_files(setting(name, "model"), own.model, own.kind == "open_clip")
    return files


def image_features(s: Settings) -> list[dict]:
    """The models that measure images, each with the methods whose images it filtered or guided."""
    local, found = feature_weights(s), []
    for name in s.evaluation.features:
        own = used_extractors(s).get(name)
        spec = dump(own, *["weights"] * (name in local)) if own else {"kind": name}
        found.append({"name": name, **spec, "shaped": shaped(s) if is_semantics(s, name) else []})
    return found


def is_semantics(s: Settings, name: str) -> bool:
    """Is this model of evaluation.features the run's image-text model, by its own or by another name?"""
    own = used_extractors(s).get(name)
    published = s.semantics.source == "pretrained" and own and own.kind == "open_clip"
    return name == "semantics" or bool(published and own.model == s.semantics.pretrained)


def shaped(s: Settings) -> list[str]:
    """Methods whose images the run's image-text model filtered or guided: it is no independent judge of them."""
    if reads_images(s):
        return list(s.guidance.methods)
    return [name for name in s.guidance.methods if s.guidance.recipe(name).kind in ("sgid", "dig_zsl")]


RULES = by_name(measure_images)
