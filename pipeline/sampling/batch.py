"""Several images in one run: rows of its tensors, each with its own seed, callback and end."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.errors import PipelineError
from pipeline.sampling.denoiser import Denoiser
from pipeline.sampling.diffusion import NetworkDenoise
from pipeline.sampling.interface import OnStep
from pipeline.sampling.parametrisation import ModelSampling


class Batch:
    """The images of one run. One that is skipped or stopped leaves: no network sees it again."""

    def __init__(self, on_steps: Sequence[OnStep]) -> None:
        """One callback an image, which gets its own row; raising PipelineError ends that image."""
        self.rows = tuple(range(len(on_steps)))
        """The images that are still made."""
        self._on_steps = on_steps

    def on_step(self, index: int, denoised: Tensor) -> None:
        """Call back for each image. Raises the error of the last one that leaves."""
        for row in self.rows:
            try:
                self._on_steps[row](index, denoised[row : row + 1])
            except PipelineError:
                self.rows = tuple(each for each in self.rows if each != row)
                if not self.rows:
                    raise

    def denoise(self, denoiser: Denoiser) -> NetworkDenoise:
        """``denoiser`` of all images, called for those that are still made."""
        return denoiser if len(self._on_steps) == 1 else _OfThoseLeft(denoiser, self)


class _OfThoseLeft:
    """A ``NetworkDenoise``. For an image that has left it guesses nothing: ``x`` itself."""

    def __init__(self, denoiser: Denoiser, batch: Batch) -> None:
        self.model_sampling: ModelSampling = denoiser.model_sampling
        self._batch = batch
        self._whole = self._current = denoiser
        self._rows = batch.rows  # of ``_current``

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        rows = self._batch.rows
        if len(rows) == x.shape[0]:
            return self._whole(x, sigma)
        if rows != self._rows:
            self._current, self._rows = self._whole.of_rows(rows), rows
        index = torch.tensor(rows, device=x.device)
        return x.index_copy(0, index, self._current(x.index_select(0, index), sigma))
