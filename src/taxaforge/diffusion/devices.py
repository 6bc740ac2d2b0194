"""Where a training runs: one process or several, on which device, in which arithmetic."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from taxaforge.errors import TaxaforgeError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NoSuchPrecision(TaxaforgeError):
    """The device cannot do the arithmetic that the settings ask for."""


@contextmanager
def opened(device: str, precision: str) -> Iterator[Accelerator]:
    """The accelerator of one training; several processes find each other through the environment
    (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), as torchrun sets it.

    Args:
        device: "cpu" or "cuda". precision: "fp32", "bf16" or "fp16" of activations and frozen weights.
    Raises: NoSuchPrecision for fp16 without a GPU.
    """
    if precision == "fp16" and device == "cpu":
        raise NoSuchPrecision("diffusion.precision is fp16, which needs a GPU. Set it to bf16 or fp32.")
    AcceleratorState._reset_state(True)  # it is one a process; a process may train one stage after another
    accelerator = Accelerator(
        cpu=device == "cpu",
        mixed_precision={"fp32": "no"}.get(precision, precision),
        # Levels finer than a batch reaches are left out of its graph.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)],
    )
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        AcceleratorState._reset_state(True)


def settle(module: nn.Module, accelerator: Accelerator, denoiser: nn.Module, precision: str) -> None:
    """Moves a module to its device and shortens the frozen numbers of its denoiser to `precision`.

    What trains stays in fp32, and so does what is small or delicate: level modules, which the next stage is
    handed bit for bit, a VAE, which may overflow in fp16, and normalisation layers, which on the CPU must not
    be shorter than what they meet.
    """
    for layer in denoiser.modules() if precision in DTYPES else ():
        if isinstance(layer, (nn.LayerNorm, nn.GroupNorm)):
            continue
        for value in layer.parameters(recurse=False):
            if not value.requires_grad:
                value.data = value.data.to(DTYPES[precision])
    module.to(accelerator.device)  # last, so that a GPU never holds the long numbers


def peak_mib(device: torch.device) -> float:
    """Most memory of this process so far, MiB: on the device where that is a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def agreed(accelerator: Accelerator, value: float) -> float:
    """Rank 0's number, in every process: decisions must not differ by a rounding."""
    if accelerator.num_processes == 1:
        return value
    held = torch.tensor(value if accelerator.is_main_process else 0.0, dtype=torch.float64, device=accelerator.device)
    return accelerator.reduce(held, "sum").item()


def anyone(accelerator: Accelerator, flag: bool) -> bool:
    """Is it so in any process?"""
    if accelerator.num_processes == 1:
        return flag
    return accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum").item() > 0


def summed(accelerator: Accelerator, values: Tensor) -> Tensor:
    """Element by element over all processes."""
    return values if accelerator.num_processes == 1 else accelerator.reduce(values, "sum")
