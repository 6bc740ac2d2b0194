"""What methods learn before they draw, their budget, their images and the filter."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.classification import classifier_settings
from taxaforge.plan.collection import learning_seed, pack
from taxaforge.plan.node import Job, Node, Wildcards, by_name
from taxaforge.plan.training import compresses, last_stage, pipeline


def methods_of_kind(s: Settings, kind: str) -> list[str]:
    return [name for name in s.guidance.methods if s.guidance.recipe(name).kind == kind]


def guided_budget(s: Settings) -> bool:
    """Does the number of images depend on what the guiding classifier mistakes?"""
    return s.guidance.allocation.by == "confused"


def train_guide(s: Settings, w: Wildcards) -> Node:
    settings, files = classifier_settings(s, "guidance.guide")
    return Node({**settings, "seed": learning_seed(s)}, [pack("train"), pack("validation")], files)


def caption_images(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    asked = {"captions": own.captions, "name": w["method"], "seed": learning_seed(s)}
    if own.captions == "blip":
        asked |= {name: dump(own)[name] for name in ("captioner", "captioner_revision", "candidates")}
    return Node(asked, [pack("train")])


def rate_prompts(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    names = ("least_scale", "most_scale", "direction", "percentiles")
    settings = {"backbone": s.diffusion.backbone, "name": w["method"], **{name: dump(own)[name] for name in names}}
    settings |= pipeline(s) if compresses(s) else {}
    before = [("caption_images", {"method": w["method"]}), ("train_semantics", {}), ("encode_texts", {})]
    return Node(settings, [*before, pack("train"), ("resolve_taxa", {})])


def train_discriminator(s: Settings, w: Wildcards) -> Node:
    settings = {**dump(s.guidance.discriminator), "seed": learning_seed(s)}
    return Node(settings, [pack("train"), pack("validation"), ("train_semantics", {}), ("resolve_taxa", {})])


def learn_tokens(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    settings = {**dump(own, "learning_steps"), "steps": own.learning_steps}
    settings |= {"backbone": s.diffusion.backbone, "name": w["method"], "seed": learning_seed(s)}
    settings |= pipeline(s) if compresses(s) else {}
    before = [last_stage(s), ("encode_texts", {}), ("train_discriminator", {}), ("train_semantics", {})]
    return Node(settings, [*before, pack("train"), ("resolve_taxa", {})])


def allocate_images(s: Settings, w: Wildcards) -> Node:
    settings = {"images_per_species": s.guidance.images_per_species, "allocation": dump(s.guidance.allocation)}
    mistakes = [("train_guide", {})] if guided_budget(s) else []
    return Node(settings, [pack("train"), ("resolve_taxa", {}), *mistakes])


def prompts_of(s: Settings, method: str) -> str:
    """The rule that makes a method's sentences."""
    return {"sgid": "rate_prompts", "dig_zsl": "learn_tokens"}[s.guidance.recipe(method).kind]


def generate_shard(s: Settings, w: Wildcards) -> Node:
    own = s.guidance.recipe(w["method"])
    settings = {
        "steps": s.guidance.steps,
        "scheduler": s.guidance.scheduler,
        "shards": s.guidance.shards,
        "seed": learning_seed(s),
        **dump(own),
    }
    aids = {
        "train": lambda: pack("train"),
        "prompts": lambda: (prompts_of(s, w["method"]), {"method": w["method"]}),
        "contour": lambda: ("train_contour", {}),
        "guide": lambda: ("train_guide", {}),
    }
    after = [last_stage(s), ("encode_texts", {}), ("resolve_taxa", {}), ("allocate_images", {})]
    return Node(settings, [*after, *(aids[need]() for need in own.needs)], alternative=own.kind)


def gather_images(s: Settings, w: Wildcards) -> Node:
    shards = [("generate_shard", {"method": w["method"], "shard": str(shard)}) for shard in range(s.guidance.shards)]
    judges = [("train_semantics", {})] * reads_images(s) + [("train_guide", {})] * bool(s.filter.classifier.top_k)
    return Node(dump(s.filter), [*shards, ("resolve_taxa", {}), pack("train"), *judges])


def gathered(s: Settings) -> list[Job]:
    return [("gather_images", {"method": method}) for method in s.guidance.methods]


def reads_images(s: Settings) -> bool:
    """Does a check of the filter ask the image-text model?"""
    return bool(s.filter.semantics.top_k or s.filter.near_copy or s.filter.near_repeat)


RULES = by_name(
    train_guide,
    caption_images,
    rate_prompts,
    train_discriminator,
    learn_tokens,
    allocate_images,
    generate_shard,
    gather_images,
)
