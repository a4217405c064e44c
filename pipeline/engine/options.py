"""How an engine works, whatever it is asked to make. Torch-free: the web half passes it on."""

from typing import Final, Literal

import msgspec

AUTO_BATCH: Final = 0  # as many images together as the device gains from


def batch_limit(asked: str) -> int:
    """``auto``, ``off`` or a number of images, as ``EngineOptions.batch``."""
    named = {"auto": AUTO_BATCH, "off": 1}
    return named[asked] if asked in named else int(asked)


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Start options that concern the picture side."""

    cpu_noise: bool = False  # draw all noise on the CPU, not only the first
    device_memory_gb: float = 0.0  # that models may take on the device; 0: a share of it
    ram_gb: float = 0.0  # that models may take in main memory; 0: a share of it
    compile_unet: bool = False  # compile the network when it is first used
    batch: int = 1  # images made together at most, or AUTO_BATCH
    cpu_engine: Literal["auto", "torch", "openvino"] = "torch"  # what runs the networks on a CPU
    precision: Literal["exact", "fast"] = "exact"  # of an engine other than torch
