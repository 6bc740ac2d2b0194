"""Makes the image-text model of a run: trained here on the seen species, or a pretrained one by reference."""

import math
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, pad

from taxaforge.files import atomic, read_json, write_json
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of
from taxaforge.semantics.captions import RANKS, caption, level_string
from taxaforge.semantics.model import CONFIG, REFERENCE, WEIGHTS, Semantics, open_model

VOCABULARY = 49408  # word pieces of open_clip's own tokenizer, which needs no file from the network
SHIFT = 3  # px
OTHERS = 1 / 3
"""Share of the sentences that a step reads, beside the species captions of its images."""
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def train(
    *,
    pack: str | Path,
    classes: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Writes the model's folder; `semantics.model.load` opens it.

    Args:
        pack: training images. classes: classes.json. cfg: section `semantics`. seed: of the run.
        out: folder; of open_clip layout when trained, a reference to the pretrained model otherwise.
        log: receives `loss` a step, and at the end `accuracy`: share of the training images whose
            caption is the nearest of all captions.
    """
    if cfg["source"] == "pretrained":
        open_model(cfg["pretrained"])
        with atomic(out) as folder:
            folder.mkdir()
            write_json(folder / REFERENCE, {"name": cfg["pretrained"]})
        return
    data, records = Pack.load(pack), read_json(classes)
    config = model_config(cfg, data.pixels.shape[1])
    model = fit(data, records, config, cfg, seed, log, device, every_s)
    with atomic(out) as folder:
        folder.mkdir()
        weights = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
        write_json(folder / CONFIG, {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD}})


def model_config(cfg: dict, size: int) -> dict:
    """open_clip's description of a small CLIP for pictures of `size` px: a ResNet and a transformer."""
    return {
        "embed_dim": cfg["width"],
        "vision_cfg": {"image_size": size, "layers": [1, 1, 1, 1], "width": 24, "head_width": 64},
        "text_cfg": {
            "context_length": cfg["context_length"],
            "vocab_size": VOCABULARY,
            "width": cfg["width"],
            "heads": max(1, cfg["width"] // 32),
            "layers": cfg["layers"],
        },
    }


def sentences(records: list[dict], shown: Collection[int] | None = None) -> tuple[list[str], Tensor]:
    """All captions and level strings of the classes, and which class each is true of.

    Args:
        records: classes.json. shown: classes that have training images; None: all. Texts that are true of none
            of these are left out, since a name that is never right can only be pushed away, and so are texts
            that are true of all of them, which tell nothing apart.
    Returns:
        S distinct texts; (S, C) bool, entry (s, c): text s describes class c. The level strings are in,
        because the generator reads its lineages through this tower.
    """
    shown = set(range(len(records)) if shown is None else shown)
    true_of: dict[str, set[int]] = {}
    for position, record in enumerate(records):
        for level in RANKS:
            if record.get(level):
                for text in (caption(record, level), level_string(record, level)):
                    true_of.setdefault(text, set()).add(position)
    telling = {text: len(owners & shown) for text, owners in true_of.items()}
    texts = [text for text, own in telling.items() if 0 < own < len(shown) or own == len(shown) == 1]
    table = torch.zeros(len(texts), len(records), dtype=torch.bool)
    for row, text in enumerate(texts):
        table[row, list(true_of[text])] = True
    return texts, table


def augmented(pixels: np.ndarray, generator: torch.Generator) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in -1..1, mirrored and shifted at random, one draw an image."""
    images = torch.tensor(np.asarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    size = images.shape[-1]
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    corner = torch.randint(0, 2 * SHIFT + 1, (len(images), 2), generator=generator).tolist()
    larger = pad(images, (SHIFT,) * 4, mode="replicate")
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(larger, corner, strict=True)])


def contrastive(image: Tensor, text: Tensor, scale: Tensor, match: Tensor) -> Tensor:
    """CLIP's symmetric loss where a text may be true of many images, and an image of many texts.

    Args:
        image: (B, d), text: (S, d), unit norm. scale: inverse temperature. match: (B, S) bool, at least one
            true entry a row and a column.
    Returns:
        Mean cross-entropy against the uniform distribution over true pairs, both directions averaged;
        with one true entry a row and a column it is the loss of arXiv:2103.00020, Fig. 3.
    """
    logits = scale * image @ text.T
    share = match.float()
    rows = -(log_softmax(logits, 1) * share / share.sum(1, keepdim=True)).sum(1).mean()
    columns = -(log_softmax(logits, 0) * share / share.sum(0, keepdim=True)).sum(0).mean()
    return (rows + columns) / 2


def fit(
    data: Pack,
    records: list[dict],
    config: dict,
    cfg: dict,
    seed: int,
    log: Callable[[int | None, dict[str, float]], None],
    device: str,
    every_s: float,
) -> nn.Module:
    """Contrastive training on batches of images against all sentences that are true of any class in them.

    A class without images is in no sentence, unless it shares the sentence with one that has some.

    Every random choice of a step is a function of (seed, step), so that runs repeat.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "semantics", "weights"))
        model = open_clip.CLIP(**config).to(device, memory_format=torch.channels_last)
    open_clip.set_model_preprocess_cfg(model, {"mean": MEAN, "std": STD})
    tokenizer = open_clip.SimpleTokenizer(context_length=cfg["context_length"])
    texts, true_of = sentences(records, data.label.tolist())
    ids, label = tokenizer(texts).to(device), torch.from_numpy(data.label)
    # Frozen, word pieces stay distinct from each other and the large table costs no gradient.
    model.token_embedding.requires_grad_(False)
    trained = [value for value in model.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=cfg["learning_rate"], weight_decay=0.05, fused=True)
    steps = cfg["steps"]
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 10, 1) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    model.train()
    progress = Progress("image-text model", steps, "steps", every_s=every_s)
    for step in range(steps):
        generator = torch.Generator().manual_seed(seed_of(seed, "semantics", step))
        chosen = torch.randperm(len(data), generator=generator)[: cfg["batch_size"]]
        match = true_of[:, label[chosen]].T
        read = torch.rand(len(texts), generator=generator) < OTHERS
        read[torch.tensor([texts.index(caption(records[number])) for number in label[chosen].unique()])] = True
        used = match.any(0) & read
        images = augmented(data.pixels[chosen.numpy()], generator).to(device)
        image = normalize(model.encode_image(images), dim=-1)
        text = normalize(model.encode_text(ids[used.to(device)]), dim=-1)
        loss = contrastive(image, text, model.logit_scale.exp().clamp(max=100), match[:, used].to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        rate.step()
        log(step, {"loss": loss.item()})
        progress(step + 1, loss=loss.item())
    model.eval()
    log(None, {"accuracy": caption_accuracy(Semantics(model, tokenizer, device), data, records)})
    return model


def caption_accuracy(semantics: Semantics, data: Pack, records: list[dict]) -> float:
    """Share of images whose own species caption is the nearest of all."""
    text = semantics.text([caption(record) for record in records])
    named = (semantics.image(data.pixels) @ text.T).argmax(1)
    return (named == torch.from_numpy(data.label)).float().mean().item()
