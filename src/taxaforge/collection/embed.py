"""Features of every picture by a timm model: what copies share that no hash sees."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import nn

from taxaforge import tables
from taxaforge.collection.features import Features
from taxaforge.collection.pixels import BROKEN, open_rgb
from taxaforge.collection.schema import CANDIDATES
from taxaforge.errors import TaxaforgeError
from taxaforge.progress import Progress

BATCH = 32


class NoFeatures(TaxaforgeError):
    """The model cannot be had, or gives nothing that is a feature."""


def embed(
    *,
    candidates: str | Path,
    images: str | Path,
    cfg: Mapping,
    device: str = "cpu",
    out: str | Path,
    log: Callable = lambda step, values: None,
) -> None:
    """Features of every candidate that can be decoded, in the order of their identifiers.

    Args:
        candidates: candidates.parquet.
        images: directory of the pictures; file names are relative to its parent.
        cfg: section collection.embedding: model; weights, a .safetensors file in timm layout, or ""
            for timm's own from the hub.
        out: features.npy, float32 (N, D), rows of length 1; features.json beside it has the model and
            the N identifiers.
        log: receives images_embedded and feature_length.
    Raises: NoFeatures.
    """
    rows = sorted(tables.read(CANDIDATES, candidates), key=lambda row: row["identifier"])
    paths = {row["identifier"]: Path(images).parent / row["file_name"] for row in rows if not row["errorCode"]}
    net, prepare = load(cfg["model"], cfg["weights"], device)
    progress = Progress("features", len(paths), "images")
    identifiers, values = [], None
    for names, pictures in _batches(list(paths.items())):
        batch = features_of(net, torch.stack([prepare(picture) for picture in pictures]), device)
        if values is None:
            values = np.empty((len(paths), batch.shape[1]), dtype=np.float32)
        values[len(identifiers) : len(identifiers) + len(names)] = batch
        identifiers += names
        progress(len(identifiers))
    if values is None:
        raise NoFeatures(
            f"None of {len(rows)} candidates can be decoded, so none has features. Look at the source's files."
        )
    place = {identifier: row for row, identifier in enumerate(identifiers)}
    Features(values[: len(identifiers)], place, cfg["model"]).save(out)
    log(None, {"images_embedded": len(identifiers), "feature_length": values.shape[1]})


def load(name: str, weights: str | Path, device: str) -> tuple[nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """A timm model without its head, and what it wants done to a picture before. Raises: NoFeatures."""
    if not timm.is_model(name):
        raise NoFeatures(
            f"collection.embedding.model {name!r} is no timm {timm.__version__} model. `timm.list_models()` prints all."
        )
    source = {}
    if weights:
        if not Path(weights).is_file():
            raise NoFeatures(
                f"collection.embedding.weights {str(weights)!r} is no file. Correct the path, or leave it empty."
            )
        source = {"pretrained_cfg_overlay": {"file": str(weights)}}
    try:
        net = timm.create_model(name, pretrained=True, num_classes=0, **source)
    except (RuntimeError, OSError, SafetensorError) as error:  # no network, no such file on the hub, another model's
        raise NoFeatures(
            f"The weights of collection.embedding.model {name!r} cannot be had: {str(error).splitlines()[0]}. Give a file of "
            "them in collection.embedding.weights, or leave the model empty to do without features."
        ) from error
    if weights:
        _assert_loaded(net, name, weights)
    data = timm.data.resolve_model_data_config(net)
    return net.to(device).eval(), timm.data.create_transform(**data, is_training=False)


def _assert_loaded(net: nn.Module, name: str, weights: str | Path) -> None:
    """Raises unless the file has every tensor of the network: timm only warns, and noise would pass for features."""
    with safe_open(str(weights), "pt") as file:
        stored = set(file.keys())
    missing = [key for key in net.state_dict() if key not in stored and not key.endswith("num_batches_tracked")]
    if missing:
        raise NoFeatures(
            f"collection.embedding.weights {str(weights)!r} lack {missing[0]} ({len(missing)} tensors in all). Give the "
            f"weights of collection.embedding.model {name!r}, in timm layout."
        )


@torch.inference_mode()
def features_of(net: nn.Module, batch: torch.Tensor, device: str) -> np.ndarray:
    """(B, 3, h, w) prepared pictures to (B, D) float32 of length 1. Raises: NoFeatures where one is zero or not finite."""
    values = net(batch.to(device)).float().flatten(1)
    values = values / values.norm(dim=1, keepdim=True)
    if not values.isfinite().all():
        raise NoFeatures("The model gives features that are zero or not finite. Its weights are damaged: take others.")
    return values.cpu().numpy()


def _batches(files: Sequence[tuple[str, Path]]) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """Identifiers and pictures, BATCH files at a time; those that cannot be decoded are left out (curation says why)."""
    for first in range(0, len(files), BATCH):
        names, pictures = [], []
        for name, path in files[first : first + BATCH]:
            try:
                pictures.append(open_rgb(path))
            except BROKEN:
                continue
            names.append(name)
        if names:
            yield names, pictures
