"""The device that makes the images, and the dtypes of each part of a model on it."""

import os
from typing import Final, NamedTuple

import torch

from pipeline.errors import PipelineError
from pipeline.scheduling.engine_protocol import Hardware
from pipeline.weights.main_memory import memory_bytes

# On a CPU a model is entry in float32 where that takes at most this share of the machine's memory;
# a larger one stays in its file's number format.
_FLOAT32_SHARE: Final = 0.4

# torch's devices, its CPU allocator and onnxruntime; CUDA's libraries, of their own work space.
_OUT_OF_MEMORY: Final = ("out of memory", "allocate memory", "STATUS_ALLOC_FAILED")


class UnknownDevice(PipelineError):
    """The device asked for is not there."""

    code = "unknown_device"


class Placement(NamedTuple):
    """Device and dtypes of a model.

    ``vae`` is for decoders that overflow in float16, as SDXL's own does. With ``stored`` weights
    keep the dtype of their file and are cast while a layer uses them.
    """

    device: torch.device
    unet: torch.dtype
    text: torch.dtype
    vae: torch.dtype
    stored: bool = False


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Raises UnknownDevice."""
    if name == "auto":
        return torch.device(_best_device())
    try:
        device = torch.device(name)
    except RuntimeError as error:
        known = "auto, cpu, cuda, cuda:1 or mps"
        raise UnknownDevice(f"{name!r} is no device; try {known}") from error
    if not _is_there(device):
        raise UnknownDevice(f"this machine has no {name!r}; auto would choose {_best_device()!r}")
    return device


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, which devices report in several ways."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def place(device: torch.device, parameters: int) -> Placement:
    """Dtypes for a model of so many parameters on ``device``."""
    if device.type == "cuda":
        wide = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
        return Placement(device, torch.float16, torch.float16, wide)
    if device.type == "mps":
        return Placement(device, torch.float16, torch.float16, torch.float32)
    stored = parameters * 4 > memory_bytes() * _FLOAT32_SHARE
    return Placement(device, torch.float32, torch.float32, torch.float32, stored)


def prepare_threads(device: torch.device) -> None:
    """Give torch all cores but one, which the web side needs; OMP_NUM_THREADS overrules it.

    A thread too many costs more than one too few: torch's threads wait for each other at every
    operation, so one that shares its core slows all (measured: 16 s for 3 s on two busy cores).
    """
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, _cores() - 1))


def describe_hardware(device: torch.device) -> Hardware:
    """The device as people know it, with its memory; that of a CPU is the container's."""
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        properties = torch.cuda.get_device_properties(index)
        text = f"cuda:{index} {properties.name}"
        return Hardware(description=text, memory_bytes=properties.total_memory)
    if device.type == "mps":
        return Hardware(description="mps (Apple GPU)", memory_bytes=memory_bytes())
    threads = torch.get_num_threads()
    able = torch.backends.cpu.get_cpu_capability()
    told = {"DEFAULT": "", "AVX512": ", AVX-512"}.get(able, f", {able}")
    text = f"cpu ({threads} thread{'' if threads == 1 else 's'}{told})"
    return Hardware(description=text, memory_bytes=memory_bytes())


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _is_there(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
