"""Low-rank adapters of the denoiser's attention: added for training, folded into the weights for use."""

from pathlib import Path

import torch
from safetensors import torch as safetensors
from torch import Tensor, nn

from taxaforge.errors import TaxaforgeError
from taxaforge.files import atomic

TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
FILE = "pytorch_lora_weights.safetensors"
PREFIX = "unet."


class LoraMismatch(TaxaforgeError):
    """An adapter file and a denoiser do not belong together."""


def add(unet: nn.Module, rank: int, seed: int) -> None:
    """Trainable adapters W + B A on every attention projection; B = 0, so that nothing changes yet.

    Source: TaxaDiffusion [code]: rank = alpha = 4, gaussian init; 797,184 parameters on SD 1.x.
    """
    from peft import LoraConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=TARGETS))


def parameters(unet: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' parameters by their name in the denoiser; empty where none were added."""
    return {name: value for name, value in unet.named_parameters() if ".lora_" in name}


def _stored(name: str) -> str:
    """An adapter parameter's name in a file, from its name in the denoiser."""
    return PREFIX + name.replace(".default.", ".")


def restore(unet: nn.Module, folder: str | Path) -> None:
    """Sets the trainable adapters of `add` to those in `folder`. Raises LoraMismatch."""
    values = _read(folder)
    for name, value in parameters(unet).items():
        stored = values.get(_stored(name))
        if stored is None or stored.shape != value.shape:
            raise LoraMismatch(
                f"{Path(folder, FILE)} has no adapter like {name!r} {tuple(value.shape)}. Was diffusion.lora_rank changed? "
                "Delete the stage and run it again."
            )
        with torch.no_grad():
            value.copy_(stored)


def _read(folder: str | Path) -> dict[str, Tensor]:
    path = Path(folder, FILE)
    if not path.is_file():
        raise LoraMismatch(
            f"{path} is missing: the stage's adapters were not saved. Delete the stage and run it again."
        )
    return safetensors.load_file(path)


def save(values: dict[str, Tensor], folder: str | Path) -> None:
    """Writes adapters under the names that `pipeline.load_lora_weights(folder)` reads (alpha = rank)."""
    named = {_stored(name): value.detach().cpu().contiguous() for name, value in values.items()}
    with atomic(Path(folder, FILE)) as temporary:
        temporary.write_bytes(safetensors.save(named, metadata={"format": "pt"}))


def fold(unet: nn.Module, folder: str | Path) -> None:
    """Adds the adapters in `folder` to the denoiser's own weights: W <- W + B A. Use then costs nothing.

    Raises: LoraMismatch where the file is missing, or an adapter has no place in this denoiser.
    """
    path, values = Path(folder, FILE), _read(folder)
    for name in [key for key in values if key.endswith(".lora_A.weight")]:
        stem = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        try:
            layer = unet.get_submodule(stem)
            with torch.no_grad():
                change = values[name.replace("lora_A", "lora_B")] @ values[name]
                layer.weight += change.to(layer.weight)
        except (AttributeError, KeyError, RuntimeError) as error:
            raise LoraMismatch(
                f"{path} does not fit the denoiser at {stem!r} ({error}). It was trained on another one: "
                "delete the stage and run it again."
            ) from error
