"""The latent interposer: a small network from SDXL's latents to Stable Diffusion 1.5's.

The structure is that of the published file xl-to-v1_interposer-v4.0.safetensors (city96's
SD-Latent-Interposer, version 4); its latents are in VAE space.
"""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.weights.tensors import fill, read_tensors

_CHANNELS: Final = 4
_WIDTH: Final = 64
_BLOCKS: Final = 12
_COUNTS: Final = "num_batches_tracked"  # of training; nothing is normalised by it


class Interposer(nn.Module):
    """Latents (B, 4, h, w) of one VAE to those of another, float32."""

    def __init__(self, width: int = _WIDTH, blocks: int = _BLOCKS) -> None:
        super().__init__()
        self.head = _Widening(_CHANNELS, width)
        # The first place is that of a resize by 1, which has no weights.
        layers = [nn.Identity(), *(_Block(width) for _ in range(blocks))]
        self.core = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.SiLU())
        self.tail = nn.Conv2d(width, _CHANNELS, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        moved: Tensor = self.tail(self.core(self.head(latent)))
        return moved


class _Widening(nn.Module):
    """To more channels, by one convolution and by three, added."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.short = nn.Conv2d(channels, width, 3, padding=1)
        self.long = _three_convolutions(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.long(x) + self.short(x))


class _Block(nn.Module):
    """A normalised residual block of three convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.long = _three_convolutions(width, width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return torch.relu(self.long(normed) + normed)


def _three_convolutions(channels: int, width: int) -> nn.Sequential:
    first = nn.Conv2d(channels, width, 3, padding=1)
    second, third = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), third)


def load_interposer(path: Path, device: torch.device) -> Any:
    """The network of that file, float32. Raises InvalidModelFile."""
    tensors = {
        n: t for n, t in read_tensors(path, "latent interposer").items() if not n.endswith(_COUNTS)
    }
    with torch.device("meta"):
        module = Interposer()
    for name, buffer in module.named_buffers():
        if name.endswith(_COUNTS):
            tensors[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    try:
        return fill(module, tensors, "latent interposer", torch.float32).to(device)
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{path.name}: {error}") from None
