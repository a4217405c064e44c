"""Which images may share a run of the network, and how many.

A larger batch uses a device better until the device is busy. That depends on how much one image
keeps it busy, so it is counted in latent cells.
"""

from typing import Final

import msgspec
import torch

from pipeline.request.plan import ImagePlan
from pipeline.request.prompts import PictureTexts
from pipeline.request.sizes import LATENT_FACTOR

AUTO: Final = 0
OFF: Final = 1
MOST: Final = 8  # images in a batch that nobody asked for

# On a CPU the gain is that of fewer, larger calls: 1.3 at 32x32 cells, none from 64x64 on.
CPU_CELLS: Final = 8 * 32 * 32
# On a GPU: four images of 1024x1024. Not measured.
GPU_CELLS: Final = 4 * 128 * 128
# What SDXL's activations may take with both prompts, in half precision. Not measured: where it is
# too little, the batch is halved when memory runs out.
BYTES_PER_CELL: Final = 64 * 1024
_KEPT_FREE: Final = 0.2  # of the free memory

# Steps as long as the error of the whole batch allows, so an image would depend on its neighbours.
_ADAPTIVE: Final = frozenset({"dpm_adaptive"})
_NO_TEXTS: Final = PictureTexts(prompt="", negative_prompt="", positives=(), negatives=())


def batch_limit(asked: int, plan: ImagePlan, device: torch.device) -> int:
    """How many images such as ``plan``'s are made together; ``asked`` may be ``AUTO``."""
    if plan.sampling.sampler in _ADAPTIVE:
        return 1
    if asked != AUTO:
        return asked
    width, height = plan.size.native
    cells = max(1, width * height // LATENT_FACTOR**2)
    if device.type == "cpu":
        return max(1, min(MOST, CPU_CELLS // cells))
    if device.type != "cuda":
        return 1
    free, _total = torch.cuda.mem_get_info(device)
    fitting = int(free * (1 - _KEPT_FREE)) // (BYTES_PER_CELL * cells)
    return max(1, min(MOST, GPU_CELLS // cells, fitting))


def shared(plan: ImagePlan) -> ImagePlan:
    """What plans must have in common to share a run: all but seeds and texts."""
    return msgspec.structs.replace(
        plan,
        index=0,
        sampling=msgspec.structs.replace(plan.sampling, seed=0),
        texts=_NO_TEXTS,
        expansion="",
        notes={},
    )
