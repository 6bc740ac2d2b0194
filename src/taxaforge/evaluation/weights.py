"""Weights of the networks behind image metrics: safetensors alone, from a file or from the hub."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from taxaforge.errors import TaxaforgeError

HUB = "hf-hub:"
CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "state = torch.load(sys.argv[1], weights_only=True); "
    'save_file({k: v.clone().contiguous() for k, v in state.items()}, sys.argv[2])" weights.pth weights.safetensors'
)
"""Turns a published pickle of tensors into safetensors, once, outside the workflow."""
PUBLISHED = {
    "inception": "pytorch-fid publishes pt_inception-2015-12-05-6726825d.pth",
    "lpips": "the package lpips has them: save lpips.LPIPS(net='alex').state_dict() with torch.save",
}
"""kind -> where its weights are to be had."""


class NoWeights(TaxaforgeError):
    """A network's weights are not there, or not such as can be loaded."""


def weights_file(name: str, kind: str, given: str | Path) -> Path:
    """The file of an extractor's weights; those of the hub (`hf-hub:<owner>/<model>/<file>`) are fetched.

    Raises: NoWeights where none are given, where they are no safetensors, or not to be had.
    """
    setting, given = f"evaluation.extractors.{name}.weights", str(given)
    if not given:
        raise NoWeights(
            f"{setting} is empty, and {name!r} ({kind}) has no weights of its own: {PUBLISHED[kind]}. "
            f"Convert them once with\n  {CONVERT}\nand name the result in {setting}."
        )
    if not given.endswith(".safetensors"):
        raise NoWeights(
            f"{setting} is {given!r}, which is no .safetensors file; pickles can run code and are never loaded. "
            f"Convert it once with\n  {CONVERT}\nand name the result in {setting}."
        )
    if given.startswith(HUB):
        return _fetched(setting, given.removeprefix(HUB))
    if not Path(given).is_file():
        raise NoWeights(f"{setting}: there is no file {given!r}. Correct the path.")
    return Path(given)


def load_weights(name: str, kind: str, given: str | Path) -> dict[str, Tensor]:
    """The tensors of `weights_file`. Raises NoWeights."""
    path = weights_file(name, kind, given)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise NoWeights(
            f"evaluation.extractors.{name}.weights: {path} is no safetensors file ({error}). Convert the published "
            f"weights anew with\n  {CONVERT}"
        ) from error


def _fetched(setting: str, place: str) -> Path:
    from huggingface_hub import hf_hub_download

    owner, _, rest = place.partition("/")
    model, _, file = rest.partition("/")
    try:
        return Path(hf_hub_download(f"{owner}/{model}", file))
    except (OSError, ValueError) as error:
        raise NoWeights(
            f"{setting}: {HUB}{place} cannot be had ({str(error).splitlines()[0]}). Look at the name, the network and "
            "runtime.hub_offline, or give a local .safetensors file."
        ) from error
