"""Classifying without training: a class is what sentences about it mean to an image-text model.

    logit_c = scale cos(image, prototype_c),   prototype_c = unit mean of the unit vectors of the sentences about c

Source: CLIP (arXiv:2103.00020, section 3.1.4), with taxonomic names as BioCLIP reads them (arXiv:2311.18803).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from taxaforge.classification import clip
from taxaforge.classification.model import OPEN_CLIP, save
from taxaforge.classification.predict import predict
from taxaforge.classification.validating import judged
from taxaforge.errors import TaxaforgeError
from taxaforge.files import read_json, write_lines
from taxaforge.packs import Pack
from taxaforge.semantics.captions import RANKS, caption

PROMPTS = ("name", "taxonomic", "caption")
TEMPLATES = (
    "a photo of {}.",
    "a photo of a {}.",
    "a close-up photo of {}.",
    "a cropped photo of {}.",
    "a blurry photo of {}.",
    "a bright photo of {}.",
    "a dark photo of {}.",
    "{}, photographed in the wild.",
    "a museum specimen of {}.",
)
"""What a name stands in. Several wordings that differ in what does not matter; their mean keeps what does."""
BATCH = 64


def sentences(record: dict, prompts: str) -> list[str]:
    """What is said about a class.

    Args:
        record: one entry of classes.json.
        prompts: `name`: its scientific name in every template; `taxonomic`: all its names from the kingdom down in every
            template, the species last; `caption`: the one sentence that image-text models of this project learn from.

    >>> sentences({"order": "Odonata", "genus": "Aeshna", "species": "Aeshna mixta"}, "taxonomic")[0]
    'a photo of Odonata Aeshna mixta.'
    """
    if prompts == "caption":
        return [caption(record)]
    name = record["species"]
    if prompts == "taxonomic":
        # The species' name begins with its genus, which is not said twice.
        above = [record[rank] for rank in RANKS[:-2] if record.get(rank)]
        name = " ".join([*above, name])
    elif prompts != "name":
        raise TaxaforgeError(f"classification.prompts {prompts!r} is none of {', '.join(PROMPTS)}. Choose one of them.")
    return [template.format(name) for template in TEMPLATES]


@torch.inference_mode()
def prototypes(model: nn.Module, tokenizer, groups: list[list[str]], device: str = "cpu") -> Tensor:
    """(C, d) unit vectors, float32 on the CPU: of each group of sentences the mean of its unit vectors, made unit again."""
    flat = [sentence for group in groups for sentence in group]
    parts = [
        normalize(model.encode_text(tokenizer(flat[first : first + BATCH]).to(device)).float(), dim=-1).cpu()
        for first in range(0, len(flat), BATCH)
    ]
    means = [part.mean(0) for part in torch.cat(parts).split([len(group) for group in groups])]
    return normalize(torch.stack(means), dim=-1)


def zero_shot(
    *,
    classes: str | Path,
    validation: str | Path,
    cfg: dict,
    out: str | Path,
    out_history: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
) -> None:
    """Write the classifier that an image-text model is by itself; no image trains it.

    Args:
        classes: classes.json. validation: pack that is looked at once, for the curve alone; nothing is chosen on it.
        cfg: `model`, which begins with `open_clip:`, `weights` (empty) and `prompts`, see `sentences`.
        out: .safetensors that `predict.load` opens. out_history: one line, of step 0.
    Raises: TaxaforgeError: another kind of model, or one that cannot be had; unknown prompts; an empty pack.
    """
    name, records, pack = cfg["model"], read_json(classes), Pack.load(validation)
    if not name.startswith(OPEN_CLIP):
        raise TaxaforgeError(
            f"Naming pictures without training needs an image-text model, and classification.model is {name!r}. Name an "
            "open_clip model (open_clip:<model>), or choose another classification.training."
        )
    species = [record["species"] for record in records]
    if pack.classes != species:
        raise TaxaforgeError(f"{validation} was made for another species list than {classes}. Remake the packs.")
    groups = [sentences(record, cfg["prompts"]) for record in records]
    model, tokenizer = clip.opened(name).to(device), clip.tokenizer_of(name)
    classifier = clip.headed(name, model, species)
    with torch.no_grad():
        # One more number for all logits, as models trained with a sigmoid have, changes no probability.
        classifier.net.head.weight.copy_(model.logit_scale.exp().cpu() * prototypes(model, tokenizer, groups, device))
        classifier.net.head.bias.zero_()
    classifier.net.to(device)
    save(classifier, out)
    line = judged(predict(classifier, pack.pixels), pack.label) if len(pack) else {}
    write_lines(out_history, [{**line, "step": 0, "images": 0, "best": True}])
    log(None, {**line, "sentences": float(np.mean([len(group) for group in groups]))})
