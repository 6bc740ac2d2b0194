"""The whole configuration, its checks across sections, and the sentence for each mistake."""

import difflib
from datetime import date
from typing import Any, get_args

from pydantic import BaseModel, ValidationError, model_validator

from taxaforge.config.audit import Audit
from taxaforge.config.base import Section
from taxaforge.config.classification import Classification
from taxaforge.config.collection import Collection
from taxaforge.config.diffusion import Diffusion
from taxaforge.config.evaluation import Evaluation
from taxaforge.config.filter import Filter
from taxaforge.config.guidance import KINDS, Guidance
from taxaforge.config.network import Network
from taxaforge.config.protocol import Protocol
from taxaforge.config.run import Run
from taxaforge.config.runtime import Runtime
from taxaforge.config.semantics import Semantics
from taxaforge.config.split import Split
from taxaforge.config.taxa import Taxa
from taxaforge.config.taxonomy import Taxonomy
from taxaforge.config.tracking import Tracking


class Settings(Section):
    """Everything a run depends on, one section a room."""

    run: Run = Run()
    taxa: Taxa = Taxa()
    taxonomy: Taxonomy = Taxonomy()
    network: Network = Network()
    collection: Collection = Collection()
    split: Split = Split()
    protocol: Protocol = Protocol()
    semantics: Semantics = Semantics()
    diffusion: Diffusion = Diffusion()
    guidance: Guidance = Guidance()
    filter: Filter = Filter()
    classification: Classification = Classification()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    tracking: Tracking = Tracking()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _sections_fit_together(self):
        for arm in self.arms:
            method = arm.partition("+")[2]
            if method and method not in self.guidance.methods:
                raise ValueError(
                    f"classification.arms: {arm!r} needs images that no method draws; guidance.methods are "
                    f"{', '.join(self.guidance.methods) or 'empty'}. Add {method!r} there or remove the arm."
                )
        for name in self.guidance.methods:
            self._method_fits(name)
        folder = self.collection.folder
        if self.collection.source == "folder" and not (folder.path and (folder.table or folder.layout != "table")):
            raise ValueError(
                "collection.source is 'folder', so collection.folder.path must say where the photographs are, and "
                "collection.folder.table or collection.folder.layout what they show."
            )
        if self.collection.source == "folder" and folder.layout == "flowers" and not folder.names:
            raise ValueError(
                "collection.folder.layout 'flowers' has numbers for labels, so collection.folder.names must say what they mean: "
                "a CSV with `label` and `scientificName`."
            )
        if self.taxonomy.source == "archive" and not self.taxonomy.archive:
            raise ValueError(
                "taxonomy.source is 'archive', so taxonomy.archive must name a Darwin Core archive or table."
            )
        if self.collection.source == "gbif" and self.taxonomy.source != "gbif":
            raise ValueError(
                f"collection.source is 'gbif', but taxonomy.source is {self.taxonomy.source!r}, whose keys mean nothing to GBIF. "
                "Set taxonomy.source to 'gbif'."
            )
        if self.split.previous.startswith("results/"):
            raise ValueError(
                f"split.previous is {self.split.previous!r}, which this run writes itself. Copy the earlier table to a place "
                "outside results/ and name the copy."
            )
        if self.split.unit == "time":
            try:
                date.fromisoformat(self.split.cut)
            except ValueError:
                raise ValueError(
                    f"split.unit is 'time', so split.cut must be a date such as 2023-01-01 (got {self.split.cut!r})."
                ) from None
        counted = self.protocol.seen if self.protocol.kind == "zero_shot" else self.protocol.kind
        if self.collection.source == "simulated" and counted == "few_shot":
            drawn = self.collection.simulated.images_per_species
            asked = self.protocol.shots + self.split.validation + self.split.test
            if asked > drawn:
                raise ValueError(
                    f"protocol.shots ({self.protocol.shots}) + split.validation ({self.split.validation}) + split.test "
                    f"({self.split.test}) = {asked} images a species, but collection.simulated.images_per_species is "
                    f"{drawn}. Lower protocol.shots to at most {max(drawn - asked + self.protocol.shots, 0)} or draw more."
                )
        self._unseen_species_are_shown()
        if self.semantics.source == "pretrained" and not self.semantics.pretrained:
            raise ValueError("semantics.source is 'pretrained', so semantics.pretrained must name an open_clip model.")
        coarsest = 2 ** len(self.diffusion.channels)  # the finest channels stand on 2 x 2 px, each further one halves
        if self.diffusion.backbone == "small" and self.collection.size % coarsest:
            raise ValueError(
                f"collection.size ({self.collection.size}) must be divisible by {coarsest}, because diffusion.channels has "
                f"{len(self.diffusion.channels)} entries. Use fewer channels or a larger size."
            )
        return self

    @property
    def arms(self) -> list[str]:
        """`classification.arms` with every `*` spelled out."""
        methods = self.guidance.methods
        spelled = (
            [arm.replace("*", name) for name in methods] if "*" in arm else [arm] for arm in self.classification.arms
        )
        return list(dict.fromkeys(arm for arms in spelled for arm in arms))

    def _unseen_species_are_shown(self) -> None:
        """Raises ValueError where arms that mix would never see a species without real images."""
        mixing = self.classification.mixing
        mixes = any("+" in arm and not arm.startswith("synthetic+") for arm in self.arms)
        if self.protocol.kind != "zero_shot" or not mixes:
            return
        if mixing.policy == "replace":
            raise ValueError(
                "classification.mixing.policy 'replace' puts synthetic images in the place of real ones of their species, and "
                "under protocol.kind 'zero_shot' some species have none, so they would never be shown. Choose another policy."
            )
        replacing = [name for name in mixing.candidates if name.startswith("replace:")]
        if mixing.policy == "auto" and replacing:
            raise ValueError(
                f"classification.mixing.candidates: {', '.join(replacing)} would never show the species that have no real "
                "images under protocol.kind 'zero_shot'. Leave that out, and one of learning_rate_factors, of which there are as "
                "many."
            )

    def _method_fits(self, name: str) -> None:
        """Raises ValueError where the generator or the protocol cannot give a method what it needs."""
        recipe, levels = self.guidance.recipe(name), self.diffusion.used_levels
        if recipe.kind == "taxadiffusion":
            fine = recipe.fine or levels[-1]
            weak = {"coarsest": levels[0], "parent": levels[0]}.get(recipe.weak, recipe.weak)
            if not {fine, weak} <= set(levels) or levels.index(weak) >= levels.index(fine):
                raise ValueError(
                    f"guidance.methods: {name!r} guides {fine!r} against a coarser level ({recipe.weak}), but "
                    f"diffusion.variant {self.diffusion.variant!r} with diffusion.levels {self.diffusion.levels} uses "
                    f"{', '.join(levels)}. Add a coarser level, correct guidance.recipes.{name}, or remove the method."
                )
        elif recipe.kind != "none" and self.diffusion.null_probability == 0:
            raise ValueError(
                f"guidance.methods: {name!r} needs a trained null condition, but diffusion.null_probability is 0. "
                "Raise it to 0.1 or remove the method."
            )
        without = {
            "protocol.kind 'zero_shot'": self.protocol.kind == "zero_shot",
            "guidance.allocation.only 'without_images'": self.guidance.allocation.only == "without_images",
        }
        for setting in [words for words, holds in without.items() if holds]:
            if "train" in recipe.needs and recipe.kind != "mixup":
                raise ValueError(
                    f"guidance.methods: {name!r} ({recipe.kind}) starts from real images of a species, and with {setting} "
                    "it is to draw some that have none. Remove the method, or change that setting."
                )


