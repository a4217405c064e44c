"""Sizes of a case, from its figures and its index entry: folders are recorded at any size."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from torch import Tensor

from pipeline.request.sizes import LATENT_FACTOR
from tools.parity_cases.fixtures import Case, Fixtures

_STRIDE: Final = re.compile(r"_s(\d+)(\.|$)")


class RunSize(msgspec.Struct, frozen=True):
    """Latents, (1, C, H/8, W/8), and the size in pixels that the network is conditioned on."""

    latent: tuple[int, ...]
    width: int
    height: int


def size_of(latent: Sequence[int], params: Mapping[str, Any]) -> RunSize:
    """Pixels as the case gives them, else those of its latents. 200 pixels are 25 latent cells."""
    height, width = (side * LATENT_FACTOR for side in latent[-2:])
    return RunSize(tuple(latent), params.get("width", width), params.get("height", height))


def run_size(case: Case, fixtures: Fixtures) -> RunSize:
    """Size of a case whose first output is the latent that a run ends with."""
    return size_of(fixtures.tensors(case.file)[case.outputs[0]].shape, case.params)


def folder_size(fixtures: Fixtures, params: Mapping[str, Any]) -> RunSize:
    """Size of a case without a latent of its own: that of the folder's shared latent."""
    return size_of(fixtures.unit("in.init_latent").shape, params)


def stride_of(figure: str) -> int:
    """Distance between the values that a figure keeps: 4 for ``vae.decode_s4``, 1 for all."""
    found = _STRIDE.search(figure)
    return int(found[1]) if found else 1


def thinned(pixels: Tensor, figure: str) -> Tensor:
    """The pixels of (H, W, …) that the figure of this name keeps."""
    stride = stride_of(figure)
    return pixels[::stride, ::stride]
