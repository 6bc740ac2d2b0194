"""Features of a frozen backbone, computed once and kept on disk under the digest of everything they are made of.

A file a look (see `looks`) at a pack: `<key>.npy`, float32 (N, d), memory-mapped, and `<key>.json` beside it, written
last, with the digest of its bytes. Arms, seeds and settings of a head share them, and one look more computes that look
alone.
"""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from taxaforge.classification.looks import facts_of as looks_of
from taxaforge.classification.looks import looked
from taxaforge.classification.model import Classifier, head_names
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, sha256_of, write_json
from taxaforge.locks import alone
from taxaforge.packs import Pack
from taxaforge.progress import Progress

BATCH = 64


def embedded(
    classifier: Classifier,
    pack: Pack,
    looks: Sequence[int],
    folder: str | Path,
    *,
    strength: Mapping | None = None,
    label: str = "images",
    every_s: float = 5.0,
) -> list[np.ndarray]:
    """What the classifier's head would read of each image: for every look (N, d) float32, memory-mapped, in the pack's order.

    Args:
        looks: 0 for the images as they are, k for the k-th augmented ones.
        folder: of the cache; may be shared by processes: each file appears whole, and one computes what the others
            wait for.
        strength: of RandAugment, which then comes first; None for none. label: of the images, for the progress line.
    A file that is damaged is computed anew, with a sentence on stderr.
    Raises: TaxaforgeError where a feature is not finite.
    """
    shared, found = facts_of(classifier, pack), []
    for look in looks:
        facts = shared | {"look": look} | (looks_of(pack, strength) if look else {})
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        path = Path(folder) / f"{name}.npy"
        with alone(path.with_suffix(".lock")):
            kept = _kept(path, facts)
            if kept is None:
                progress = Progress(f"features of {label}, look {look}", len(pack), "images", every_s=every_s)
                compute(classifier, pack, look, path, progress, strength)
                write_json(path.with_suffix(".json"), {**facts, "features": sha256_of(path)})
                kept = np.load(path, mmap_mode="r", allow_pickle=False)
        found.append(kept)
    return found


def facts_of(classifier: Classifier, pack: Pack) -> dict:
    """What every feature of a pack depends on, as JSON has it. Labels are not among it."""
    return {
        "model": classifier.name,
        "arguments": json.loads(json.dumps(classifier.arguments, sort_keys=True)),
        "weights": digest_of(classifier),
        "image_size": classifier.image_size,
        "normalised": [list(classifier.mean), list(classifier.std)],
        "images": list(pack.pixels.shape),
        "pixels": _digest(pack.pixels),
    }


def digest_of(classifier: Classifier) -> str:
    """SHA-256 of a network's tensors without its head."""
    head, digest = tuple(f"{module}." for module in head_names(classifier.net)), hashlib.sha256()
    for name, value in sorted(classifier.net.state_dict().items()):
        if not name.startswith(head):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@torch.inference_mode()
def compute(
    classifier: Classifier, pack: Pack, look: int, path: Path, progress: Progress, strength: Mapping | None = None
) -> None:
    """Write the features of all images, at least one, to `path`."""
    net = classifier.net.eval()
    with atomic(path) as temporary:
        out = None
        for first in range(0, len(pack), BATCH):
            indices = range(first, min(first + BATCH, len(pack)))
            x = looked(classifier, pack, indices, look, strength)
            values = net.forward_head(net.forward_features(x), pre_logits=True).float().cpu().numpy()
            if not np.isfinite(values).all():
                raise TaxaforgeError(
                    f"{classifier.name} gives features that are not finite. Its weights are damaged: take others."
                )
            if out is None:
                shape = (len(pack), values.shape[1])
                out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
            out[indices.start : indices.stop] = values
            progress(indices.stop)
        out.flush()


def _kept(path: Path, facts: dict) -> np.ndarray | None:
    """The features in a file, or None: not computed yet, or damaged."""
    note = path.with_suffix(".json")
    if not (path.exists() and note.exists()):
        return None
    try:
        told, digest = read_json(note), sha256_of(path)
        if told == {**facts, "features": digest}:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        reason = "its bytes are not those that were written"
    except (OSError, ValueError) as error:
        reason = str(error)
    print(f"Kept features {path.name} are damaged: {reason}. They are computed anew.", file=sys.stderr, flush=True)
    return None


def _digest(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes, read in pieces, so that a memory-mapped one need not fit."""
    digest = hashlib.sha256()
    for first in range(0, len(array), 1024):
        digest.update(np.ascontiguousarray(array[first : first + 1024]))
    return digest.hexdigest()
