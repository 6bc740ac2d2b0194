"""Looks at an image: as it is, and augmented in ways that belong to the image, not to batch, arm or seed.

Look 0 is the image as it is. Look k is drawn from its identifier and k; where RandAugment comes first, that is drawn
from its place in the pack and k.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from taxaforge.classification.augmentation import RandomOperations, standard
from taxaforge.classification.data import Pool
from taxaforge.classification.model import Classifier
from taxaforge.packs import Pack
from taxaforge.seeds import seed_of


def looked(classifier: Classifier, pack: Pack, indices: range, look: int, strength: Mapping | None = None) -> Tensor:
    """Images as the network takes them, at their k-th look: (B, 3, size, size).

    strength: section `classification.strong`, of RandAugment; None for none.
    """
    pixels = pack.pixels[indices.start : indices.stop]
    if look and strength and strength["operations"]:
        operations = RandomOperations(Pool([pack]), np.arange(len(pack))[:, None], strength, seed_of("look", look))
        pixels = np.concatenate([operations[i] for i in indices])
    x = classifier.resized(pixels)
    if look:
        x = torch.cat([varied(x[place : place + 1], pack.identifier[i], look) for place, i in enumerate(indices)])
    return classifier.normalised(x)


def varied(x: Tensor, identifier: str, look: int) -> Tensor:
    """One image (1, 3, h, w) in 0..1, augmented."""
    return standard(x, torch.Generator().manual_seed(seed_of("look", identifier, look)))


def facts_of(pack: Pack, strength: Mapping | None) -> dict:
    """What augmented looks at a pack depend on besides its pixels, as JSON has it.

    Code is told by what it does to a few images of noise: where the augmentation is changed, so is this.
    """
    noise = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    if strength and strength["operations"]:
        names = [str(i) for i in range(len(noise))]
        card = Pack(noise, ["noise"], names, np.zeros(len(noise), np.int64), names, names)
        noise = RandomOperations(Pool([card]), np.arange(len(noise))[None], strength, 0)[0]
    x = torch.from_numpy(noise).permute(0, 3, 1, 2).float() / 255
    made = torch.cat([varied(image[None], "card", place) for place, image in enumerate(x)])
    return {
        "identifiers": hashlib.sha256("\n".join(pack.identifier).encode()).hexdigest(),
        "augmentation": hashlib.sha256((made * 255).round().to(torch.uint8).contiguous().numpy()).hexdigest(),
        "strength": dict(strength or {}),
    }
