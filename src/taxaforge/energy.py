"""Energy that GPUs took, from the counter that NVIDIA's driver keeps; nothing where there is none."""

import ctypes
from collections.abc import Sequence

LIBRARY = "libnvidia-ml.so.1"


def joules(gpus: Sequence[str]) -> float | None:
    """What these GPUs took since their driver was loaded, whoever used them: differences count. None: it cannot be read.

    gpus: numbers or UUIDs, as in CUDA_VISIBLE_DEVICES. Counters exist from the Volta generation on.
    Source: NVML, nvmlDeviceGetTotalEnergyConsumption, millijoules.
    """
    if not gpus:
        return None
    try:
        nvml = ctypes.CDLL(LIBRARY)
        if nvml.nvmlInit_v2() != 0:
            return None
    except (OSError, AttributeError):
        return None
    try:
        read = [_millijoules(nvml, gpu) for gpu in gpus]
    except AttributeError:  # a driver older than these functions
        return None
    finally:
        nvml.nvmlShutdown()
    return None if None in read else sum(read) / 1000


def _millijoules(nvml: ctypes.CDLL, gpu: str) -> int | None:
    handle, energy = ctypes.c_void_p(), ctypes.c_ulonglong()
    if gpu.isdecimal():
        found = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(gpu)), ctypes.byref(handle))
    else:
        found = nvml.nvmlDeviceGetHandleByUUID(gpu.encode(), ctypes.byref(handle))
    if found != 0 or nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy)) != 0:
        return None
    return energy.value
