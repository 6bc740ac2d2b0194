"""Prompts for real images, and how strongly each is to be followed: what SGID knows before anything is drawn.

The label comes first: a captioner knows no species, and what a text encoder has no room for is lost at the end.
The image-text model that measures here must not be the one that judges the result.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from taxaforge.diffusion.lineages import UNKNOWN
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json
from taxaforge.guidance import wording
from taxaforge.guidance.prompts import Encoder, Prompts
from taxaforge.guidance.similarity import calibrate
from taxaforge.packs import Pack
from taxaforge.semantics import model as semantic_model

CALIBRATION = "calibration.json"
BINS = 20


class BadCaptions(TaxaforgeError):
    """The captions are not those of the training images."""


def rate(
    *,
    train: str | Path,
    captions: str | Path,
    semantics: str | Path,
    texts: str | Path,
    classes: str | Path,
    cfg: dict,
    backbone: str,
    out: str | Path,
    pretrained: str = "",
    revision: str = "main",
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
) -> None:
    """Writes a folder of Prompts with a key an image, and calibration.json in it.

    Facts of an image: `prompt`, `"<finest level>: <name>, <caption>"`; `similarity`, cosine of image and prompt in
    the image-text model; `scale`, see `similarity.calibrate`. Of several captions the most similar prompt is taken,
    of equal ones the first.

    Args:
        train: pack of the training images. captions: of `semantics.describe`.
        semantics: image-text model. texts: texts.safetensors of the run. classes: classes.json.
        cfg: `direction`, `least_scale`, `most_scale`, `percentiles`, `name` of the method.
        backbone: "small" or "stable-diffusion", the latter with `pretrained` at `revision`.
        log: told counts, percentiles and the mean scale.
    Raises: BadCaptions; similarity.NotComparable, naming images.
    """
    pack, said = Pack.load(train), read_json(captions)
    missing = [identifier for identifier in pack.identifier if not said.get(identifier)]
    if missing:
        raise BadCaptions(
            f"{cfg['name']}: {captions} has no caption of {len(missing)} of {len(pack)} training images, {missing[0]} "
            "among them. Delete it and run again."
        )
    table = read_json(Path(texts).with_suffix(".json"))
    labels = [f"{table['levels'][-1]}: {record.get(table['levels'][-1]) or UNKNOWN}" for record in read_json(classes)]
    encoder = Encoder.opened(texts, backbone, semantics, pretrained, revision)
    length = encoder.encode(labels[:1])[0].shape[1]
    whole = wording.fits(encoder.tower, length)
    wanted = [
        [(labels[label], caption) for caption in said[name]]
        for name, label in zip(pack.identifier, pack.label, strict=True)
    ]
    cut = {pair: wording.prompt(*pair, whole) for pair in dict.fromkeys(pair for pairs in wanted for pair in pairs)}
    judge = semantic_model.load(semantics, device=device)
    choices = [[cut[pair] for pair in pairs] for pairs in wanted]
    best, similarity = most_similar(judge.image(pack.pixels), choices, judge.text)
    chosen = [pairs[place] for pairs, place in zip(wanted, best, strict=True)]
    prompts = [cut[pair] for pair in chosen]

    calibration = calibrate(
        dict(zip(pack.identifier, similarity, strict=True)),
        cfg["direction"],
        cfg["least_scale"],
        cfg["most_scale"],
        cfg["percentiles"],
    )
    scale = calibration.scale(np.array(similarity)).tolist()
    strings = list(dict.fromkeys(prompts))
    tokens, pooled = encoder.encode(strings)
    row, seen = {text: place for place, text in enumerate(strings)}, wording.fits(judge, judge.context_length)
    unread = {text for text in strings if not seen(text)}
    counts = {
        "images": len(pack),
        "distinct_prompts": len(strings),
        "without_caption": sum(not caption for _, caption in chosen),
        "cut": sum(not whole(f"{label}, {caption}") for label, caption in chosen if caption),
        "labels_cut": sum(not whole(label) for label, _ in chosen),
        "partly_rated": sum(text in unread for text in prompts),
    }
    _warn(cfg["name"], counts, length, judge.context_length)
    facts = zip(pack.identifier, scale, similarity, prompts, strict=True)
    made = Prompts(
        strings,
        tokens,
        {name: row[text] for name, text in zip(pack.identifier, prompts, strict=True)},
        pooled,
        {name: {"scale": s, "similarity": r, "prompt": text} for name, s, r, text in facts},
    )
    summary = {**calibration.facts(), **counts, "mean_scale": float(np.mean(scale))}
    with atomic(out) as folder:
        made.save(folder)
        histograms = {"similarity_histogram": _histogram(similarity), "scale_histogram": _histogram(scale)}
        write_json(folder / CALIBRATION, {**summary, "percentiles": list(cfg["percentiles"]), **histograms})
    log(None, {name: value for name, value in summary.items() if not isinstance(value, str)})


def most_similar(
    image: Tensor, choices: Sequence[Sequence[str]], text: Callable[[list[str]], Tensor]
) -> tuple[list[int], list[float]]:
    """Which of its sentences fits each image best, and how well.

    Args:
        image: (N, d), unit norm. choices: of each image its sentences. text: S sentences -> (S, d), unit norm.
    Returns:
        N places in the image's choices, the first of equals; N cosines in -1..1, NaN where any of them is.
    """
    strings = list(dict.fromkeys(sentence for sentences in choices for sentence in sentences))
    row, vectors = {sentence: place for place, sentence in enumerate(strings)}, text(strings).double()
    best, cosine = [], []
    for vector, sentences in zip(image.double(), choices, strict=True):
        own = (vectors[[row[sentence] for sentence in sentences]] @ vector).numpy()
        place = int(np.argmax(own))  # NaN counts as the largest, and is refused later
        best.append(place)
        cosine.append(float(own[place]))
    return best, cosine


def _histogram(values: Sequence[float]) -> dict[str, list]:
    counts, edges = np.histogram(values, bins=BINS)
    return {"counts": counts.tolist(), "edges": edges.tolist()}


def _warn(method: str, counts: dict[str, int], length: int, rated: int) -> None:
    """Says what no encoder has read; a run on a small text tower may be label-only without anyone having asked."""
    say = logging.getLogger(__name__).warning
    if counts["cut"]:
        say(
            "%s: the captions of %d of %d images were cut to the %d tokens that the generator's encoder reads",
            method, counts["cut"], counts["images"], length,
        )  # fmt: skip
    if counts["labels_cut"]:
        say(
            "%s: the labels alone of %d of %d images exceed %d tokens; their captions are left out",
            method, counts["labels_cut"], counts["images"], length,
        )  # fmt: skip
    if counts["partly_rated"]:
        say(
            "%s: %d of %d prompts exceed the %d tokens of the image-text model, which rated their beginning",
            method, counts["partly_rated"], counts["images"], rated,
        )  # fmt: skip
