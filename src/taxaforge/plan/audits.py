"""The audits: leaks between splits, copies of training images, and what images were made from."""

from taxaforge.config.settings import Settings, dump
from taxaforge.plan.collection import pack
from taxaforge.plan.guidance import gathered, methods_of_kind
from taxaforge.plan.node import Job, Node, Wildcards, by_name


def audit_leaks(s: Settings, w: Wildcards) -> Node:
    settings = {**dump(s.audit, "enabled", "replicas"), "methods": s.guidance.methods, "seed": s.run.seed}
    real = [pack(split) for split in ("train", "validation", "test", "reserve")]
    return Node(settings, [*real, ("split_images", {}), *gathered(s)])


def audit_copies(s: Settings, w: Wildcards) -> Node:
    settings = {**dump(s.audit, "enabled", "leaked"), "methods": s.guidance.methods, "seed": s.run.seed}
    return Node(settings, [pack("train"), pack("validation"), pack("reserve"), *gathered(s)])


def conclude_audits(s: Settings, w: Wildcards) -> Node:
    settings = {"methods": s.guidance.methods, "captioned": methods_of_kind(s, "sgid")}
    captions = [("caption_images", {"method": method}) for method in settings["captioned"]]
    return Node(settings, [("audit_leaks", {}), ("audit_copies", {}), pack("train"), *captions, *gathered(s)])


def audited(s: Settings) -> list[Job]:
    """What a verdict, and the page, stand on besides, where audits are made."""
    return [("audit_copies", {}), ("conclude_audits", {})] * s.audit.enabled


RULES = by_name(audit_leaks, audit_copies, conclude_audits)
