"""Where a timm model comes from: its architecture, its weights as one safetensors file, and how it wants pictures.

Whatever a user names ends as a file on this machine, so that nothing behind this module knows a network. Weights are
read from safetensors alone: a pickle can run code, and is never opened. With HF_HUB_OFFLINE=1 the hub is not asked, and
what is cached is used.
"""

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import timm
from timm.models._hub import load_model_config_from_path

from taxaforge.errors import TaxaforgeError

HUB = "hub"
"""`classification.weights` of a model that is to have timm's own published weights."""
WEIGHTS = "model.safetensors"
CONFIG = "config.json"


class NoBackbone(TaxaforgeError):
    """The model or its weights cannot be had."""


@dataclass(frozen=True)
class Source:
    """architecture: timm's name of it, tag included. file: weights in timm layout, None for fresh ones. config: what was
    published beside them, None where timm's own table says it. arguments: of the constructor, as published."""

    architecture: str
    file: Path | None = None
    config: dict | None = None
    arguments: dict = field(default_factory=dict)


def found(name: str, weights: str | Path = "") -> Source:
    """The source behind `classification.model` and `classification.weights`.

    Args:
        name: a timm name, with or without a tag; `hf-hub:<owner>/<name>[@<revision>]` or `local-dir:<folder>`, which
            name their weights, too.
        weights: "" for fresh ones, a .safetensors file, or HUB for those that timm publishes for the name and tag.
    Raises: NoBackbone.
    """
    try:
        place, identifier = timm.models.parse_model_name(name)
    except ValueError as error:
        raise NoBackbone(f"classification.model {name!r} is no name of a model: {error}") from error
    if place:
        if weights:
            raise NoBackbone(
                f"classification.model {name!r} brings its weights, and classification.weights is {str(weights)!r}. "
                "Leave it empty, or name the architecture alone."
            )
        return _published(name, place, identifier)
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 3)
        hint = f"Close names: {', '.join(close)}." if close else "`timm.list_models()` prints all."
        raise NoBackbone(f"classification.model {name!r} is not a timm {timm.__version__} model. {hint}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise NoBackbone(
            f"classification.model {name!r} has a tag that timm {timm.__version__} does not know. "
            f"`timm.list_pretrained('{name.split('.')[0]}*')` prints those that there are; or name the architecture alone."
        ) from error
    if not weights:
        return Source(name)
    if str(weights) == HUB:
        return Source(name, _timms_own(name))
    if not Path(weights).is_file():
        raise NoBackbone(
            f"classification.weights {str(weights)!r} is no file. Correct the path, or leave it empty; {HUB!r} takes "
            "what timm publishes."
        )
    return Source(name, Path(weights))


def _published(name: str, place: str, identifier: str) -> Source:
    """A model with its config beside its weights, in a folder or in a repository of the hub."""
    if place == "local-dir":
        folder = Path(identifier)
        for file in (CONFIG, WEIGHTS):
            if not (folder / file).is_file():
                raise NoBackbone(
                    f"{folder} has no {file}, so {name!r} is no folder as timm saves one. Copy the model again; weights "
                    "in another format are not opened."
                )
        weights = folder / WEIGHTS
    else:
        folder, weights = _downloaded(name, identifier, CONFIG).parent, _downloaded(name, identifier, WEIGHTS)
    try:
        config, architecture, arguments = load_model_config_from_path(folder)
    except (ValueError, KeyError) as error:
        raise NoBackbone(
            f"The {CONFIG} of {name!r} is none that timm writes ({error!r}). Copy the model again, or choose another "
            "classification.model."
        ) from error
    if not timm.is_model(architecture):
        raise NoBackbone(
            f"{name!r} is a {architecture!r}, which timm {timm.__version__} does not know. Choose another classification.model."
        )
    return Source(architecture, weights, config, dict(arguments or {}))


def _timms_own(name: str) -> Path:
    """The file that timm publishes for a name and tag; the default tag's without one."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if config is None or not config.hf_hub_id:
        raise NoBackbone(
            f"timm publishes no weights of classification.model {name!r} on the hub. `timm.list_pretrained()` prints the "
            "names and tags that have some; or give a file in classification.weights."
        )
    wanted = config.hf_hub_filename or WEIGHTS
    if not wanted.endswith(".safetensors"):
        raise NoBackbone(
            f"The weights of {name!r} are published as {wanted}, a pickle, which can run code and is never opened. Choose "
            "another tag, or give them as .safetensors in classification.weights."
        )
    return _downloaded(name, config.hf_hub_id, wanted)


def _downloaded(name: str, identifier: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    repository, _, revision = identifier.partition("@")
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None))
    except (OSError, ValueError) as error:
        raise _not_had(name, error) from error


def _not_had(name: str, error: Exception) -> NoBackbone:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return NoBackbone(
        f"classification.model {name!r} is not on this machine, and the hub does not give its {CONFIG} or {WEIGHTS}: "
        f"{said}. Check the name; without a network, give a file in classification.weights, or copy the model into the "
        "cache that HF_HOME names."
    )
