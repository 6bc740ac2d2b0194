"""Writes a safetensors file one tensor at a time, with its digest taken on the way.

safetensors' own writer wants every tensor on the CPU at once, refuses shared storage, and hides a full
disk behind an error of its own. Optimiser states are several times the model, and a full disk is
ordinary; hence this one. Files are read with safetensors' own reader.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Element types as safetensors spells them."""


def write(path: Path, tensors: Mapping[str, Tensor]) -> tuple[int, str]:
    """Writes `path` and waits until it is on disk.

    Args:
        tensors: any device and layout, 0-d and empty ones too; tensors that share storage are written
            once each.
    Returns: size in bytes; SHA-256 in hex.
    Raises: OSError where it cannot be written; ValueError for an element type without a code.
    Source: https://github.com/huggingface/safetensors, section Format.
    """
    # wide elements first, as safetensors does, so that every tensor starts at a multiple of its element size
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        value = tensors[name]
        if value.dtype not in CODES:
            raise ValueError(f"tensor {name!r} is {value.dtype}; a checkpoint holds {', '.join(map(str, CODES))}")
        start, end = end, end + value.numel() * value.element_size()
        header[name] = {"dtype": CODES[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in (len(text).to_bytes(8, "little"), text):
            digest.update(block)
            file.write(block)
        for name in names:
            block = tensors[name].detach().cpu().reshape(-1).view(torch.uint8).numpy()
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return 8 + len(text) + end, digest.hexdigest()
