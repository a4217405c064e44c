"""Parametrisation: what a network predicts of a noisy latent, a class for each kind.

All work on x = x0 + sigma * noise; ``sigma`` is 0-d float32 on the CPU. Samplers and schedules do
not know these classes: they see a function from (x, sigma) to the guess of x0.
"""

from typing import ClassVar, Final, NamedTuple

from torch import Tensor

from pipeline.sampling.latent_format import PLAYGROUND, LatentFormat
from pipeline.sampling.noise_levels import (
    ContinuousLevels,
    DiscreteLevels,
    DistilledLevels,
    FlowLevels,
    NoiseLevels,
)

# Scheduler names that replace a network's own parametrisation.
LCM_SCHEDULER: Final = "lcm"
TCD_SCHEDULER: Final = "tcd"
PLAYGROUND_SCHEDULER: Final = "edm_playground_v2.5"
PLAYGROUND_SIGMAS: Final = (0.002, 120.0)
LCM_DATA: Final = 0.5
LCM_TIME_SCALE: Final = 10.0


class Parametrisation:
    """Noise levels, and the maps between the sampler's latents and the network's.

    ``trained`` are the checkpoint's own levels where a scheduler name replaces them: an image's
    Brownian path spans those, as in the reference.
    """

    name: ClassVar[str]

    def __init__(self, levels: NoiseLevels, trained: NoiseLevels | None = None) -> None:
        self.levels = levels
        self.trained = trained or levels

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        """``x`` as the network expects it: here, and for most, at unit variance."""
        return x / (sigma**2 + 1.0) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        """The guess of the clean latent that the network's ``output`` for ``x`` stands for."""
        raise NotImplementedError

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        """The inverse of ``denoised``: the output that stands for a guess."""
        raise NotImplementedError


class NoisePrediction(Parametrisation):
    """The network predicts the noise (eps): Stable Diffusion and SDXL as published."""

    name = "noise prediction"

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        return x - output * sigma

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        return (x - denoised) / sigma


class VPrediction(Parametrisation):
    """The network predicts v = alpha * noise - sigma * x0, variance preserving
    (arXiv:2202.00512)."""

    name = "v-prediction"

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        return x / (sigma**2 + 1.0) - output * sigma / (sigma**2 + 1.0) ** 0.5

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        return (x / (sigma**2 + 1.0) - denoised) * (sigma**2 + 1.0) ** 0.5 / sigma


class EdmPrediction(Parametrisation):
    """Preconditioning of Karras et al. 2022 (arXiv:2206.00364, table 1).

    ``data_std`` is the standard deviation of the data. ``v`` is for networks with the opposite sign
    (CosXL), which predict v where ``data_std`` is 1.
    """

    name = "EDM"

    def __init__(
        self,
        levels: NoiseLevels,
        trained: NoiseLevels | None = None,
        *,
        data_std: float = 0.5,
        v: bool = False,
    ) -> None:
        super().__init__(levels, trained)
        self._data = data_std
        self._sign = -1.0 if v else 1.0

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x / (sigma**2 + self._data**2) ** 0.5

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        spread = sigma**2 + self._data**2
        return x * self._data**2 / spread + output * (self._sign * sigma * self._data / spread**0.5)

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        spread = sigma**2 + self._data**2
        rest = denoised - x * self._data**2 / spread
        return rest / (self._sign * sigma * self._data / spread**0.5)


class LatentConsistency(Parametrisation):
    """Noise prediction mixed with ``x`` by time: a consistency function (arXiv:2310.04378)."""

    name = "latent consistency"

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        skip, out = self._weights(sigma)
        return out * (x - output * sigma) + skip * x

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        skip, out = self._weights(sigma)
        return (x - (denoised - skip * x) / out) / sigma

    def _weights(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self.levels.timestep(sigma) * LCM_TIME_SCALE
        spread = scaled**2 + LCM_DATA**2
        return LCM_DATA**2 / spread, scaled / spread**0.5


class FlowPrediction(Parametrisation):
    """A rectified flow: the network predicts noise - x0 (arXiv:2403.03206)."""

    name = "flow matching"

    levels: FlowLevels

    def __init__(self, levels: FlowLevels, trained: NoiseLevels | None = None) -> None:
        super().__init__(levels, trained)

    def model_input(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x * self._share(sigma)

    def denoised(self, x: Tensor, output: Tensor, sigma: Tensor) -> Tensor:
        return x * self._share(sigma) - output * self.levels.time(sigma)

    def output(self, x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        return (x * self._share(sigma) - denoised) / self.levels.time(sigma)

    def _share(self, sigma: Tensor) -> Tensor:
        """1 - t, also at the largest level, where t is 1 and x stands for noise alone."""
        return self.levels.time(sigma) / sigma


class ModelSampling(NamedTuple):
    """How a network is sampled: both belong to its checkpoint. The defaults are SDXL's."""

    parametrisation: Parametrisation = NoisePrediction(DiscreteLevels())
    latents: LatentFormat = LatentFormat()

    @property
    def levels(self) -> NoiseLevels:
        """The network's noise levels."""
        return self.parametrisation.levels

    def under(self, scheduler: str) -> "ModelSampling":
        """The same, or what a scheduler name stands for in its place, as in the reference.

        ``lcm`` and ``tcd`` are for LoRAs that distil a model to few steps, and
        ``edm_playground_v2.5`` is for files of that model, which do not say what they are.
        """
        trained = self.parametrisation.trained
        if scheduler == LCM_SCHEDULER:
            return self._replace(parametrisation=LatentConsistency(DistilledLevels(), trained))
        if scheduler == TCD_SCHEDULER:
            return self._replace(parametrisation=NoisePrediction(DistilledLevels(), trained))
        if scheduler == PLAYGROUND_SCHEDULER:
            levels = ContinuousLevels(*PLAYGROUND_SIGMAS)
            return ModelSampling(EdmPrediction(levels, trained), PLAYGROUND)
        return self
