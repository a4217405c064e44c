"""Sampling runs of a stand-in for a network, for tests of samplers, refiners and inpainting."""

from torch import Tensor

from pipeline.request.sampling import SamplingSettings
from pipeline.sampling.diffusion import NetworkDenoise, sample
from pipeline.sampling.interface import OnStep
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.refiner import RefinerSwap, sample_with_refiner
from pipeline.sampling.sigmas import make_sigmas

SHAPE = (1, 4, 8, 8)
STEPS = 6


class Network:
    """Predicts a share of ``x`` and records its inputs."""

    def __init__(self, share: float = 0.5) -> None:
        self.model_sampling = ModelSampling()
        self.seen: list[tuple[Tensor, Tensor]] = []
        self._share = share

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.seen.append((x, sigma))
        return x * self._share / (1 + sigma)

    @property
    def asked(self) -> list[float]:
        """The noise levels of its calls."""
        return [float(sigma) for _, sigma in self.seen]


class Watcher:
    """A step callback that records the steps' numbers and their predictions."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.guesses: list[Tensor] = []

    def __call__(self, index: int, denoised: Tensor) -> None:
        self.told.append(index)
        self.guesses.append(denoised)


def run(
    denoise: NetworkDenoise,
    settings: SamplingSettings,
    on_step: OnStep,
    latent: Tensor | None = None,
) -> Tensor:
    """Sample with the noise of the settings' seed."""
    sigmas = make_sigmas(settings, denoise.model_sampling.levels)
    noise = ImageNoise(settings.seed, SHAPE)
    return sample(denoise, settings, sigmas, noise, on_step, latent)


def run_swap(
    swap: RefinerSwap,
    settings: SamplingSettings,
    on_step: OnStep,
    latent: Tensor | None = None,
) -> Tensor:
    """As ``run``, with a refiner."""
    return sample_with_refiner(swap, settings, ImageNoise(settings.seed, SHAPE), on_step, latent)


def run_of(sampler: str = "euler", denoise: float = 1.0) -> SamplingSettings:
    """Six steps of a sampler over Karras's schedule."""
    return SamplingSettings(
        sampler=sampler, scheduler="karras", steps=STEPS, seed=3, denoise=denoise
    )