def _model_at(location: tuple) -> type[BaseModel] | None:
    """The model whose fields stand at a location such as ("diffusion", "stages", "genus")."""
    kind: Any = Settings
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # dict[str, X] or list[X]: the last argument is X; a union's place is the member's `kind`
            kind = get_args(kind)[-1] if get_args(kind) else None
            if part in KINDS and not isinstance(kind, type):
                kind = KINDS[part]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def explain(error: ValidationError) -> str:
    """All mistakes at once, one line each: the key, what is wrong with its value, and the remedy."""
    lines = ["The configuration is not valid:"]
    for mistake in error.errors():
        key, message = ".".join(map(str, mistake["loc"])), mistake["msg"].removeprefix("Value error, ")
        if mistake["type"] == "extra_forbidden":
            model = _model_at(mistake["loc"][:-1])
            known = list(model.model_fields) if model else []
            close = difflib.get_close_matches(str(mistake["loc"][-1]), known, 1)
            message = (
                f"unknown key, did you mean {close[0]!r}?" if close else f"unknown key, known here: {', '.join(known)}"
            )
        elif mistake["type"].startswith("union_tag"):
            message = f"kind says which recipe it is: one of {', '.join(KINDS)} (got {mistake['input']!r})"
        elif mistake["type"] != "value_error":
            message = f"{message} (got {mistake['input']!r})"
        lines.append(f"  {key}: {message}" if key else f"  {message}")
    return "\n".join(lines)


def load(config: dict) -> Settings:
    """Settings from what Snakemake read; raises ValueError with `explain`'s text."""
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        raise ValueError(explain(error)) from None


def dump(section: BaseModel, *without: str) -> dict:
    """Plain values of a section for `params:`, in a fixed order, unset optional values left out."""
    return section.model_dump(mode="json", exclude_none=True, exclude=set(without))
