"""open_clip models as classifiers: the image tower, and a linear head on its unit features.

A model is named as open_clip names it: `local-dir:<folder>`, `hf-hub:<owner>/<name>` or `<architecture>:<tag>`, the two
that `open_clip.list_pretrained()` prints. Its weights are read from safetensors alone: a pickle can run code, and is
never opened. What is saved holds the tower and its structure, so that it opens without network, text tower or folder.
"""

from pathlib import Path

import open_clip
import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.functional import normalize

from taxaforge.classification.model import OPEN_CLIP, Classifier
from taxaforge.errors import TaxaforgeError

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
FOLDER, REPOSITORY = "local-dir:", "hf-hub:"
LEAST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
"""The text tower of a model that is built for its images."""


class NoImageText(TaxaforgeError):
    """An open_clip model cannot be opened."""


class Tower(nn.Module):
    """Pictures (B, 3, h, w) to logits (B, classes), through unit features (B, width); the methods are those of timm."""

    default_cfg = {"classifier": "head"}

    def __init__(self, visual: nn.Module, width: int, classes: int):
        super().__init__()
        self.visual, self.num_features, self.head = visual, width, nn.Linear(width, classes)

    def forward_features(self, x: Tensor) -> Tensor:
        return normalize(self.visual(x), dim=-1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Linear:
        return self.head


def create(name: str, classes: list[str], weights: str | Path = "", seed: int = 0) -> Classifier:
    """The image tower of a published model under a fresh head.

    Args: name: `open_clip:<model>`. seed: of the head; the global random state is left as it was.
    Raises: NoImageText.
    """
    if weights:
        raise NoImageText(
            f"classification.model {name!r} brings its weights, and classification.weights is {str(weights)!r}. Leave it empty."
        )
    # `opened` freezes what is only asked; whether this one stays as it is, the way of training decides.
    return headed(name, opened(name).requires_grad_(True), classes, seed)


def headed(name: str, model: nn.Module, classes: list[str], seed: int = 0) -> Classifier:
    """A classifier of an opened model's image tower; it looks at pictures as the model was trained to."""
    structure = structure_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        net = Tower(model.visual, structure["embed_dim"], len(classes))
    size = model.visual.image_size
    mean, std = (tuple(map(float, value)) for value in (model.visual.image_mean, model.visual.image_std))
    side = size if isinstance(size, int) else size[0]
    return Classifier(net, OPEN_CLIP + _short(name), list(classes), side, mean, std, structure)


def structure_of(name: str) -> dict:
    """What the image tower of `open_clip:<model>` is built from: {"embed_dim", "vision_cfg", "quick_gelu"}."""
    identifier = name.removeprefix(OPEN_CLIP)
    config = open_clip.get_model_config(identifier if _placed(identifier) else identifier.partition(":")[0])
    return {
        "embed_dim": config["embed_dim"],
        "vision_cfg": config["vision_cfg"],
        "quick_gelu": config.get("quick_gelu", False),
    }


def built(structure: dict, classes: int) -> Tower:
    """A tower of that structure with weights that mean nothing, to be loaded into."""
    with torch.random.fork_rng(devices=[]):
        visual = open_clip.CLIP(**structure, text_cfg=LEAST_TEXT).visual
        return Tower(visual, structure["embed_dim"], classes)


def opened(name: str) -> nn.Module:
    """The whole model behind `open_clip:<model>`, in evaluation mode, without gradients. Raises: NoImageText."""
    identifier = name.removeprefix(OPEN_CLIP)
    tag = _safe(name, identifier)
    identifier = identifier if _placed(identifier) else identifier.partition(":")[0]
    try:
        with torch.random.fork_rng(devices=[]):  # first weights are drawn before the saved ones are read
            model = open_clip.create_model(identifier, pretrained=tag, require_pretrained=True)
    except (RuntimeError, OSError, ValueError, KeyError, SafetensorError) as error:
        raise _not_had(name, error) from error
    if isinstance(model, open_clip.CoCa):
        raise NoImageText(
            f"{name!r} is a captioner (CoCa), whose image tower gives more than one vector. Choose a CLIP."
        )
    return model.eval().requires_grad_(False)


def tokenizer_of(name: str):
    """The tokeniser of `open_clip:<model>`: sentences to ids (N, n). Raises: NoImageText."""
    identifier = name.removeprefix(OPEN_CLIP)
    try:
        return open_clip.get_tokenizer(identifier if _placed(identifier) else identifier.partition(":")[0])
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise _not_had(name, error) from error


def _placed(identifier: str) -> bool:
    """Whether a model says where it lies; else it is an architecture and a tag."""
    return identifier.startswith((FOLDER, REPOSITORY))


def _short(name: str) -> str:
    """The name without folders of this machine, so that the same model saved elsewhere is the same file."""
    identifier = name.removeprefix(OPEN_CLIP)
    return Path(identifier.removeprefix(FOLDER)).name if identifier.startswith(FOLDER) else identifier


def _safe(name: str, identifier: str) -> str | None:
    """The tag of an architecture, None of the others; after making sure that the weights are safetensors. Raises: NoImageText."""
    if identifier.startswith(FOLDER):
        folder = Path(identifier.removeprefix(FOLDER))
        if not (folder / CONFIG).is_file():
            raise NoImageText(f"{folder / CONFIG} is missing, so {name!r} is no folder of open_clip. Correct the path.")
        if not list(folder.glob("*.safetensors")):
            raise _no_safetensors(name, sorted(file.name for file in folder.iterdir() if file.name != CONFIG))
        return None
    if identifier.startswith(REPOSITORY):
        try:
            hf_hub_download(identifier.removeprefix(REPOSITORY), CONFIG)
        except (OSError, ValueError) as error:
            raise _not_had(name, error) from error
        try:
            hf_hub_download(identifier.removeprefix(REPOSITORY), WEIGHTS)
        except (OSError, ValueError) as error:
            raise _no_safetensors(name, [str(error).splitlines()[0]]) from error
        return None
    architecture, _, tag = identifier.partition(":")
    config = open_clip.get_pretrained_cfg(architecture, tag)
    if not config:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        has = f"has the tags {', '.join(tags)}" if tags else "is no architecture of open_clip with published weights"
        raise NoImageText(
            f"{name!r}: {architecture!r} {has}. Name open_clip:<architecture>:<tag>, as "
            "`open_clip.list_pretrained()` lists them, open_clip:local-dir:<folder> or open_clip:hf-hub:<owner>/<name>."
        )
    try:
        file = open_clip.download_pretrained(config)
    except (RuntimeError, OSError, ValueError) as error:
        raise _not_had(name, error) from error
    if not str(file).endswith(".safetensors"):
        raise _no_safetensors(name, [Path(file).name])
    return tag


def _no_safetensors(name: str, there: list[str]) -> NoImageText:
    return NoImageText(
        f"{name!r} has no weights as safetensors ({', '.join(there[:3]) or 'the folder is empty'}); a pickle can run code and "
        "is never opened here. Choose another source, or, if you trust it, convert it once in Python: load it with "
        f"open_clip, `safetensors.torch.save_file(model.state_dict(), '<folder>/{WEIGHTS}')`, and name local-dir:<folder>."
    )


def _not_had(name: str, error: Exception) -> NoImageText:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return NoImageText(
        f"The image-text model {name!r} cannot be opened: {said}. Check classification.model; without a network, name a "
        "folder (open_clip:local-dir:<folder>), or copy the model into the cache that HF_HOME names."
    )
