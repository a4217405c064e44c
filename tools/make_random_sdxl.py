"""Writes an SDXL of full size and random weights: ``python -m tools.make_random_sdxl FILE``.

One float16 file of about 7 GB in the original layout, written tensor by tensor. Its pictures mean
nothing, but loading and sampling cost what they cost with a real one. The weights are small enough
that nothing overflows.
"""

import argparse
import json
import math
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from pipeline.models.checkpoint import SDXL_BASE, Configs, read_configs
from tools.original_layout import to_original

_ALIGNED: Final = 8  # bytes: safetensors pads its header to whole words
_NAMES: Final = {torch.float16: "F16", torch.int64: "I64"}


def write_random_checkpoint(path: Path, configs: Configs, seed: int = 0) -> int:
    """Write the file; its size in bytes."""
    planned = {name: _stored(each) for name, each in _planned(configs).items()}
    header = _header(planned)
    generator = torch.Generator().manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, tensor in planned.items():
            _write(file, random_weights(name, tensor, generator))
        return file.tell()


def random_weights(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """Weights of the shape and number format of ``like``, which is on the meta device.

    Norms begin at 1, biases at 0; what multiplies keeps the variance of what comes in.
    """
    if not like.is_floating_point():
        return torch.arange(like.numel(), dtype=like.dtype).view(like.shape)
    if like.ndim < 2:
        plain = torch.zeros if name.endswith("bias") else torch.ones
        return plain(like.shape, dtype=like.dtype)
    is_table = "embedding" in name and "time_embed" not in name
    spread = 0.02 if is_table else 1.0 / math.sqrt(like[0].numel())
    return torch.randn(like.shape, generator=generator).mul_(spread).to(like.dtype)


def _planned(configs: Configs) -> dict[str, Tensor]:
    """Every tensor of the file, without its numbers."""
    with torch.device("meta"):
        modules = {
            "unet": UNet2DConditionModel.from_config(configs.unet),
            "vae": AutoencoderKL.from_config(configs.vae),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**configs.clip_l)),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**configs.clip_g)),
        }
        weights = {name: dict(module.state_dict()) for name, module in modules.items()}
        return to_original(weights, configs)


def _stored(tensor: Tensor) -> Tensor:
    kind = torch.float16 if tensor.is_floating_point() else torch.int64
    return torch.empty(tensor.shape, dtype=kind, device="meta")


def _header(planned: Mapping[str, Tensor]) -> bytes:
    entries = dict(_entries(planned))
    text = json.dumps(entries, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNED)


def _entries(planned: Mapping[str, Tensor]) -> Iterator[tuple[str, object]]:
    begin = 0
    for name, tensor in planned.items():
        end = begin + tensor.numel() * tensor.element_size()
        kind = _NAMES[tensor.dtype]
        yield name, {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end


def _write(file: BinaryIO, tensor: Tensor) -> None:
    file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    size = write_random_checkpoint(options.file, read_configs(SDXL_BASE), options.seed)
    print(f"{options.file}: {size / 1e9:.2f} GB in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
