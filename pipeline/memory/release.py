"""Give memory that nothing uses any more back to the device and the system."""

import ctypes
import gc
import sys

import torch


def free_memory(device: torch.device) -> None:
    """After the last reference to a model is gone. Takes some tens of milliseconds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    _trim_heap()


def _trim_heap() -> None:
    """Hand freed memory back to the system: glibc keeps freed blocks of up to 32 MiB to itself."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
