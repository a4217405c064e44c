"""Upscaling networks, run in tiles. Which network a file holds is told by its tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.rrdb import Network, read_shape
from pipeline.models.srvgg import SrvggNetwork, is_srvgg, read_srvgg
from pipeline.models.upscaler_layout import named_weights
from pipeline.weights.tensors import fill, read_values

Pixels = NDArray[np.uint8]
OnTile = Callable[[int, int], None]
"""(tiles done, tiles in all); may raise to end the work."""
UpscalerNetwork = Network | SrvggNetwork

TILE: Final = 256  # pixels of a tile's side, of the picture that goes in
_COLOURS: Final = 3


class Upscaler:
    """Makes pictures ``factor`` times as large, on the device of its network. One thread only."""

    def __init__(self, network: UpscalerNetwork, tile: int = TILE) -> None:
        self.factor = network.factor
        self.parts = (network,)
        self._network = network
        self._tile = tile

    @torch.inference_mode()
    def __call__(self, pixels: Pixels, on_tile: OnTile | None = None) -> Pixels:
        """RGB pixels (H, W, 3) as (factor*H, factor*W, 3); levels are truncated."""
        height, width, _ = pixels.shape
        made = np.empty((height * self.factor, width * self.factor, _COLOURS), np.uint8)
        tiles = [
            (top, left)
            for top in range(0, height, self._tile)
            for left in range(0, width, self._tile)
        ]
        for done, (top, left) in enumerate(tiles):
            if on_tile is not None:
                on_tile(done, len(tiles))
            part = self._upscaled(pixels, top, left)
            y, x = top * self.factor, left * self.factor
            made[y : y + part.shape[0], x : x + part.shape[1]] = part
        return made

    def _upscaled(self, pixels: Pixels, top: int, left: int) -> Pixels:
        """One tile, upscaled with its margin, which is cut off again."""
        margin = self._network.margin
        seen_top, seen_left = max(0, top - margin), max(0, left - margin)
        bottom, right = top + self._tile + margin, left + self._tile + margin
        seen = torch.from_numpy(pixels[seen_top:bottom, seen_left:right].copy())
        weight = next(self._network.parameters())
        x = seen.permute(2, 0, 1)[None].to(weight.device).to(weight.dtype) / 255.0
        made = self._network(x)[0].float().clamp(0.0, 1.0) * 255.0
        y, x0 = (top - seen_top) * self.factor, (left - seen_left) * self.factor
        height = min(self._tile, pixels.shape[0] - top) * self.factor
        width = min(self._tile, pixels.shape[1] - left) * self.factor
        made = made[:, y : y + height, x0 : x0 + width]
        return made.to(torch.uint8).permute(1, 2, 0).cpu().numpy()  # type: ignore[no-any-return]


def load_upscaler(path: Path, device: torch.device | str = "cpu") -> Upscaler:
    """Read a network in torch's own format or safetensors, in whatever layout, as float32.

    Raises InvalidModelFile.
    """
    weights = named_weights(read_values(path, "upscaler"), path.name)
    with torch.device("meta"):
        network: UpscalerNetwork
        if is_srvgg(weights):
            network = SrvggNetwork(read_srvgg(weights, path.name))
        else:
            network = Network(read_shape(weights, path.name))
    fill(network, weights, f"upscaler {path.name}", torch.float32)
    device = torch.device(device)
    return Upscaler(network.for_cpu() if device.type == "cpu" else network.to(device))
