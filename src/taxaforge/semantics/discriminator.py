"""The category discriminator: which species a picture shows, judged in the space of the species' sentences.

    a = MLP(frozen vision tower(x)),   v_c = text tower("a photo of <species>, genus ..."),   score cos(a, v_c)

Trained on the species that have training pictures, it scores the others through their sentences alone; so it can
steer a generator towards a species that nobody has photographed for it. Source: DIG-ZSL's "CDM"
(arXiv:2412.17219) [note]; its loss, and the residual path below, are ours [recon].
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, interpolate, normalize

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, write_json
from taxaforge.packs import Pack
from taxaforge.progress import Progress
from taxaforge.seeds import seed_of
from taxaforge.semantics import model as models
from taxaforge.semantics.captions import caption
from taxaforge.semantics.model import Semantics

MANIFEST = "manifest.json"
WEIGHTS = "discriminator.safetensors"
AT_ONCE = 512
WEIGHT_DECAY = 0.05


class BadDiscriminator(TaxaforgeError):
    """The discriminator cannot be trained on what it is given, or its folder does not fit the run."""


class Head(nn.Module):
    """From unit features (B, d) to unit vectors (B, d), through `width` hidden values.

    [recon] It learns what to add to the features, at first nothing: untrained, it is the image-text model itself.
    What it has never been shown then keeps its place in the space of the sentences.
    """

    def __init__(self, d: int, width: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(d, width), nn.Linear(width, d)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, features: Tensor) -> Tensor:
        unit_variance = features * features.shape[1] ** 0.5
        return normalize(features + self.outer(gelu(self.inner(unit_variance))), dim=1)


class Discriminator(nn.Module):
    """Pictures to unit vectors beside the prototypes of the species; differentiable in the pictures.

    Args:
        semantics: the frozen image-text model. head: as trained. prototypes: (C, d) unit vectors of `classes`.
        classes, seen: names of all species, and of those it was trained on.
    """

    def __init__(self, semantics: Semantics, head: Head, prototypes: Tensor, classes: list[str], seen: list[str]):
        super().__init__()
        self.model, self.size, self.head = semantics.model, semantics.size, head
        self.classes, self.seen = classes, seen
        for name, value in (("prototypes", prototypes), ("mean", semantics.mean), ("std", semantics.std)):
            self.register_buffer(name, value.to(semantics.device), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """What `Semantics.prepare` makes of pictures, for float (B, 3, H, W) in -1..1, clipped to that.

        Differs from it by the rounding to 256 grey levels, which has no gradient; nor has what is clipped.
        """
        images = (images.clamp(-1, 1) + 1) / 2
        if images.shape[-1] != self.size:
            images = interpolate(images, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """(B, d) unit vectors of float (B, 3, H, W) pictures in -1..1."""
        return self.head(normalize(self.model.encode_image(self.prepare(images)), dim=1))


def train_discriminator(
    *,
    train: str | Path,
    validation: str | Path | None,
    semantics: str | Path,
    classes: str | Path,
    cfg: dict,
    seed: int,
    out: str | Path,
    log: Callable[[int | None, dict[str, float]], None] = lambda step, values: None,
    device: str = "cpu",
    every_s: float = 5.0,
) -> None:
    """Writes the folder that `load` opens: the head and its prototypes as safetensors, and a manifest.

    Args:
        train: pack of training images; the species that it has images of are "seen". validation: pack that
            measures only, on its images of seen species. semantics: folder of the image-text model.
        classes: classes.json. cfg: `epochs` (0: the image-text model as it is), `width`, `learning_rate`,
            `temperature`, `batch_size`, `prototypes`, see `prototypes_of`. seed: of the run.
        log: receives `loss` an optimiser step; at the end `train_accuracy`, `validation_accuracy` and, before any
            step, `validation_accuracy_untrained`: shares of images whose species' prototype is the nearest among
            the seen ones.
    Raises: BadDiscriminator: fewer than two seen species, or a pack of other classes.
    """
    data, records = Pack.load(train), read_json(classes)
    species = [record["species"] for record in records]
    _same_classes(data, species, train)
    seen = sorted(set(data.label.tolist()))
    if len(seen) < 2:
        raise BadDiscriminator(
            f"{train} has images of {len(seen)} species; telling species apart takes two. Raise protocol.shots, or "
            "leave fewer species unseen."
        )
    frozen = models.load(semantics, device)
    sentences, table = prototypes_of(records, cfg["prototypes"], frozen, seed)
    rival = table[seen].to(frozen.device)
    looks = [features(frozen, data.pixels, mirrored).to(frozen.device) for mirrored in (False, True)]
    position = {label: place for place, label in enumerate(seen)}
    own = torch.tensor([position[label] for label in data.label.tolist()], device=frozen.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "discriminator", "weights"))
        head = Head(table.shape[1], cfg["width"]).to(frozen.device)
    held_out = _held_out(validation, species, position, frozen)
    figures = {} if held_out is None else {"validation_accuracy_untrained": accuracy(head, *held_out, rival)}
    fit(head, torch.stack(looks, 1), own, rival, cfg, seed, log, every_s)
    figures["train_accuracy"] = accuracy(head, looks[0], own, rival)
    if held_out is not None:
        figures["validation_accuracy"] = accuracy(head, *held_out, rival)
    with atomic(out) as folder:
        folder.mkdir()
        tensors = {**head.state_dict(), "prototypes": table}
        (folder / WEIGHTS).write_bytes(save({name: value.cpu().contiguous() for name, value in tensors.items()}))
        about = {"classes": species, "seen": [species[label] for label in seen], "sentences": sentences}
        write_json(folder / MANIFEST, {**about, "cfg": cfg, "seed": seed, "images": len(data), "figures": figures})
    log(None, figures)


def prototypes_of(records: list[dict], kind: str, semantics: Semantics, seed: int) -> tuple[list[str], Tensor]:
    """The sentence that stands for each class, and its unit vector (C, d).

    Args:
        kind: "lineage", the caption with all ranks; "name", the species' name alone; "shuffled", a control that
            must fail: captions dealt out anew, none to its own species.
    """
    if kind == "name":
        sentences = [caption({"species": record["species"]}) for record in records]
    else:
        sentences = [caption(record) for record in records]
    if kind == "shuffled":
        generator = torch.Generator().manual_seed(seed_of(seed, "discriminator", "shuffled"))
        circle = torch.randperm(len(records), generator=generator).tolist()
        given = dict(zip(circle, circle[1:] + circle[:1], strict=True))
        sentences = [sentences[given[label]] for label in range(len(records))]
    return sentences, semantics.text(sentences).clone()


def features(semantics: Semantics, pixels: np.ndarray, mirrored: bool = False) -> Tensor:
    """(N, d) unit vectors of uint8 pictures (N, H, W, 3), or of their mirror images."""
    turn = -1 if mirrored else 1
    parts = [
        semantics.image(np.ascontiguousarray(pixels[first : first + AT_ONCE, :, ::turn]))
        for first in range(0, len(pixels), AT_ONCE)
    ]
    return torch.cat(parts).clone()  # made in inference mode, which a gradient may not pass through


def fit(
    head: Head,
    looks: Tensor,
    own: Tensor,
    prototypes: Tensor,
    cfg: dict,
    seed: int,
    log: Callable[[int | None, dict[str, float]], None],
    every_s: float,
) -> None:
    """Cross-entropy of softmax(cos / temperature) over the seen classes [recon].

    Args:
        looks: (N, 2, d) features of each image and of its mirror image, one of which a step draws.
        own: (N,) places of the images' classes in `prototypes`, (K, d).
    """
    optimiser = torch.optim.AdamW(head.parameters(), lr=cfg["learning_rate"], weight_decay=WEIGHT_DECAY)
    size, count = cfg["batch_size"], len(own)
    total = cfg["epochs"] * -(-count // size)
    progress, step = Progress("discriminator", total, "steps", every_s=every_s), 0
    for epoch in range(cfg["epochs"]):
        generator = torch.Generator().manual_seed(seed_of(seed, "discriminator", epoch))
        order = torch.randperm(count, generator=generator).to(own.device)
        look = torch.randint(0, 2, (count,), generator=generator).to(own.device)
        for chosen in order.split(size):
            cosines = head(looks[chosen, look[chosen]]) @ prototypes.T
            loss = cross_entropy(cosines / cfg["temperature"], own[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            log(step, {"loss": loss.item()})
            step += 1
            progress(step, loss=loss.item())


@torch.no_grad()
def accuracy(head: Head, seen_as: Tensor, own: Tensor, prototypes: Tensor) -> float:
    """Share of the features (N, d) whose nearest prototype is their own."""
    return ((head(seen_as) @ prototypes.T).argmax(1) == own).float().mean().item()


def load(folder: str | Path, semantics: str | Path, device: str = "cpu") -> Discriminator:
    """What `train_discriminator` wrote, in eval mode, without gradients on its weights.

    Args:
        semantics: folder of the image-text model that it was trained on.
    Raises: BadDiscriminator where a part is missing, or the image-text model is another one.
    """
    folder = Path(folder)
    for name in (MANIFEST, WEIGHTS):
        if not (folder / name).is_file():
            raise BadDiscriminator(f"{folder / name} is missing: it was not trained. Delete {folder} and run again.")
    about, tensors = read_json(folder / MANIFEST), load_file(folder / WEIGHTS)
    frozen = models.load(semantics, device)
    prototypes = tensors.pop("prototypes")
    now = frozen.text(about["sentences"])
    if now.shape != prototypes.shape or not torch.allclose(now, prototypes, atol=1e-3):
        raise BadDiscriminator(
            f"{folder} was trained on another image-text model than {semantics}. Delete {folder} and run again."
        )
    head = Head(prototypes.shape[1], about["cfg"]["width"])
    head.load_state_dict(tensors)
    judge = Discriminator(frozen, head.to(frozen.device), prototypes, about["classes"], about["seen"])
    return judge.eval().requires_grad_(False)


def _same_classes(pack: Pack, species: list[str], path: str | Path) -> None:
    if pack.classes != species:
        raise BadDiscriminator(
            f"{path} has other classes than classes.json, or another order. Delete the packs, run again."
        )


def _held_out(
    path: str | Path | None, species: list[str], position: dict[int, int], semantics: Semantics
) -> tuple[Tensor, Tensor] | None:
    """Features and places of the validation images of seen species; None where there are none."""
    if path is None:
        return None
    data = Pack.load(path)
    _same_classes(data, species, path)
    used = [number for number, label in enumerate(data.label.tolist()) if label in position]
    if not used:
        return None
    own = torch.tensor([position[data.label[number]] for number in used], device=semantics.device)
    return features(semantics, data.pixels[used]).to(semantics.device), own
