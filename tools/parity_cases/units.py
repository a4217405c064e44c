"""Cases that need no sampler: tables, noise, sizes, FreeU, single calls of the network."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor

from pipeline.adapters.freeu import freeu_scales, quieten, strengthen
from pipeline.request.sampling import FreeU, Guidance, SamplingSettings
from pipeline.sampling.adm import RefinerSizes, SdxlSizes, SizeIds
from pipeline.sampling.anisotropic import anisotropic_blur
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.noise import ImageNoise
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.sampling.sigmas import SCHEDULES, requested_sigmas, schedule_sigmas
from tools.parity_cases.compare import LeftOut, Results
from tools.parity_cases.fixtures import CPU, Case, Fixtures
from tools.parity_cases.sizes import folder_size, size_of

# The reference silently walks `normal` for these names; this project does what they say.
OWN_MEANING: Final = frozenset({"turbo", "align_your_steps"})


def read_guidance(params: Mapping[str, Any]) -> Guidance:
    """A case's guidance; names as the index has them."""
    settings = params["settings"]
    return Guidance(
        cfg=params.get("cfg", 4.0),
        sharpness=settings["sharpness"],
        adaptive_cfg=settings["adaptive_cfg"],
        adm_scaler_positive=settings["positive_adm_scale"],
        adm_scaler_negative=settings["negative_adm_scale"],
        adm_scaler_end=settings["adm_scaler_end"],
    )


def read_conditioning(fixtures: Fixtures, name: str) -> Conditioning:
    """A shared prompt such as ``pos_154``."""
    side = name.split("_", maxsplit=1)[0]
    return Conditioning(fixtures.unit(f"in.{name}"), fixtures.unit(f"in.{side}_pooled"))


def sigmas(case: Case, fixtures: Fixtures) -> Results:
    """Every schedule that the file holds for a scheduler name."""
    name = case.params["scheduler"]
    levels = ModelSampling().under(name).levels
    results: dict[str, Any] = {}
    for key in fixtures.tensors(case.file):
        scheduler, steps, denoise, sampler, asked = _split_key(key)
        if scheduler != name:
            continue
        if name in OWN_MEANING and not asked:
            results[key] = LeftOut("the walked schedule is the reference's fallback to normal")
            continue
        compute = requested_sigmas if asked else schedule_sigmas
        settings = SamplingSettings(sampler=sampler, scheduler=name, steps=steps, denoise=denoise)
        results[key] = compute(settings, levels)
    return results


def _split_key(key: str) -> tuple[str, int, float, str, bool]:
    """``karras.12.0.5.euler.asked`` in its parts; scheduler names and numbers hold dots too."""
    bare, asked = key.removesuffix(".asked"), key.endswith(".asked")
    scheduler = next(name for name in SCHEDULES if bare.startswith(f"{name}."))
    steps, _, rest = bare[len(scheduler) + 1 :].partition(".")
    denoise, _, sampler = rest.rpartition(".")
    return scheduler, int(steps), float(denoise), sampler, asked


def model_sampling(case: Case, fixtures: Fixtures) -> Results:
    """A sigma table and its maps; with a scheduler name, those of its kind of network."""
    scheduler = case.params.get("scheduler")
    parametrisation = ModelSampling().under(scheduler or "").parametrisation
    levels = parametrisation.levels
    times = levels.timestep(fixtures.unit("timestep.sigma_in"))
    if scheduler is None:
        fractions = fixtures.unit("percent.in").tolist()
        return {
            "model_sampling.sigmas": levels.table,
            "timestep.out": times,
            "sigma_of_t.out": levels.sigma(fixtures.unit("sigma_of_t.in")),
            "percent.sigma": torch.tensor(
                [levels.sigma_at(fraction) for fraction in fractions], dtype=torch.float64
            ),
        }
    sigma = torch.tensor(2.0)
    x, output = 3 * fixtures.unit("in.x_unit"), fixtures.unit("in.init_latent")
    return {
        f"ms.{scheduler}.sigmas": levels.table,
        f"ms.{scheduler}.timestep.out": times,
        f"ms.{scheduler}.input": parametrisation.model_input(x, sigma),
        f"ms.{scheduler}.denoised": parametrisation.denoised(x, output, sigma),
    }


def noise(case: Case, fixtures: Fixtures) -> Results:
    """The first noise of a seed, and what an ancestral sampler draws next."""
    seed = case.params["seed"]
    shape = fixtures.tensors(case.file)[f"noise.{seed}"].shape
    source = ImageNoise(seed, shape, CPU, CPU)
    here = torch.zeros(())
    return {
        f"noise.{seed}": source.initial,
        f"noise.{seed}.next": source.fresh(here, here),
    }


