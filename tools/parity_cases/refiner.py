"""Cases in which a second network takes over from the small one."""

from contextlib import ExitStack
from typing import Final

from pipeline.adapters.freeu import freeu_applied
from pipeline.models.refiner import Refiner, refiner_denoiser
from pipeline.request.sampling import FreeU
from pipeline.sampling.denoiser import Denoiser
from pipeline.sampling.diffusion import NetworkDenoise
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.refiner import RefinerSwap, sample_with_refiner
from pipeline.weights.lora import LoraStack
from pipeline.weights.lora_names import LoraModules
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sampling import DEFAULTS, KNOWN, make_denoiser, make_run
from tools.parity_cases.sizes import run_size

_KNOWN: Final = KNOWN | {"refiner", "switch", "swap"}


def relay(case: Case, fixtures: Fixtures) -> Results:
    """A whole run of two networks. Raises NotImplementedError."""
    unknown = case.params.keys() - DEFAULTS.keys() - _KNOWN
    if unknown:
        raise NotImplementedError(f"nothing here honours {', '.join(sorted(unknown))} yet")
    params = {**DEFAULTS, **case.params}
    unet = fixtures.unet()
    base = make_denoiser(case, fixtures, unet)
    runners = RefinerSwap(base, _second(case, fixtures, base), params["switch"], params["swap"])
    latent = fixtures.unit("in.init_latent") if "latent" in params else None
    settings = make_run(params)
    shape = run_size(case, fixtures).latent
    with ExitStack() as patches:
        if "freeu" in params:
            patches.enter_context(freeu_applied(unet.module, FreeU(*params["freeu"])))
        made = sample_with_refiner(
            runners, settings, ImageNoise(settings.seed, shape), lambda _i, _d: None, latent
        )
    return {case.outputs[0]: made}


def _second(case: Case, fixtures: Fixtures, base: Denoiser) -> NetworkDenoise:
    """The network that the case's name tells."""
    if "refiner" not in case.params:
        return base
    if case.id.startswith("refiner.xlrefiner."):
        unet = fixtures.unet("unet_refiner.safetensors", "unet_refiner")
    elif case.id.startswith("refiner.second."):
        unet = fixtures.unet(delta="unet_second_delta.safetensors")
    else:
        raise NotImplementedError("the case's name tells no network known here")
    loras = LoraStack(LoraModules(unet.module), in_place=False)
    scheduler = {**DEFAULTS, **case.params}["scheduler"]
    return refiner_denoiser(Refiner(unet, loras), base, scheduler)


RUNNERS = {"refiner.": relay}
