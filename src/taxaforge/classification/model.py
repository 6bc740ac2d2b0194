"""A classifier: a timm model, its classes, and how pictures are prepared for it; made, saved, loaded."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taxaforge.classification import sources
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic

OPEN_CLIP = "open_clip:"
HEADER = "taxaforge"  # one metadata key: safetensors writes several keys in no fixed order


@dataclass(frozen=True)
class Classifier:
    """net: a timm model, or an open_clip image tower with timm's face; logits (B, len(classes)). name: its architecture.
    mean, std: of RGB in 0..1, by which it wants pixels normalised. arguments: what else its structure depends on."""

    net: nn.Module
    name: str
    classes: list[str]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    arguments: dict = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    def resized(self, pixels: np.ndarray) -> Tensor:
        """uint8 (B, H, W, 3) to float (B, 3, image_size, image_size) in 0..1, on the model's device."""
        x = torch.from_numpy(np.array(pixels, copy=True)).to(self.device).permute(0, 3, 1, 2).float().div_(255)
        if x.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            x = F.interpolate(x, size, mode="bicubic", antialias=True, align_corners=False).clamp_(0, 1)
        return x

    def normalised(self, x: Tensor) -> Tensor:
        """0..1 to what the network takes; channels last, which is several times faster on a CPU."""
        mean, std = (torch.tensor(v, device=x.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def create(name: str, classes: list[str], image_size: int, weights: str | Path = "", seed: int = 0) -> Classifier:
    """A classifier with a fresh head, its other weights fresh or published.

    Args:
        name, weights: as `sources.found` takes them; the head of published weights is replaced. Or
            `open_clip:<model>`, see `clip`, whose own weights and image size are taken.
        seed: of the initialisation; the global random state is left as it was.
    Raises: TaxaforgeError for an unknown model, missing or unfitting weights, or weights that timm left unused.
    """
    if name.startswith(OPEN_CLIP):
        from taxaforge.classification import clip  # open_clip takes a second to import, and timm's models do without

        return clip.create(name, classes, weights, seed)
    source = sources.found(name, weights)
    kwargs = _structure(source.architecture, image_size, source.arguments)
    if source.file:
        # timm uses the overlay only together with pretrained=True and otherwise ignores it without a word.
        kwargs |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(source.file), "source": ""}}
        kwargs |= {"pretrained_cfg": source.config} if source.config else {}
    try:
        net = _built(source.architecture, len(classes), seed, kwargs)
    except (RuntimeError, SafetensorError) as error:
        if not source.file:
            raise
        raise TaxaforgeError(
            f"classification.weights {_said(name, weights)!r} do not fit {source.architecture!r}: "
            f"{str(error).splitlines()[0]}. Give the weights of that model in timm layout (.safetensors)."
        ) from error
    mean = std = (0.5, 0.5, 0.5)
    if source.file:
        _assert_loaded(net, source.file, _said(name, weights))
        data = timm.data.resolve_model_data_config(net)
        mean, std = tuple(data["mean"]), tuple(data["std"])
    return Classifier(net, source.architecture, list(classes), image_size, mean, std, source.arguments)


def _said(name: str, weights: str | Path) -> str:
    """Weights as the user named them."""
    return str(weights) if weights and str(weights) != sources.HUB else name


def _structure(architecture: str, image_size: int, arguments: dict) -> dict:
    """Arguments of timm's constructor. Transformers are built for one size, convolutional models take any and know no such argument."""
    fixed = getattr(timm.get_pretrained_cfg(architecture), "fixed_input_size", False)
    return {**arguments, "img_size": image_size} if fixed else dict(arguments)


def _built(architecture: str, classes: int, seed: int, kwargs: dict) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        net = timm.create_model(architecture, **{**kwargs, "num_classes": classes})
    return net.to(memory_format=torch.channels_last)


def _assert_loaded(net: nn.Module, file: Path, said: str) -> None:
    """Raises unless every tensor outside the head came from the file: timm only warns of missing ones.

    A tensor of another shape is one that timm fitted to the image size (position embeddings).
    """
    head = tuple(f"{module}." for module in head_names(net))
    wrong = []
    with safe_open(str(file), "pt") as stored_tensors:
        names = set(stored_tensors.keys())
        for key, value in net.state_dict().items():
            if key.startswith(head) or key.endswith("num_batches_tracked"):
                continue
            stored = stored_tensors.get_tensor(key).to(value.dtype) if key in names else None
            if stored is None or (stored.shape == value.shape and not torch.equal(stored, value)):
                wrong.append(f"{key} {'differs' if key in names else 'is missing'}")
    if wrong:
        raise TaxaforgeError(
            f"classification.weights {said!r} were not loaded: {wrong[0]} ({len(wrong)} tensors in all). "
            "Give the weights of the same timm model, in timm layout."
        )


def head_names(net: nn.Module) -> list[str]:
    """Modules of a network that its number of classes decides."""
    names = net.default_cfg["classifier"]
    return [names] if isinstance(names, str) else list(names)


def save(classifier: Classifier, path: str | Path, state: dict[str, Tensor] | None = None) -> None:
    """Weights (of `state`, else of the network) in timm's layout, everything else as JSON in the header."""
    header = {
        "model": classifier.name,
        "classes": classifier.classes,
        "image_size": classifier.image_size,
        "mean": classifier.mean,
        "std": classifier.std,
    } | ({"arguments": classifier.arguments} if classifier.arguments else {})
    tensors = {key: value.detach().cpu().contiguous() for key, value in (state or classifier.net.state_dict()).items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, sort_keys=True)})


def load(path: str | Path, device: str = "cpu") -> Classifier:
    """A classifier that `save` wrote, in evaluation mode. Raises TaxaforgeError for any other file."""
    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
    except (SafetensorError, KeyError) as error:
        raise TaxaforgeError(f"{path} is no classifier of taxaforge. Remake it: delete it and run again.") from error
    return _opened(header, load_file(str(path)), device)


def _opened(header: dict, tensors: dict[str, Tensor], device: str) -> Classifier:
    """The structure that a header names, with these weights in it; no other file is needed."""
    name, classes, image_size = (header[key] for key in ("model", "classes", "image_size"))
    arguments = header.get("arguments", {})
    if name.startswith(OPEN_CLIP):
        from taxaforge.classification import clip  # as in `create`

        net = clip.built(arguments, len(classes))
    else:
        net = _built(name, len(classes), 0, _structure(name, image_size, arguments))
    net.load_state_dict(tensors)
    return Classifier(
        net.to(device).eval(), name, classes, image_size, tuple(header["mean"]), tuple(header["std"]), arguments
    )
