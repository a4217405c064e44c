"""How a network's noise levels, timesteps, inputs and outputs hang together, a class for each kind.

Sigma tables live on the CPU in float32; timesteps are rounded to the table, as trained.
"""

import copy
import math
from typing import Final, Self

import torch
from torch import Tensor

STEPS: Final = 1000  # noise levels a Stable Diffusion network was trained with
MAX_T: Final = STEPS - 1
ENDLESS_SIGMA: Final = 999999999.9  # "before the first step"
SDXL_LATENT_SCALE: Final = 0.13025
EDM_DATA: Final = 0.5
LCM_DATA: Final = 0.5
LCM_TIME_SCALE: Final = 10.0
DISTILLED_STEPS: Final = 50

# Published with Playground v2.5: its VAE's latent statistics, channel by channel.
PLAYGROUND_MEAN: Final = (-1.6574, 1.886, -1.383, 2.5155)
PLAYGROUND_STD: Final = (8.4927, 5.9022, 6.5498, 5.2299)


def training_alphas_bar() -> Tensor:
    """The share of signal left at each of the 1000 levels, float64 (scaled-linear betas)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0)


class ModelSampling:
    """Noise prediction over the 1000 training levels: SDXL and SD1.5 as published.

    ``latent_scale`` is the VAE's: what its latents are multiplied by for the network.
    """

    def __init__(self, latent_scale: float = SDXL_LATENT_SCALE) -> None:
        self.latent_scale = latent_scale
        alphas_bar = training_alphas_bar()
        self.alphas_bar: Tensor = alphas_bar.float()
        self._set_table(((1.0 - alphas_bar) / alphas_bar).sqrt().float())

    def _set_table(self, table: Tensor) -> None:
        self.table = table  # ascending
        self.log_table = table.log()

    @property
    def sigma_min(self) -> float:
        """The smallest level the network knows."""
        return float(self.table[0])

    @property
    def sigma_max(self) -> float:
        """The largest level the network knows."""
        return float(self.table[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time the network is told for ``sigma`` (any shape), rounded to its table; float32."""
        return self._nearest(sigma).float()

    def sigma(self, timestep: Tensor) -> Tensor:
        """The level at a time: linear in ln sigma between entries, clamped to the table."""
        position = self._position(timestep.float()).clamp(0, len(self.table) - 1)
        low, high = position.floor().long(), position.ceil().long()
        weight = position.frac()
        return ((1 - weight) * self.log_table[low] + weight * self.log_table[high]).exp()

    def sigma_at(self, fraction: float) -> float:
        """The level when ``fraction`` of the way from noise to picture is done."""
        if fraction <= 0.0:
            return ENDLESS_SIGMA
        if fraction >= 1.0:
            return 0.0
        return float(self.sigma(torch.tensor((1.0 - fraction) * MAX_T)))

    def progress(self, sigma: Tensor) -> float:
        """0 at full noise, 1 at the last training level; guidance changes with it."""
        return float(1.0 - self.timestep(sigma) / MAX_T)

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``x`` at the variance the network expects."""
        return x / (sigma**2 + 1.0) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The clean latent that the network's ``output`` for ``x`` means."""
        return x - output * sigma

    def to_model(self, latent: Tensor) -> Tensor:
        """From the VAE's space to the network's."""
        return latent * self.latent_scale

    def from_model(self, x: Tensor) -> Tensor:
        """From the network's space to the VAE's."""
        return x / self.latent_scale

    def rescaled(self, latent_scale: float) -> Self:
        """The same for the latents of another VAE."""
        other = copy.copy(self)
        other.latent_scale = latent_scale
        return other

    def _nearest(self, sigma: Tensor) -> Tensor:
        distance = sigma.log().reshape(-1, 1) - self.log_table
        return distance.abs().argmin(dim=1).reshape(sigma.shape)

    def _position(self, timestep: Tensor) -> Tensor:
        return timestep


class DistilledSampling(ModelSampling):
    """Noise prediction over every 20th level: networks distilled to few steps (TCD)."""

    def __init__(self) -> None:
        super().__init__()
        self.stride = STEPS // DISTILLED_STEPS
        self._set_table(self.table[self.stride - 1 :: self.stride])

    def timestep(self, sigma: Tensor) -> Tensor:
        """The training time of the nearest kept level."""
        return (self._nearest(sigma) * self.stride + self.stride - 1).float()

    def _position(self, timestep: Tensor) -> Tensor:
        return (timestep - (self.stride - 1)) / self.stride


class LcmSampling(DistilledSampling):
    """Latent consistency models: the guess is mixed with ``x`` by time (arXiv:2310.04378)."""

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The consistency function of the network's ``output``."""
        scaled = self.timestep(sigma) * LCM_TIME_SCALE
        spread = scaled**2 + LCM_DATA**2
        c_skip, c_out = LCM_DATA**2 / spread, scaled / spread**0.5
        return c_out * super().denoised(x, output, sigma) + c_skip * x


class EdmSampling(ModelSampling):
    """Preconditioning of Karras et al. 2022, as Playground v2.5 was trained: sigma 0.002 to 120."""

    def __init__(self) -> None:
        super().__init__()
        self._set_table(torch.linspace(math.log(0.002), math.log(120.0), STEPS).exp())

    def timestep(self, sigma: Tensor) -> Tensor:
        """Not rounded: the network is told ln(sigma) / 4."""
        return 0.25 * sigma.log()

    def sigma(self, timestep: Tensor) -> Tensor:
        """The inverse of ``timestep``."""
        return (timestep / 0.25).exp()

    def sigma_at(self, fraction: float) -> float:
        """Linear in ln sigma over the whole range."""
        if fraction <= 0.0:
            return ENDLESS_SIGMA
        if fraction >= 1.0:
            return 0.0
        log_min, log_max = math.log(self.sigma_min), math.log(self.sigma_max)
        return math.exp(log_min + (log_max - log_min) * (1.0 - fraction))

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``x`` at unit variance."""
        return x / (sigma**2 + EDM_DATA**2) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """Skip and output weights of the paper's table 1."""
        spread = sigma**2 + EDM_DATA**2
        return x * EDM_DATA**2 / spread + output * sigma * EDM_DATA / spread**0.5

    def to_model(self, latent: Tensor) -> Tensor:
        """Standardised channel by channel, to the data's standard deviation of 0.5."""
        mean, std = _channels(PLAYGROUND_MEAN, latent), _channels(PLAYGROUND_STD, latent)
        return (latent - mean) * EDM_DATA / std

    def from_model(self, x: Tensor) -> Tensor:
        """The inverse of ``to_model``."""
        return x * _channels(PLAYGROUND_STD, x) / EDM_DATA + _channels(PLAYGROUND_MEAN, x)


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).view(1, -1, 1, 1)


def model_sampling_for(scheduler: str) -> ModelSampling:
    """The kind of sampling that a scheduler name asks for; most ask for the ordinary one."""
    kinds: dict[str, type[ModelSampling]] = {
        "lcm": LcmSampling,
        "tcd": DistilledSampling,
        "edm_playground_v2.5": EdmSampling,
    }
    return kinds.get(scheduler, ModelSampling)()
