"""Returns memory of dropped models to the device and the operating system."""

import ctypes
import gc
import sys

import torch


def release_memory(device: torch.device) -> None:
    """Call after the last reference to a model is gone. Takes some tens of milliseconds."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    _trim_heap()


def _trim_heap() -> None:
    """Trim glibc's heap: it keeps freed blocks of up to 32 MiB to itself."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