def brownian(case: Case, fixtures: Fixtures) -> Results:
    """Increments along one path over a schedule."""
    seed, key = case.params["seed"], f"brownian.{case.params['seed']}"
    shape = fixtures.unit(f"{key}.0").shape
    path = ImageNoise(seed, shape, CPU, CPU).brownian(
        case.params["sigma_min"], case.params["sigma_max"]
    )
    levels = fixtures.unit(f"{key}.sigmas")
    increments = {f"{key}.{i}": path(levels[i], levels[i + 1]) for i in range(len(levels) - 2)}
    return {**increments, f"{key}.sigmas": LeftOut("an input")}


def _size_vector(ids: SizeIds) -> Tensor:
    """The numbers as the network embeds them: 256 features each."""
    embedded: Tensor = get_timestep_embedding(torch.tensor(ids).float(), 256, True, 0)
    return embedded.flatten()[None]


def adm(case: Case, fixtures: Fixtures) -> Results:
    """Pooled prompt and sizes, scaled then plain, for one prompt."""
    params, pooled = case.params, fixtures.unit("in.pos_pooled")
    guidance = Guidance(
        adm_scaler_positive=params["positive_adm_scale"],
        adm_scaler_negative=params["negative_adm_scale"],
    )
    sizes = SdxlSizes(params["width"], params["height"], guidance)
    positive = params["prompt_type"] == "positive"
    scaled = _size_vector(sizes.ids(positive=positive, scaled=True))
    plain = _size_vector(sizes.ids(positive=positive, scaled=False))
    return {case.outputs[0]: torch.cat([pooled, scaled, pooled, plain], dim=1)}


def refiner_adm(case: Case, fixtures: Fixtures) -> Results:
    """The refiner's vector for both prompts."""
    size = folder_size(fixtures, case.params)
    sizes = RefinerSizes(size.width, size.height)
    return {
        f"adm.refiner.{side}": torch.cat(
            [
                fixtures.unit(f"in.{side[:3]}_pooled"),
                _size_vector(sizes.ids(positive=side == "positive", scaled=False)),
            ],
            dim=1,
        )
        for side in ("positive", "negative")
    }


def timed_adm(case: Case, fixtures: Fixtures) -> Results:
    """Which of the two vectors is told at a time."""
    results: dict[str, Any] = {}
    for key in fixtures.tensors(case.file):
        if key.startswith("timed_adm."):
            end, _, timestep = key.removeprefix("timed_adm.").rpartition(".")
            sizes = SdxlSizes(64, 64, Guidance(adm_scaler_end=float(end)))
            results[key] = torch.tensor([float(sizes.scaled_at(float(timestep)))])
    return results


def freeu(case: Case, fixtures: Fixtures) -> Results:
    """One decoder layer's entry."""
    key = case.id.removeprefix("units.")
    h, skip = fixtures.unit(f"{key}.h"), fixtures.unit(f"{key}.skip")
    settings = FreeU(*(case.params[name] for name in ("b1", "b2", "s1", "s2")))
    unet = fixtures.json("models.json")["unet"]["fooocus_unet_config"]
    scales = freeu_scales(settings, h.shape[1], unet["model_channels"])
    backbone, low = scales or (1.0, 1.0)
    return {f"{key}.h_out": strengthen(h, backbone), f"{key}.skip_out": quieten(skip, low)}


def one_call(case: Case, fixtures: Fixtures) -> Results:
    """One call of the network, or one guided guess, at a noise level."""
    params = case.params
    pooled = fixtures.unit("in.pos_pooled")
    key = case.inputs[0]
    x, sigma = fixtures.unit(key), torch.tensor(params["sigma"])
    size = size_of(x.shape, params)
    guidance = read_guidance(params)
    denoiser = Denoiser(
        fixtures.unet(),
        ModelSampling(),
        Conditioning(fixtures.unit("in.pos_77"), pooled),
        read_conditioning(fixtures, "neg_77"),
        guidance,
        SdxlSizes(size.width, size.height, guidance),
    )
    with torch.inference_mode():
        if case.id.startswith("units.apply_model."):
            return {case.outputs[0]: torch.cat(denoiser.predict_both(x, sigma))}
        return {case.outputs[0]: denoiser(x, sigma)}


def anisotropic(case: Case, fixtures: Fixtures) -> Results:
    """The filter with a guide, and guided by itself."""
    stored = fixtures.tensors(case.file)
    x, guide = stored[f"{case.id}.x"], stored[f"{case.id}.guide"]
    return {
        f"{case.id}.out": anisotropic_blur(x, guide),
        f"{case.id}.self": anisotropic_blur(x, x),
    }


RUNNERS = {
    "sigmas.": sigmas,
    "units.model_sampling": model_sampling,
    "units.noise.": noise,
    "units.brownian.": brownian,
    "units.adm.": adm,
    "units.adm.refiner": refiner_adm,
    "units.timed_adm": timed_adm,
    "units.freeu.": freeu,
    "units.apply_model.": one_call,
    "units.guidance.": one_call,
    "aniso.": anisotropic,
}
