"""What the plan knows of one job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from taxaforge.config.settings import Settings

Wildcards = Mapping[str, str]
Job = tuple[str, Wildcards]

SPLITS = ("train", "validation", "test", "reserve")
VIEWS = ("imagefolder", "coco", "webdataset")


@dataclass(frozen=True)
class Node:
    """settings: what the job computes with. after: the jobs whose results it reads. files: user files, by their setting.

    alternative: the one of `lineage.ALTERNATIVES` that the job runs, if only one.
    """

    settings: dict
    after: list[Job] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    alternative: str = ""


Rule = Callable[[Settings, Wildcards], Node]


def by_name(*rules: Rule) -> dict[str, Rule]:
    """The rules of a module under the names that the workflow gives them."""
    return {rule.__name__: rule for rule in rules}
