"""The models through which images are measured: opened by kind, all with the same face.

    judge       the run's own classifier of the reserve split
    semantics   the run's image-text model
    timm        a timm model, its weights from a file or as published
    inception   the network behind FID
    open_clip   an open_clip model
    lpips       says how far two pictures are apart, and has no features

Pictures are resized once, by antialiased bicubic interpolation, and normalised as the model wants it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor

from taxaforge.classification import sources
from taxaforge.classification.model import Classifier, create, load
from taxaforge.classification.predict import features, predict
from taxaforge.errors import TaxaforgeError
from taxaforge.evaluation import perceptual
from taxaforge.evaluation.alignment import alignment
from taxaforge.evaluation.seen import Seen
from taxaforge.evaluation.weights import load_weights
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of
from taxaforge.semantics.captions import caption
from taxaforge.semantics.relatives import siblings

BATCH = 64
SIDE = 224
"""px at which a timm model looks whose name does not tell its size."""
POOL = 20
"""Images a species among which distances are had; each draw behind a value takes fewer."""


class NoExtractor(TaxaforgeError):
    """A model of evaluation.features cannot be opened, or knows other species."""


@dataclass(frozen=True)
class Extractor:
    """A model, and what it can say; what it cannot is None.

    features: (N, H, W, 3) uint8 -> (N, d) float64. scores: (pack, its features) -> values (N,) by name.
    layers: (n, H, W, 3) uint8 -> maps (n, c, h, w) by which pictures are compared, `learned` their weights;
    `diversity` is the name of that metric. unit: features lie on a sphere with sentences.
    """

    features: Callable[[np.ndarray], np.ndarray] | None = None
    scores: Callable[[Pack, np.ndarray], Mapping[str, np.ndarray]] | None = None
    layers: Callable[[np.ndarray], Sequence[Tensor]] | None = None
    learned: Sequence[Tensor] | None = None
    diversity: str = "layer_diversity"
    unit: bool = False


def see(extractor: Extractor, pack: Pack) -> Seen:
    """All that a model makes of a pack."""
    feature = np.empty((len(pack), 0)) if extractor.features is None else extractor.features(pack.pixels)
    scores = {} if extractor.scores is None else extractor.scores(pack, feature)
    apart = {} if extractor.layers is None else _apart(extractor, pack)
    return Seen(feature, pack.label, np.array(pack.group, dtype=object), scores, apart)


def _apart(extractor: Extractor, pack: Pack) -> dict[int, np.ndarray]:
    """class -> distances among at most POOL of its images, those whose identifiers hash lowest."""
    found = {}
    for c in np.unique(pack.label):
        mine = sorted(np.flatnonzero(pack.label == c), key=lambda i: seed_of("apart", pack.identifier[i]))[:POOL]
        with torch.inference_mode():
            layers = extractor.layers(pack.pixels[np.sort(mine)])
            found[int(c)] = perceptual.apart(layers, extractor.learned).double().numpy()
    return found


def of_classifier(model: Classifier) -> Extractor:
    """The judge: its answers count, too. Raises NoExtractor where a pack has other species."""

    def recognised(pack: Pack, feature: np.ndarray) -> dict[str, np.ndarray]:
        if pack.classes != model.classes:
            raise NoExtractor(
                "A pack lists other species than the judge knows. Delete results/evaluation/judge and run again."
            )
        return {"recognised": predict(model, pack.pixels).argmax(1) == pack.label}

    return replace(_of_timm(model), scores=recognised)


def _of_timm(model: Classifier) -> Extractor:
    layers = partial(_layers, model) if hasattr(model.net, "forward_intermediates") else None
    return Extractor(partial(features, model), layers=layers)


def _layers(model: Classifier, pixels: np.ndarray) -> list[Tensor]:
    return model.net.forward_intermediates(model.normalised(model.resized(pixels)), intermediates_only=True)


def open_extractor(
    spec: Mapping,
    *,
    classes: Sequence[Mapping],
    judge: str | Path,
    semantics: str | Path | None = None,
    weights: str | Path = "",
    device: str = "cpu",
) -> Extractor:
    """Open a model.

    Args:
        spec: `name` and `kind`; of the kinds that are given by the user also `model`, `size` in px (0: the model's
            own), and `weights` where those are of the hub.
        classes: records of classes.json. judge: its file. semantics: folder of the image-text model.
        weights: local file, before `spec`'s.
    Raises: NoExtractor, NoWeights.
    """
    given = weights or spec.get("weights", "")
    match spec["kind"]:
        case "judge":
            return of_classifier(_judge(judge, classes, device))
        case "timm":
            return _of_timm(_timm(spec, given, device))
        case "inception":
            return _inception(spec["name"], given, device)
        case "lpips":
            return _lpips(spec, given, device)
        case _:
            return _image_text(spec, classes, semantics, device)


def _judge(path: str | Path, classes: Sequence[Mapping], device: str) -> Classifier:
    model = load(path, device)
    if model.classes != [record["species"] for record in classes]:
        raise NoExtractor(f"The judge {path} was trained for another species list. Delete it and run again.")
    return model


def _timm(spec: Mapping, weights: str | Path, device: str) -> Classifier:
    """A timm model with its weights, made as classifiers are; its head is never asked."""
    name = spec["model"]
    plain = timm.is_model(name)
    size = spec["size"] or (timm.get_pretrained_cfg(name).input_size[-1] if plain else SIDE)
    try:
        model = create(name, ["any"], size, weights or (sources.HUB if plain else ""))
    except TaxaforgeError as error:  # says the settings of classifiers, which have the same names here
        raise NoExtractor(str(error).replace("classification.", f"evaluation.extractors.{spec['name']}.")) from error
    model.net.to(device).eval()
    return model


def _inception(name: str, weights: str | Path, device: str) -> Extractor:
    from taxaforge.evaluation import inception

    state = load_weights(name, "inception", weights)
    net = inception.Inception()
    wrong = [
        key
        for key, value in net.state_dict().items()
        if not key.endswith("num_batches_tracked") and (key not in state or state[key].shape != value.shape)
    ]
    if wrong:
        raise NoExtractor(
            f"evaluation.extractors.{name}.weights lack {wrong[0]} or have it in another shape ({len(wrong)} tensors in "
            "all): they are not those of the FID Inception. Convert those that pytorch-fid publishes."
        )
    net.load_state_dict(state, strict=False)  # its head stays in the file
    eyes = Classifier(net.to(device).eval(), "inception", [], inception.SIDE, (0.5,) * 3, (0.5,) * 3)
    run = lambda pixels: eyes.net(eyes.normalised(eyes.resized(pixels)))  # noqa: E731
    return Extractor(partial(_features, run, inception.WIDTH))


@torch.inference_mode()
def _features(run: Callable[[np.ndarray], Tensor], width: int, pixels: np.ndarray) -> np.ndarray:
    """(N, width) float64, a batch at a time."""
    parts = [run(pixels[i : i + BATCH]).double().cpu().numpy() for i in range(0, len(pixels), BATCH)]
    return np.concatenate(parts) if parts else np.empty((0, width))


def _lpips(spec: Mapping, weights: str | Path, device: str) -> Extractor:
    try:
        net = perceptual.Lpips(spec["model"], load_weights(spec["name"], "lpips", weights)).to(device).eval()
    except ValueError as error:
        raise NoExtractor(
            f"evaluation.extractors.{spec['name']}.weights are not those of LPIPS with {spec['model']!r}: {error}. "
            "Save the whole state of that network of the package lpips."
        ) from error

    def layers(pixels: np.ndarray) -> list[Tensor]:
        return net(torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).float() / 255)

    return Extractor(layers=layers, learned=net.weights, diversity="lpips")


def _image_text(spec: Mapping, classes: Sequence[Mapping], folder: str | Path | None, device: str) -> Extractor:
    """An image-text model: pictures, and how they stand to the species' names."""
    from taxaforge.semantics import model

    try:
        own = spec["kind"] == "semantics"
        eyes = model.load(folder, device) if own else model.open_model(spec["model"], device)
    except model.NoSemantics as error:
        raise NoExtractor(f"evaluation.features: {spec['name']!r} cannot be opened. {error}") from error
    text = eyes.text([caption(record) for record in classes]).double().numpy()
    nearest = [siblings(classes, label) for label in range(len(classes))]
    return Extractor(
        partial(_features, eyes.image, text.shape[1]),
        scores=lambda pack, feature: alignment(feature, text, pack.label, nearest),
        unit=True,
    )
