"""A classifier: a timm model, its classes, and how pictures are prepared for it; made, saved, loaded."""

import difflib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic

HEADER = "taxaforge"  # one metadata key: safetensors writes several keys in no fixed order


@dataclass(frozen=True)
class Classifier:
    """net: timm model, logits (B, len(classes)). name: its timm name. mean, std: of RGB in 0..1, by which it wants pixels normalised."""

    net: nn.Module
    name: str
    classes: list[str]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

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
    """A classifier with a fresh head, from scratch or from local weights.

    Args:
        weights: "" or a .safetensors file in timm layout; its head is replaced.
        seed: of the initialisation; the global random state is left as it was.
    Raises: TaxaforgeError for an unknown model, missing or unfitting weights, or weights that timm left unused.
    """
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 3)
        hint = f"Close names: {', '.join(close)}." if close else "`timm.list_models()` prints all."
        raise TaxaforgeError(f"classification.model {name!r} is not a timm {timm.__version__} model. {hint}")
    # Transformers are built for one size, convolutional models take any and know no such argument.
    kwargs = {"img_size": image_size} if getattr(timm.get_pretrained_cfg(name), "fixed_input_size", False) else {}
    if weights:
        if not Path(weights).is_file():
            raise TaxaforgeError(
                f"classification.weights {str(weights)!r} is no file. Correct the path, or leave it empty."
            )
        # timm uses the overlay only together with pretrained=True and otherwise ignores it without a word.
        kwargs |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        try:
            net = timm.create_model(name, num_classes=len(classes), **kwargs)
        except (RuntimeError, SafetensorError) as error:
            if not weights:
                raise
            raise TaxaforgeError(
                f"classification.weights {str(weights)!r} do not fit {name!r}: {str(error).splitlines()[0]}. "
                "Give the weights of that model in timm layout (.safetensors)."
            ) from error
    mean = std = (0.5, 0.5, 0.5)
    if weights:
        _assert_loaded(net, weights)
        data = timm.data.resolve_model_data_config(net)
        mean, std = tuple(data["mean"]), tuple(data["std"])
    net = net.to(memory_format=torch.channels_last)
    return Classifier(net, name, list(classes), image_size, mean, std)


def _assert_loaded(net: nn.Module, weights: str | Path) -> None:
    """Raises unless every tensor outside the head came from the file: timm only warns of missing ones.

    A tensor of another shape is one that timm fitted to the image size (position embeddings).
    """
    head = tuple(f"{module}." for module in _head_names(net))
    wrong = []
    with safe_open(str(weights), "pt") as file:
        names = set(file.keys())
        for key, value in net.state_dict().items():
            if key.startswith(head) or key.endswith("num_batches_tracked"):
                continue
            stored = file.get_tensor(key).to(value.dtype) if key in names else None
            if stored is None or (stored.shape == value.shape and not torch.equal(stored, value)):
                wrong.append(f"{key} {'differs' if key in names else 'is missing'}")
    if wrong:
        raise TaxaforgeError(
            f"classification.weights {str(weights)!r} were not loaded: {wrong[0]} ({len(wrong)} tensors in all). "
            "Give the weights of the same timm model, in timm layout."
        )


def _head_names(net: nn.Module) -> list[str]:
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
    }
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
    classifier = create(header["model"], header["classes"], header["image_size"])
    classifier.net.load_state_dict(load_file(str(path)))
    classifier.net.to(device).eval()
    return replace(classifier, mean=tuple(header["mean"]), std=tuple(header["std"]))
