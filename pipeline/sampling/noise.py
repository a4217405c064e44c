"""Seeded noise of images. Never touches torch's global generators, so runs cannot disturb each
other's noise."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pipeline.sampling.brownian import PATH_DIGITS, BrownianPath
from pipeline.sampling.interface import Noise


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator with the stream of the default one after ``torch.manual_seed(seed)``."""
    return torch.Generator(device).manual_seed(seed)


class RunNoise(Protocol):
    """The noise of a run, in the order in which the run draws it."""

    @property
    def initial(self) -> Tensor:
        """Unit normal noise (B, C, h, w), float32."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each of the B images."""

    def reseeded(self, seeds: Sequence[int]) -> "RunNoise":
        """Noise of other seeds, of the same shape on the same devices."""

    def fresh(self, _sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        """Unit normal noise, independent of all earlier draws."""

    def brownian(self, sigma_min: float, sigma_max: float) -> Noise:
        """Noise along one Brownian path an image between the two levels."""


class BatchNoise:
    """``RunNoise`` of several images, drawn image by image: each gets what it gets when it is made
    alone. (``torch.randn`` of a batch is not one image's draw, repeated.)"""

    def __init__(self, images: Sequence["ImageNoise"]) -> None:
        self._images = images
        self.initial = torch.cat([each.initial for each in images])

    @property
    def seeds(self) -> tuple[int, ...]:
        """As ``RunNoise``."""
        return tuple(each.seed for each in self._images)

    def reseeded(self, seeds: Sequence[int]) -> "BatchNoise":
        """As ``RunNoise``."""
        pairs = zip(self._images, seeds, strict=True)
        return BatchNoise([each.of_seed(seed) for each, seed in pairs])

    def fresh(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """As ``RunNoise``."""
        return torch.cat([each.fresh(sigma, sigma_next) for each in self._images])

    def brownian(self, sigma_min: float, sigma_max: float) -> Noise:
        """As ``RunNoise``."""
        paths = [each.brownian(sigma_min, sigma_max) for each in self._images]

        def noise(sigma: Tensor, sigma_next: Tensor) -> Tensor:
            return torch.cat([path(sigma, sigma_next) for path in paths])

        return noise


class ImageNoise:
    """``RunNoise`` of one image, in the order in which a run draws it.

    ``initial`` is always drawn on the CPU. Step noise is drawn on ``draw_on``; on the CPU it
    continues the stream of ``initial``. All of it is float32 on ``device``.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        draw_on: torch.device | str = "cpu",
    ) -> None:
        generator = seeded_generator(seed)
        self.seed = seed
        self.shape = shape
        self.device = torch.device(device)
        self.initial = torch.randn(shape, generator=generator).to(self.device)
        self._draw_on = torch.device(draw_on)
        on_cpu = self._draw_on.type == "cpu"
        self._generator = generator if on_cpu else seeded_generator(seed, self._draw_on)

    @property
    def seeds(self) -> tuple[int, ...]:
        """As ``RunNoise``."""
        return (self.seed,)

    def reseeded(self, seeds: Sequence[int]) -> "ImageNoise":
        """As ``RunNoise``."""
        (seed,) = seeds
        return self.of_seed(seed)

    def of_seed(self, seed: int) -> "ImageNoise":
        """Noise of another seed, of the same shape on the same devices."""
        return ImageNoise(seed, self.shape, self.device, self._draw_on)

    def fresh(self, _sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        """Unit normal noise, independent of all earlier draws."""
        drawn = torch.randn(self.shape, generator=self._generator, device=self._draw_on)
        return drawn.to(self.device)

    def brownian(self, sigma_min: float, sigma_max: float) -> "BrownianNoise":
        """Noise along one Brownian path between the two levels."""
        start = torch.zeros(self.shape, device=self._draw_on)
        return BrownianNoise(start, self.seed, sigma_min, sigma_max, self.device)


class BrownianNoise:
    """Increments of one Brownian path over sigma, so that runs of different step counts follow the
    same path."""

    def __init__(
        self, start: Tensor, seed: int, sigma_min: float, sigma_max: float, device: torch.device
    ) -> None:
        self._low = max(sigma_min, round(sigma_min, PATH_DIGITS))
        self._high = min(sigma_max, round(sigma_max, PATH_DIGITS))
        self._device = device
        shape = tuple(start.shape)
        self._path = BrownianPath(shape, seed, sigma_min, sigma_max, start.device)

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The path's increment between the two levels at unit variance; levels are clamped to the
        path's range."""
        increment = self._path.increment(self._inside(sigma_next), self._inside(sigma))
        return -(increment / (sigma_next - sigma).abs().sqrt().item()).to(self._device)

    def _inside(self, sigma: Tensor) -> float:
        return min(max(float(sigma), self._low), self._high)
