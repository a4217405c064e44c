"""All the randomness of one picture, from its seed.

Nothing here touches torch's global generators: a picture's noise is its own, whatever else runs.
"""

from typing import Final

import torch
import torchsde
from torch import Tensor

PATH_DIGITS: Final = 6  # torchsde rounds levels to its tolerance
PATH_POOL: Final = 24


def seeded_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that gives what the default one gives after ``torch.manual_seed(seed)``."""
    return torch.Generator(device).manual_seed(seed)


def initial_noise(seed: int, shape: tuple[int, ...]) -> Tensor:
    """The noise a picture starts from: unit normal float32, always drawn on the CPU."""
    return torch.randn(shape, generator=seeded_generator(seed))


class PictureNoise:
    """The noise of one picture, in the order a run asks for it. One thread only.

    ``initial`` is drawn at once, on the CPU. Step noise is drawn on ``draw_on``; on the CPU it goes
    on with the generator that drew ``initial``.
    """

    def __init__(
        self,
        seed: int,
        shape: tuple[int, ...],
        device: torch.device | str,
        draw_on: torch.device | str,
    ) -> None:
        generator = seeded_generator(seed)
        self.seed = seed
        self.initial = torch.randn(shape, generator=generator).to(device)
        self._device = torch.device(device)
        self._draw_on = torch.device(draw_on)
        on_cpu = self._draw_on.type == "cpu"
        self._generator = generator if on_cpu else seeded_generator(seed, self._draw_on)

    def fresh(self, _sigma: Tensor, _sigma_next: Tensor) -> Tensor:
        """Noise independent of all before it."""
        drawn = torch.randn(self.initial.shape, generator=self._generator, device=self._draw_on)
        return drawn.to(self._device)

    def brownian(self, sigma_min: float, sigma_max: float) -> "BrownianNoise":
        """Noise along one Brownian path between the two levels."""
        start = torch.zeros(self.initial.shape, device=self._draw_on)
        return BrownianNoise(start, self.seed, sigma_min, sigma_max, self._device)


class BrownianNoise:
    """Increments of one Brownian path over sigma, so that halving the steps walks the same path.

    After Li et al. 2020 (arXiv:2001.01328), whose torchsde keeps the path.
    """

    def __init__(
        self, start: Tensor, seed: int, sigma_min: float, sigma_max: float, device: torch.device
    ) -> None:
        self._low = max(sigma_min, round(sigma_min, PATH_DIGITS))
        self._high = min(sigma_max, round(sigma_max, PATH_DIGITS))
        self._device = device
        self._path = torchsde.BrownianTree(
            t0=sigma_min,
            w0=start,
            t1=sigma_max,
            entropy=seed,
            tol=10.0**-PATH_DIGITS,
            pool_size=PATH_POOL,
        )

    def __call__(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The path's normalised increment between the two levels, clamped to its range."""
        increment: Tensor = self._path(self._inside(sigma_next), self._inside(sigma))
        return -(increment / (sigma_next - sigma).abs().sqrt().item()).to(self._device)

    def _inside(self, sigma: Tensor) -> float:
        return min(max(float(sigma), self._low), self._high)
