"""What a refiner of another family has of its own: a VAE, and the way there from SDXL's latents."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.models.interposer import load_interposer
from pipeline.models.vae import Vae
from pipeline.sampling.noise import seeded_generator
from pipeline.sampling.parametrisation import EdmSampling, ModelSampling


class OwnLatents:
    """Stable Diffusion 1.5's latents. Device thread only.

    ``interposer`` is where its file would be; it is read when it is first needed, if it is there.
    """

    def __init__(self, vae: Vae, device: torch.device, interposer: Path | None = None) -> None:
        self.vae = vae
        self._device = device
        self._path = interposer
        self._interposer: Any = None

    def bring(self, latent: Tensor, base: Vae, seed: int) -> Tensor:
        """A latent of ``base`` as one of these, both (B, 4, h, w) in their VAE's space.

        By the interposer, else through the picture, whose encoding is drawn from ``seed``. Raises
        InvalidModelFile.
        """
        if self._path is not None and self._path.is_file():
            if self._interposer is None:
                self._interposer = load_interposer(self._path, self._device)
            moved: Tensor = self._interposer(latent.to(self._device, torch.float32))
            return moved
        return self._through_picture(latent, base, seeded_generator(seed))

    def sampling(self, base: ModelSampling) -> ModelSampling:
        """The levels of ``base``, with this VAE's scale."""
        if isinstance(base, EdmSampling):  # only Playground's own network works so
            return ModelSampling(self.vae.scale)
        return base.rescaled(self.vae.scale)

    def _through_picture(self, latent: Tensor, base: Vae, generator: torch.Generator) -> Tensor:
        try:
            return self.vae.encode(base.decode(latent), generator)
        except torch.OutOfMemoryError:
            pass  # the tiles come after the failed attempt's memory is free
        return self.vae.encode_tiled(base.decode_tiled(latent), generator)
