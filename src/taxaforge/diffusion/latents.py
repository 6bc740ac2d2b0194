"""Training images in the space that the denoiser works in: encoded once into a file, or pixels as they are.

A cache is two files with one stem: `<stem>.npy`, float32 (N, A, c, h, w), A = 1 (as is) or 2 (as is, mirrored),
and `<stem>.json`: which images in which order, which pixels and which VAE they come from.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from taxaforge.diffusion import pretrained as pipelines
from taxaforge.diffusion.backbone import Backbone
from taxaforge.diffusion.codec import to_unit
from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic, read_json, sha256_of, write_json
from taxaforge.packs import Pack
from taxaforge.progress import Progress

AUGMENTATIONS = ["none", "mirrored"]


class BadLatents(TaxaforgeError):
    """A latents cache is missing, or belongs to other images."""


def encode(
    *,
    pack: str | Path,
    pretrained: str,
    revision: str,
    size: int,
    flip: bool,
    out: str | Path,
    device: str = "cpu",
    every_s: float = 5.0,
    batch: int = 8,
) -> None:
    """Latents of a pack's images under a pipeline's VAE, as `out` (.npy) and the .json beside it.

    Args:
        pack: images of side `size`. flip: the mirrored images, too; a VAE does not commute with mirroring.
        batch: images that are read and written at a time. They are encoded one by one, so that a latent
            does not depend on its neighbours' rounding; a VAE is busy with one image as it is.
    Raises: pretrained.BadGenerator where there is no such VAE; BadLatents where the pack has another size.
    """
    data, out = Pack.load(pack), Path(out)
    if data.pixels.shape[1:] != (size, size, 3):
        raise BadLatents(f"{pack} holds pictures of {data.pixels.shape[1:]}, not of {size} px. Make the pack again.")
    pipeline = pipelines.opened(pretrained, revision)
    codec = pipeline.images(size).to(device)
    sides = AUGMENTATIONS[: 1 + flip]
    shape = (len(data), len(sides), *codec.latent_shape)
    progress = Progress("latents", len(data), "images", every_s=every_s)
    with atomic(out) as temporary:
        with temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            for first in range(0, len(data), batch):
                pictures = data.pixels[first : first + batch]
                both = np.stack([pictures, pictures[:, :, ::-1]][: len(sides)], axis=1)
                units = to_unit(both.reshape(-1, size, size, 3), device)
                with torch.no_grad():
                    latents = torch.cat([codec.encode(one).float() for one in units.split(1)])
                file.write(latents.cpu().numpy().astype("<f4").tobytes())
                progress(first + len(pictures))
        made_of = {"pixels": sha256_of(pack), "vae": [sha256_of(path) for path in pipeline.weights("vae")]}
        table = {"identifier": data.identifier, "augmentations": sides, "size": size, **made_of}
        write_json(out.with_suffix(".json"), table)


class Cached:
    """Latents in a file of `encode`, memory-mapped.

    array: (N, A, c, h, w) float32. shape: (c, h, w).
    """

    def __init__(self, array: np.ndarray):
        self.array, self.shape = array, array.shape[2:]

    @classmethod
    def load(cls, path: str | Path, pack: Pack) -> "Cached":
        """Opens the cache of these images. Raises BadLatents where it is not theirs, or was not finished."""
        path, beside = Path(path), Path(path).with_suffix(".json")
        for wanted in (path, beside):
            if not wanted.is_file():
                raise BadLatents(f"{wanted} is missing: the latents were not made. Delete {path} and run again.")
        table, array = read_json(beside), np.load(path, mmap_mode="r", allow_pickle=False)
        if table["identifier"] != pack.identifier or array.shape[:2] != (len(pack), len(table["augmentations"])):
            raise BadLatents(
                f"{path} holds the latents of {len(table['identifier'])} other images than the pack's {len(pack)}, or "
                f"in another order. Delete {path} and {beside.name}, and run again."
            )
        return cls(array.view(np.ndarray))  # a plain view is indexed faster than a memmap, and copies nothing either

    def __call__(self, chosen: Tensor, mirrored: Tensor) -> Tensor:
        """(B, c, h, w) float32 on the CPU, of images (B,), mirrored left to right where (B,) says so."""
        if self.array.shape[1] == 1 and mirrored.any():
            raise BadLatents(
                "A mirrored image was asked for, but the latents were made with flip false. Delete them and run again."
            )
        return torch.from_numpy(self.array[chosen.numpy(), mirrored.long().numpy()])


class Pixels:
    """A pack's images under a codec that costs nothing, encoded when they are asked for."""

    def __init__(self, backbone: Backbone, pack: Pack):
        self.backbone, self.array, self.shape = backbone, pack.pixels.view(np.ndarray), backbone.latent_shape

    def __call__(self, chosen: Tensor, mirrored: Tensor) -> Tensor:
        """(B, c, h, w) on the backbone's device, of images (B,), mirrored left to right where (B,) says so."""
        pictures, sides = self.array[chosen.numpy()], mirrored.numpy()
        pictures[sides] = pictures[sides, :, ::-1]
        return self.backbone.to_latent(pictures)
