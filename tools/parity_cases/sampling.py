"""Cases that run a sampler over the small network: samplers, schedules, guidance."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.adapters.freeu import freeu_applied
from pipeline.adapters.inpaint_head import InpaintHead
from pipeline.models.unet import UNet
from pipeline.request.sampling import FreeU, SamplingSettings
from pipeline.sampling.adm import SdxlSizes
from pipeline.sampling.denoiser import Denoiser
from pipeline.sampling.diffusion import NetworkDenoise
from pipeline.sampling.diffusion import sample as run_sampler
from pipeline.sampling.inpainting import Inpainting, MaskedDenoise, feature_added
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.sigmas import make_sigmas
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sizes import run_size
from tools.parity_cases.units import read_conditioning, read_guidance

DEFAULTS: Final[Mapping[str, Any]] = {
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "steps": 12,
    "cfg": 4.0,
    "seed": 12345,
    "denoise": 1.0,
    "pos": "pos_77",
    "neg": "neg_77",
    "settings": {
        "sharpness": 2.0,
        "adm_scaler_end": 0.3,
        "positive_adm_scale": 1.5,
        "negative_adm_scale": 0.8,
        "adaptive_cfg": 7.0,
    },
}
SIZES: Final = frozenset({"height", "width"})  # of the latent where a case does not name them
KNOWN: Final = SIZES | {"freeu", "latent"}  # beside those that have a default
_OF_INPAINT: Final = frozenset({"keep_task", "unet_hook"})


class Trace:
    """Keeps what a run's callbacks are told, and the latent it was told about."""

    def __init__(self, denoiser: NetworkDenoise) -> None:
        self.model_sampling = denoiser.model_sampling
        self._denoiser = denoiser
        self._last: list[Tensor] = []
        self.x: list[Tensor] = []
        self.x0: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoise, as the sampler asks."""
        self._last = [x]
        return self._denoiser(x, sigma)

    def on_step(self, _index: int, denoised: Tensor) -> None:
        """A callback."""
        self.x.extend(self._last)
        self.x0.append(denoised)


def make_denoiser(case: Case, fixtures: Fixtures, unet: UNet) -> Denoiser:
    """The case's prompts and guidance around a network."""
    params, size = {**DEFAULTS, **case.params}, run_size(case, fixtures)
    guidance = read_guidance(params)
    return Denoiser(
        unet,
        ModelSampling().under(params["scheduler"]),
        read_conditioning(fixtures, params["pos"]),
        read_conditioning(fixtures, params["neg"]),
        guidance,
        SdxlSizes(size.width, size.height, guidance),
    )


def make_run(params: Mapping[str, Any]) -> SamplingSettings:
    """The case's walk."""
    return SamplingSettings(
        sampler=params["sampler"],
        scheduler=params["scheduler"],
        steps=params["steps"],
        seed=params["seed"],
        denoise=params["denoise"],
    )


def sample(case: Case, fixtures: Fixtures) -> Results:
    """A whole run, with the traces that the case asks for. Raises NotImplementedError."""
    unknown = case.params.keys() - DEFAULTS.keys() - KNOWN - _OF_INPAINT
    if unknown:
        raise NotImplementedError(f"nothing here honours {', '.join(sorted(unknown))} yet")
    params = {**DEFAULTS, **case.params}
    unet = fixtures.unet()
    denoiser: NetworkDenoise = make_denoiser(case, fixtures, unet)
    inpainting = read_inpainting(fixtures) if "keep_task" in params else None
    if inpainting is not None:
        denoiser = MaskedDenoise(denoiser, denoiser.model_sampling, inpainting, params["seed"])
    trace = Trace(denoiser)
    began = inpainting.latent if inpainting else fixtures.unit("in.init_latent")
    latent = began if "latent" in params else None
    settings = make_run(params)
    sigmas = make_sigmas(settings, denoiser.model_sampling.levels)
    shape = run_size(case, fixtures).latent
    with ExitStack() as patches:
        if "freeu" in params:
            patches.enter_context(freeu_applied(unet.module, FreeU(*params["freeu"])))
        if "unet_hook" in params and inpainting is not None:
            feature = _head_feature(fixtures, inpainting)
            patches.enter_context(feature_added(unet.module, feature))
        noise = ImageNoise(settings.seed, shape)
        made = run_sampler(trace, settings, sigmas, noise, trace.on_step, latent)
    return _with_traces(case, fixtures, made, trace)


def read_inpainting(fixtures: Fixtures) -> Inpainting:
    """What is kept of the latent that the inpaint cases begin from."""
    return Inpainting(fixtures.unit("in.inpaint_latent"), fixtures.unit("in.inpaint_mask"))


def _head_feature(fixtures: Fixtures, inpainting: Inpainting) -> Tensor:
    head = InpaintHead(fixtures.unit("in.inpaint_head"))
    surroundings = Inpainting(fixtures.unit("in.init_latent"), inpainting.mask)
    return head.feature(surroundings, ModelSampling().latents)


def _with_traces(case: Case, fixtures: Fixtures, made: Tensor, trace: Trace) -> Results:
    results = {case.outputs[0]: made}
    figures = fixtures.tensors(case.file)
    for name in case.outputs[1:]:
        kept = trace.x0 if name.endswith("x0") else trace.x
        results[name] = torch.cat(kept[: len(figures[name])])
    return results


RUNNERS = {
    "sampler.": sample,
    "scheduler.": sample,
    "steps.": sample,
    "explicit.": sample,
    "guid.": sample,
}
