"""A checkpoint's networks as OpenVINO files (IR): a program of its own, for it keeps its memory.

``python -m pipeline.models.openvino_export CHECKPOINT FOLDER`` writes unet.xml, vae.xml and their
weights. Converting keeps every weight in the process that does it, so the server starts this one
and lets it end. It ends at once when its standard input does, as it does with the server.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.models.checkpoint import load_networks
from pipeline.models.flat_networks import (
    INPUTS,
    FlatDecoder,
    FlatUNet,
    LatentShape,
    residual_shapes,
)
from pipeline.models.openvino_runtime import UNET, VAE, import_openvino

_EXAMPLE: Final = LatentShape(16, 24)  # a latent to follow the layers with; sizes stay open
_ROWS: Final = 2
_TOKENS: Final = 77


def export(checkpoint: Path, folder: Path) -> None:
    """Write both networks. Raises PipelineError for a file that is no checkpoint."""
    unet, vae = load_networks(checkpoint, torch.device("cpu"))
    names, example = _unet_example(unet)
    _save(FlatUNet(unet), names, example, folder / UNET)
    if vae is not None:
        latent = torch.zeros(1, vae.config.latent_channels, *_EXAMPLE)
        _save(FlatDecoder(vae), ("latent",), (latent,), folder / VAE)


def _unet_example(unet: Any) -> tuple[tuple[str, ...], tuple[Tensor, ...]]:
    """The names of the inputs, and inputs of one size, all zero."""
    config = unet.config
    middle, down = residual_shapes(unet, _ROWS, _EXAMPLE)
    shapes: list[tuple[int, ...]] = [
        (_ROWS, config.in_channels, *_EXAMPLE),
        (_ROWS, unet.time_embedding.linear_1.in_features),
        (_ROWS, _TOKENS, config.cross_attention_dim),
        (_ROWS, unet.add_embedding.linear_1.in_features),
        middle,
        *down,
    ]
    names = (*INPUTS, *(f"down{number}" for number in range(len(down))))
    return names, tuple(torch.zeros(shape) for shape in shapes)


def _save(
    network: nn.Module, names: tuple[str, ...], example: tuple[Tensor, ...], path: Path
) -> None:
    openvino = import_openvino()
    network.requires_grad_(requires_grad=False).eval()
    model = openvino.convert_model(network, example_input=example)
    for name, given in zip(names, model.inputs, strict=True):
        given.get_tensor().set_names({name})
    openvino.save_model(model, path, compress_to_fp16=False)


def _end_with_input() -> None:
    """End the process when its standard input ends: the server that started it is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    _end_with_input()
    torch.set_num_threads(1)
    export(Path(sys.argv[1]), Path(sys.argv[2]))
