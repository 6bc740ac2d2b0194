"""The image-text model, the generator and its contour adapter."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import learning_seed, pack
from taxaforge.plan.folders import folder_files
from taxaforge.plan.node import Job, Node, Wildcards, by_name


def train_semantics(s: Settings, w: Wildcards) -> Node:
    read = s.semantics.source == "pretrained"
    files = folder_files("semantics.pretrained", s.semantics.pretrained, open_clip=True) if read else {}
    return Node({**dump(s.semantics), "seed": learning_seed(s)}, [pack("train"), ("resolve_taxa", {})], files)


def stages(s: Settings) -> list[str]:
    """Stages in the order in which they are trained."""
    return s.diffusion.stage_names


def last_stage(s: Settings) -> Job:
    return ("train_stage", {"stage": stages(s)[-1]})


def compresses(s: Settings) -> bool:
    """Does the denoiser work on latents that are worth keeping?"""
    return s.diffusion.backbone != "small"


def pipeline(s: Settings) -> dict:
    """What names a ready-made pipeline."""
    return {"pretrained": s.diffusion.pretrained, "revision": s.diffusion.revision}


def encode_texts(s: Settings, w: Wildcards) -> Node:
    own = {"backbone": s.diffusion.backbone, "levels": s.diffusion.used_levels}
    if compresses(s):
        return Node({**own, **pipeline(s)}, [("resolve_taxa", {})])
    return Node(own, [("resolve_taxa", {}), ("train_semantics", {})])


def encode_latents(s: Settings, w: Wildcards) -> Node:
    flip = s.diffusion.flip and w["split"] == "train"
    return Node({**pipeline(s), "size": s.collection.size, "flip": flip}, [pack(w["split"])])


def training_splits(s: Settings) -> list[str]:
    """The splits that a stage looks at."""
    return ["train", "validation"] if s.diffusion.watch.validate_every else ["train"]


def training_data(s: Settings) -> list[Job]:
    latents = [("encode_latents", {"split": split}) for split in training_splits(s)] if compresses(s) else []
    return [*map(pack, training_splits(s)), *latents, ("encode_texts", {})]


def stage_settings(s: Settings) -> dict:
    """What all stages share."""
    shared = dump(s.diffusion, "base", "stages", "contour", "channels" if compresses(s) else "pretrained")
    if not compresses(s):
        del shared["revision"]
    return {**shared, "levels": s.diffusion.used_levels, "size": s.collection.size, "seed": learning_seed(s)}


def train_stage(s: Settings, w: Wildcards) -> Node:
    stage, order = w["stage"], stages(s)
    own = s.diffusion.base if stage == "base" else s.diffusion.stages.get(stage)
    before = [("train_stage", {"stage": previous}) for previous in order[: order.index(stage)][-1:]]
    return Node({**stage_settings(s), **(dump(own) if own else {})}, [*training_data(s), *before])


def train_contour(s: Settings, w: Wildcards) -> Node:
    settings = {**stage_settings(s), **dump(s.diffusion.contour)}
    return Node(settings, [*training_data(s), ("train_stage", {"stage": stages(s)[-1]})])


RULES = by_name(train_semantics, encode_texts, encode_latents, train_stage, train_contour)
