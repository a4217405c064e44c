"""Noise levels: the sigmas a network was trained at, and the timestep it is given for each.

Sigma is the standard deviation of the noise in units of the clean latent, x = x0 + sigma * noise,
whatever scaling the network itself was trained with. Tables are float32 on the CPU, ascending.
"""

import math
from typing import Final

import torch
from torch import Tensor

STEPS: Final = 1000  # of training
MAX_T: Final = STEPS - 1
BETA_START: Final = 0.00085  # Stable Diffusion's and SDXL's
BETA_END: Final = 0.012
DISTILLED_STEPS: Final = 50
ENDLESS_SIGMA: Final = 999999999.9  # "before the first step"
LEAST_ALPHA_BAR: Final = 2.0**-24  # in place of 0 at zero terminal SNR, as diffusers: sigma 4096
LARGEST_FLOW_SIGMA: Final = 4096.0  # in place of infinity where a flow has no data left


class NoiseLevels:
    """A table of levels, one for each step of training (or for some of them)."""

    def __init__(self, table: Tensor) -> None:
        self.table = table
        self.log_table = table.log()
        self.alphas_bar = 1.0 / (1.0 + table**2)  # share of signal variance at each entry

    @property
    def sigma_min(self) -> float:
        """The smallest level the network knows."""
        return float(self.table[0])

    @property
    def sigma_max(self) -> float:
        """The largest level the network knows."""
        return float(self.table[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The timestep given to the network for ``sigma`` (any shape), float32."""
        return self.training_step(sigma).float()

    def sigma(self, timestep: Tensor) -> Tensor:
        """The inverse of ``timestep``."""
        return self.at_training_step(timestep)

    def training_step(self, sigma: Tensor) -> Tensor:
        """The step of training, 0 to 999, whose level is nearest to ``sigma``; int64."""
        distance = sigma.log().reshape(-1, 1) - self.log_table
        return distance.abs().argmin(dim=1).reshape(sigma.shape)

    def at_training_step(self, step: Tensor) -> Tensor:
        """The level at a step of training: linear in ln sigma between entries, clamped."""
        position = self._position(step.float()).clamp(0, len(self.table) - 1)
        low, high = position.floor().long(), position.ceil().long()
        weight = position.frac()
        return ((1 - weight) * self.log_table[low] + weight * self.log_table[high]).exp()

    def sigma_at(self, fraction: float) -> float:
        """The level when ``fraction`` of the way from noise to image is done."""
        if fraction <= 0.0:
            return ENDLESS_SIGMA
        if fraction >= 1.0:
            return 0.0
        return float(self.at_training_step(torch.tensor((1.0 - fraction) * MAX_T)))

    def progress(self, sigma: Tensor) -> float:
        """0 at full noise, 1 at the last level of training; guidance changes with it."""
        return float(1.0 - self.timestep(sigma) / MAX_T)

    def _position(self, step: Tensor) -> Tensor:
        """The place in the table of a step of training."""
        return step


class DiscreteLevels(NoiseLevels):
    """The levels of a DDPM (arXiv:2006.11239), from the share of signal left at each step.

    Timesteps are rounded to the table, as the network was trained.
    """

    def __init__(self, alphas_bar: Tensor | None = None) -> None:
        """``alphas_bar`` is float64, descending; by default Stable Diffusion's."""
        given = alphas_bar_of_betas(scaled_linear_betas()) if alphas_bar is None else alphas_bar
        super().__init__(((1.0 - given) / given).sqrt().float())
        self.alphas_bar = given.float()

    @property
    def has_zero_snr(self) -> bool:
        """Whether nothing is left of the signal at the last step."""
        return float(self.alphas_bar[-1]) <= LEAST_ALPHA_BAR


class DistilledLevels(DiscreteLevels):
    """Every 20th level of Stable Diffusion's: those of networks distilled to few steps."""

    def __init__(self) -> None:
        super().__init__()
        every = self.alphas_bar
        self._stride = STEPS // DISTILLED_STEPS
        NoiseLevels.__init__(self, self.table[self._stride - 1 :: self._stride])
        self.alphas_bar = every  # by step of training, of which there are still 1000

    def training_step(self, sigma: Tensor) -> Tensor:
        """The step of the nearest level that was kept."""
        return super().training_step(sigma) * self._stride + self._stride - 1

    def _position(self, step: Tensor) -> Tensor:
        return (step - (self._stride - 1)) / self._stride


class ContinuousLevels(NoiseLevels):
    """Levels without steps (arXiv:2206.00364): the network is given ln(sigma) / 4."""

    def __init__(self, sigma_min: float, sigma_max: float) -> None:
        super().__init__(torch.linspace(math.log(sigma_min), math.log(sigma_max), STEPS).exp())

    def timestep(self, sigma: Tensor) -> Tensor:
        """Not rounded."""
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        """The inverse of ``timestep``."""
        return (timestep / 0.25).exp()


class FlowLevels(NoiseLevels):
    """Levels of a rectified flow x_t = (1 - t) * x0 + t * noise (arXiv:2403.03206).

    sigma = t / (1 - t). ``shift`` moves the steps of training towards noise:
    t = shift * s / (1 + (shift - 1) * s). The network is given 1000 * t.
    """

    def __init__(self, shift: float = 1.0) -> None:
        s = torch.arange(1, STEPS + 1, dtype=torch.float64) / STEPS
        t = shift * s / (1.0 + (shift - 1.0) * s)
        table = (t / (1.0 - t)).clamp(max=LARGEST_FLOW_SIGMA)
        super().__init__(table.float())

    def time(self, sigma: Tensor) -> Tensor:
        """t, which is 1 from the largest level on."""
        return torch.where(sigma >= self.table[-1], 1.0, sigma / (1.0 + sigma))

    def timestep(self, sigma: Tensor) -> Tensor:
        """Not rounded: 1000 * t."""
        return STEPS * self.time(sigma)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The inverse of ``timestep``."""
        t = timestep / STEPS
        return (t / (1.0 - t)).clamp(max=LARGEST_FLOW_SIGMA)

    def progress(self, sigma: Tensor) -> float:
        """1 - t."""
        return float(1.0 - self.time(sigma))


def scaled_linear_betas(start: float = BETA_START, end: float = BETA_END) -> Tensor:
    """Betas whose roots are evenly spaced, float64 (1000,)."""
    return torch.linspace(start**0.5, end**0.5, STEPS, dtype=torch.float64) ** 2


def alphas_bar_of_betas(betas: Tensor) -> Tensor:
    """The share of signal variance left at each step."""
    return torch.cumprod(1.0 - betas, dim=0)


def zero_terminal_snr(alphas_bar: Tensor) -> Tensor:
    """The schedule rescaled to end without signal (arXiv:2305.08891, algorithm 1).

    The last entry is ``LEAST_ALPHA_BAR``, for its sigma would be infinite.
    """
    root = alphas_bar.sqrt()
    first, last = root[0], root[-1]
    rescaled = ((root - last) * first / (first - last)) ** 2
    return rescaled.clamp(min=LEAST_ALPHA_BAR)
