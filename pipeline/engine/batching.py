"""How many images share a run of the network.

A larger batch uses a device better until the device is busy. That depends on how much one image
keeps it busy, so it is counted in latent cells.
"""

from typing import Final

import torch

from pipeline.engine.options import AUTO_BATCH
from pipeline.request.sizes import LATENT_FACTOR

MOST: Final = 8  # images in a batch that nobody asked for

# On a CPU fewer, larger calls gain 1.3 to 1.4 at 32x32 cells with four images, as much with eight,
# and next to nothing from 64x64 cells on; four have their first image sooner.
CPU_CELLS: Final = 4 * 32 * 32
# On a GPU: four images of 1024x1024. Not measured.
GPU_CELLS: Final = 4 * 128 * 128
# What SDXL's activations may take with both prompts, in half precision. Not measured: where it is
# too little, the batch is halved when memory runs out.
BYTES_PER_CELL: Final = 64 * 1024
_KEPT_FREE: Final = 0.2  # of the free memory

# Steps as long as the error of the whole batch allows, so an image would depend on its neighbours.
_ADAPTIVE: Final = frozenset({"dpm_adaptive"})


def batch_limit(
    asked: int,
    sampler: str,
    size: tuple[int, int],
    device: torch.device,
    *,
    is_prepared: bool = False,
) -> int:
    """How many images of a size (width, height, in pixels) are made together.

    ``asked`` may be ``AUTO_BATCH``: then a network that ``is_prepared`` for the rows of one image
    makes one by one: OpenVINO's gains 3 to 5 % by more, ``torch.compile`` would compile it again
    for each number of rows, which takes minutes. Waits for nothing: any thread may call it.
    """
    if sampler in _ADAPTIVE:
        return 1
    if asked != AUTO_BATCH:
        return asked
    cells = max(1, size[0] * size[1] // LATENT_FACTOR**2)
    if is_prepared:
        return 1
    if device.type == "cpu":
        return max(1, min(MOST, CPU_CELLS // cells))
    if device.type != "cuda":
        return 1
    free, _total = torch.cuda.mem_get_info(device)
    fitting = int(free * (1 - _KEPT_FREE)) // (BYTES_PER_CELL * cells)
    return max(1, min(MOST, GPU_CELLS // cells, fitting))
