"""The 2x upscaler: a small RRDB network (arXiv:1809.00219) for drawings like this project's.

ESRGAN's layout under BasicSR's names, with one doubling (``conv_up1`` alone) and pixels as they
are. It begins as a smooth enlargement and learns what that lacks.
"""

import random
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.models.rrdb import Network, Shape
from tools.embedded.companions.image_prompt import save_half
from tools.embedded.dataset import Pixels, as_tensor, draw_pixels, load_vae

FILE: Final = "upscaler_x2.safetensors"
WIDTH: Final = 24
GROWTH: Final = 12
BLOCKS: Final = 2
COLOURS: Final = 3
SCALE: Final = 2

PICTURES: Final = 384
HELD_BACK: Final = 32  # of them, for the check
FIRST_NUMBER: Final = 4_000_000
SIDE: Final = 512  # of the large picture
CROP: Final = 64  # of the small one
FILTERS: Final = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
DECODED_SHARE: Final = 0.5  # small pictures that went through the VAE, as made ones do


class Pairs(NamedTuple):
    """Large pictures (N, 512, 512, 3) and what they were made small to (N, 256, 256, 3), bytes."""

    large: Pixels
    small: Pixels


class Making(NamedTuple):
    """How a small picture is made from the large one."""

    by: Image.Resampling
    decoded: bool  # did it go through the VAE?


def making_of(number: int) -> Making:
    """Decided by the picture's number alone."""
    rng = random.Random(number)
    return Making(rng.choice(FILTERS), rng.random() < DECODED_SHARE)


class UpscalerLoss:
    """Absolute difference on crops."""

    def __init__(self, pairs: Pairs, learner: Network) -> None:
        self._pairs, self._learner = pairs, learner

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        pairs = [self._crop(rng) for _ in range(count)]
        large, small = (as_unit(np.stack(parts)) for parts in zip(*pairs, strict=True))
        if torch.rand(1, generator=rng) < 0.5:
            large, small = large.flip(-1), small.flip(-1)
        errors: Tensor = self._learner(small).float() - large
        return errors.abs().mean()

    def _crop(self, rng: torch.Generator) -> tuple[Pixels, Pixels]:
        """The busiest of three crops: most of a drawing is plain."""
        best: tuple[Pixels, Pixels] | None = None
        for _ in range(3):
            number = int(torch.randint(len(self._pairs.large), (1,), generator=rng))
            top, left = torch.randint(SIDE // SCALE - CROP + 1, (2,), generator=rng).tolist()
            small = self._pairs.small[number, top : top + CROP, left : left + CROP]
            rows = slice(SCALE * top, SCALE * (top + CROP))
            large = self._pairs.large[number, rows, SCALE * left : SCALE * (left + CROP)]
            if best is None or small.std() > best[1].std():
                best = large, small
        return best or self._crop(rng)


def build_upscaler() -> Network:
    """The untrained network: it enlarges smoothly, by its first three channels.

    Learning to hand the colours through its layers would take longer than all the rest.
    """
    network = Network(Shape(WIDTH, GROWTH, BLOCKS, doublings=1, unshuffle=1))
    point = torch.zeros(3, 3)
    point[1, 1] = 1.0
    slope = torch.tensor([1.0, 2.0, 1.0]) / 4
    nn.init.zeros_(network.conv_body.weight)
    nn.init.zeros_(network.conv_body.get_parameter("bias"))
    for layer, kernel in (
        (network.conv_first, point),
        (network.get_submodule("conv_up1"), torch.outer(slope, slope)),
        (network.conv_hr, point),
        (network.conv_last, point),
    ):
        _hand_colours_on(layer, kernel)
    return network


@torch.no_grad()
def _hand_colours_on(layer: Any, kernel: Tensor) -> None:
    """Let the first three channels depend on themselves alone."""
    layer.bias[:COLOURS] = 0.0
    layer.weight[:COLOURS] = 0.0
    for channel in range(COLOURS):
        layer.weight[channel, channel] = kernel


def make_pairs(file: Path, scope: str, vae_dir: Path) -> Pairs:
    """Draw the pictures, or read those that an earlier run drew."""
    if not file.exists():
        large, _ = draw_pixels(FIRST_NUMBER, PICTURES, (SIDE, SIDE), scope)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, large=large, small=_made_small(large, vae_dir))
    read = np.load(file)
    return Pairs(read["large"], read["small"])


def psnr(made: Tensor, wanted: Tensor) -> float:
    """In dB, of pictures in 0..1."""
    return float(-10 * torch.log10((made.clamp(0, 1) - wanted).square().mean()))


def export_upscaler(learner: Network, folder: Path) -> None:
    """Write the network in float16. Who reads it cuts levels off, so half a level is added."""
    tensors = dict(learner.state_dict())
    tensors["conv_last.bias"] = tensors["conv_last.bias"] + 0.5 / 255
    save_half(tensors, folder / FILE)


def as_unit(pixels: Pixels) -> Tensor:
    """(N, H, W, 3) bytes to (N, 3, H, W) in 0..1."""
    return as_tensor(pixels) / 2 + 0.5


@torch.no_grad()
def _made_small(large: Pixels, vae_dir: Path) -> Pixels:
    vae, made = load_vae(vae_dir), []
    for number, pixels in enumerate(large):
        making = making_of(number)
        size = (SIDE // SCALE, SIDE // SCALE)
        small = np.asarray(Image.fromarray(pixels).resize(size, making.by))
        if making.decoded:
            decoded = vae.decode(vae.encode(as_tensor(small[None])).latent_dist.mode()).sample
            levels = decoded[0].add(1).mul(127.5).clamp(0, 255).to(torch.uint8)
            small = levels.permute(1, 2, 0).numpy()
        made.append(small)
    return np.stack(made)
