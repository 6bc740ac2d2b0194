"""Settings and lineage keys of every job."""

from collections.abc import Callable
from pathlib import Path

from taxaforge.config.settings import Settings
from taxaforge.errors import TaxaforgeError
from taxaforge.files import sha256_of
from taxaforge.lineage import fingerprint, key, plain
from taxaforge.plan.node import Job, Wildcards
from taxaforge.plan.rules import RULES


class MissingUserFile(TaxaforgeError):
    """A file that the configuration names does not exist."""


class Plan:
    """Settings and keys of every job of one configuration.

    Args:
        settings: the validated configuration.
        root: the checkout; user files are looked for in the working directory, then here.
    """

    def __init__(self, settings: Settings, root: Path):
        self.settings, self.root = settings, root
        self._keys: dict[tuple, str] = {}
        self._digests: dict[str, str] = {}

    def cfg(self, rule: str) -> Callable[[Wildcards], dict]:
        """For `params: cfg=`: the rule's own settings as plain values."""
        return lambda wildcards: plain(RULES[rule](self.settings, dict(wildcards.items())).settings)

    def key(self, rule: str) -> Callable[[Wildcards], str]:
        """For `params: key=`: the lineage key."""
        return lambda wildcards: self.key_of(rule, dict(wildcards.items()))

    def key_of(self, rule: str, wildcards: Wildcards) -> str:
        """The lineage key of one job. Raises MissingUserFile."""
        job = (rule, *sorted(wildcards.items()))
        if job not in self._keys:
            node = RULES[rule](self.settings, wildcards)
            upstream = [self.key_of(*before) for before in node.after]
            files = {setting: self._digest(setting, path) for setting, path in node.files.items()}
            code = fingerprint(self.root / "scripts" / f"{rule}.py", node.alternative)
            self._keys[job] = key(rule, dict(wildcards), node.settings, code, files, sorted(upstream))
        return self._keys[job]

    def before(self, rule: str, wildcards: Wildcards) -> list[Job]:
        """Every job that one waits for, directly or not, each behind those that it waits for itself."""
        found: dict[tuple, Job] = {}

        def visit(job: Job) -> None:
            for earlier in RULES[job[0]](self.settings, job[1]).after:
                name = (earlier[0], *sorted(earlier[1].items()))
                if name not in found:
                    visit(earlier)
                    found[name] = earlier

        visit((rule, wildcards))
        return list(found.values())

    def locate(self, path: str) -> str:
        """A user file: as it stands from the working directory, else from the checkout."""
        return path if Path(path).exists() or Path(path).is_absolute() else str(self.root / path)

    def check_files(self) -> None:
        """Raises MissingUserFile for the first file named in the settings that is not there."""
        rules = ("resolve_taxa", "fetch_images", "embed_images", "split_images", "train_semantics", "train_judge")
        for rule in (*rules, "train_guide", "train_classifier", "measure_images", "compare_arms", "decide_verdict"):
            for setting, path in RULES[rule](self.settings, {"arm": "real"}).files.items():
                self._digest(setting, path)

    def _digest(self, setting: str, path: str) -> str:
        if path not in self._digests:
            found = Path(self.locate(path))
            if not found.is_file():
                raise MissingUserFile(
                    f"{setting}: there is no file {path!r}, neither in the working directory nor beside the Snakefile. "
                    f"Correct {setting} in the configuration."
                )
            self._digests[path] = sha256_of(found)
        return self._digests[path]
