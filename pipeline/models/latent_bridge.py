"""From SDXL's latents to those of a Stable Diffusion 1.5 refiner."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.models.interposer import load_interposer
from pipeline.models.vae import Vae
from pipeline.sampling.noise import seeded_generator


class LatentBridge:
    """Converts SDXL's latents to Stable Diffusion 1.5's, by the interposer or through pixels.

    ``interposer`` is the path of its file, which need not exist; it is read on first use.
    """

    def __init__(self, vae: Vae, device: torch.device, interposer: Path | None = None) -> None:
        self.vae = vae
        self._device = device
        self._path = interposer
        self._interposer: Any = None

    def convert(self, latent: Tensor, base: Vae, seed: int) -> Tensor:
        """A latent of ``base`` as one of ``vae``, both (B, 4, h, w) in their VAE's space.

        Without the interposer it is decoded and encoded again; the posterior is sampled from
        ``seed``. Raises InvalidModelFile.
        """
        if self._path is not None and self._path.is_file():
            if self._interposer is None:
                self._interposer = load_interposer(self._path, self._device)
            converted: Tensor = self._interposer(latent.to(self._device, torch.float32))
            return converted
        return self._through_pixels(latent, base, seeded_generator(seed))

    def _through_pixels(self, latent: Tensor, base: Vae, generator: torch.Generator) -> Tensor:
        try:
            return self.vae.encode(base.decode(latent), generator)
        except torch.OutOfMemoryError:
            pass  # the tiles come after the failed attempt's memory is free
        return self.vae.encode_tiled(base.decode_tiled(latent), generator)
