"""Cases of a whole request: from what was asked to the calls that sample, and to the picture."""

import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from safetensors.torch import save_file

from pipeline.engine.sdxl import SdxlPipeline, decode
from pipeline.images.encode import encode_image
from pipeline.metadata.record import ModelHashes
from pipeline.metadata.write import metadata_text
from pipeline.models.checkpoint import Checkpoint, load_checkpoint
from pipeline.request.choices import NO_MODEL
from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.plan import ImagePlan, plan_images
from pipeline.request.presets import Preset, preset_values
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import resolve_params
from pipeline.request.sampling import SamplingSettings
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.sampling.diffusion import sample
from pipeline.sampling.noise_levels import DistilledLevels
from pipeline.sampling.parametrisation import ModelSampling, NoisePrediction, Parametrisation
from pipeline.sampling.sigmas import SCHEDULES, make_sigmas
from pipeline.weights.lora import ChosenLora
from tools.parity_cases.compare import LeftOut, Results
from tools.parity_cases.fixtures import CPU, Case, Fixtures, unet_config
from tools.parity_cases.sizes import thinned
from tools.parity_cases.starts import call_facts, picture_fields, read_start
from tools.parity_cases.text import clip_config
from tools.parity_cases.vae import vae_config

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = PromptSources(StyleLibrary(ROOT / "sdxl_styles"), Wildcards(ROOT / "wildcards"))

# The reference's name of a setting -> the request's field.
FIELDS: Final[Mapping[str, str]] = {
    "prompt": "prompt",
    "neg": "negative_prompt",
    "styles": "style_selections",
    "perf": "performance_selection",
    "ar": "aspect_ratios_selection",
    "n": "image_number",
    "fmt": "output_format",
    "order": "read_wildcards_in_order",
    "sharp": "sharpness",
    "cfg": "guidance_scale",
    "base": "base_model_name",
    "refiner": "refiner_model_name",
    "refswitch": "refiner_switch",
    "noinc": "disable_seed_increment",
    "admp": "adm_scaler_positive",
    "admn": "adm_scaler_negative",
    "adme": "adm_scaler_end",
    "adapt": "adaptive_cfg",
    "skip": "clip_skip",
    "sampler": "sampler_name",
    "sched": "scheduler_name",
    "vae": "vae_name",
    "ostep": "overwrite_step",
    "oswitch": "overwrite_switch",
    "ow": "overwrite_width",
    "oh": "overwrite_height",
    "swap": "refiner_swap_method",
    "soft": "controlnet_softness",
    "freeu": "freeu_enabled",
    "b1": "freeu_b1",
    "b2": "freeu_b2",
    "s1": "freeu_s1",
    "s2": "freeu_s2",
    "meta": "save_metadata_to_images",
    "scheme": "metadata_scheme",
}
_NO_PICTURES: Final = LeftOut("a run without pictures has none of what is compared")
_NO_SHAPE: Final = LeftOut("lengths depend on the reference's style texts and expansion stand-in")


def read_request(settings: Mapping[str, Any]) -> GenerateParams:
    """The request that asks what the case asked. Its pictures are named, not there."""
    fields = {field: settings[name] for name, field in FIELDS.items()}
    if settings["input"]:
        fields |= picture_fields(settings)
    loras = preset_values(Preset(default_loras=settings["loras"]))  # as a preset has them
    return params_from({**fields, "image_seed": int(settings["seed"]), **loras})


def calls(case: Case, fixtures: Fixtures) -> Results:
    """What each picture's plan has the sampler do."""
    params = read_request(case.params)
    plans = _plans(params, fixtures)
    start = read_start(case.params, params, plans[0].seed)
    if start is not None and start.finished is not None:
        return {"results": len(plans)}
    recorded = _calls(params, plans, fixtures)
    if start is None:
        return recorded
    return {name: call | call_facts(plans[0], start) for name, call in recorded.items()}


def _plans(params: GenerateParams, fixtures: Fixtures) -> list[ImagePlan]:
    """The plans of a request on a machine whose LoRAs are the folder's files."""
    files = sorted(path.name for path in fixtures.folder.glob("*.safetensors"))
    return plan_images(resolve_params(params, known_loras=files), SOURCES)


def _calls(params: GenerateParams, plans: Sequence[ImagePlan], fixtures: Fixtures) -> Results:
    return {f"call.{plan.index}": _call(plan, params, fixtures) for plan in plans}


def _call(plan: ImagePlan, params: GenerateParams, fixtures: Fixtures) -> dict[str, Any]:
    run = SamplingSettings(
        sampler=plan.sampling.sampler,
        scheduler=plan.sampling.scheduler,
        steps=plan.sampling.steps,
        seed=plan.seed,
        denoise=plan.sampling.denoise,
    )
    sampling = ModelSampling().under(plan.sampling.scheduler)
    return {
        "steps": run.steps,
        "switch": plan.switch,
        "width": plan.size.native_width,
        "height": plan.size.native_height,
        "image_seed": run.seed,
        "sampler_name": run.sampler,
        "scheduler_name": _spacing(plan.sampling.scheduler),
        "denoise": run.denoise,
        "tiled": _NO_PICTURES,
        "cfg_scale": plan.guidance.cfg,
        "refiner_swap_method": plan.swap_method,
        "disable_preview": LeftOut("previews are drawn where a listener wants them"),
        "latent_shape": _NO_PICTURES,
        "patch_settings": {
            "sharpness": plan.guidance.sharpness,
            "adm_scaler_end": plan.guidance.adm_scaler_end,
            "positive_adm_scale": plan.guidance.adm_scaler_positive,
            "negative_adm_scale": plan.guidance.adm_scaler_negative,
            "controlnet_softness": params.controlnet_softness,
            "adaptive_cfg": plan.guidance.adaptive_cfg,
        },
        "refiner": None if plan.refiner == NO_MODEL else plan.refiner,
        "model_sampling": _model_sampling(sampling.parametrisation),
        "unet_patches": [] if plan.freeu is None else _NO_PICTURES,
        "base_loras": str(list(plan.loras)),
        "clip_layer": -plan.clip_skip,
        "inpaint_task": _NO_PICTURES,
        **_shapes(plan, params, fixtures),
        "same_cond": plan.negative_copies_positive,
    }


def _spacing(scheduler: str) -> str:
    """The first name of a schedule's formula: a kind of network with its own name shares one."""
    return next(name for name, formula in SCHEDULES.items() if formula is SCHEDULES[scheduler])


def _model_sampling(parametrisation: Parametrisation) -> Any:
    """The reference's names of the classes that replace a network's own kind of sampling."""
    if isinstance(parametrisation.levels, DistilledLevels):
        return ["ModelSamplingDiscreteDistilled+ModelSamplingDiscrete"]
    if isinstance(parametrisation, NoisePrediction):
        return []
    return LeftOut(f"{parametrisation.name} has no known name in the reference")


def _shapes(plan: ImagePlan, params: GenerateParams, fixtures: Fixtures) -> dict[str, Any]:
    """Shapes of both conditionings, where no text of the reference's files is in them."""
    if params.style_selections:
        return {"pos_shape": _NO_SHAPE, "neg_shape": _NO_SHAPE}
    with torch.inference_mode():
        positive, negative = SdxlPipeline(tiny_checkpoint(fixtures)).encode(plan)
    return {"pos_shape": list(positive.context.shape), "neg_shape": list(negative.context.shape)}


def tiny_checkpoint(fixtures: Fixtures) -> Checkpoint:
    """The folder's model, written as the single file that a user would have, and loaded."""
    described = fixtures.json("models.json")
    configs = {
        "unet": unet_config(described["unet"]),
        "vae": vae_config(described["vae"]),
        "text_encoder": clip_config(fixtures, "clip_l"),
        "text_encoder_2": clip_config(fixtures, "clip_g"),
    }
    tensors = {}
    for file in ("unet", "text_encoders", "vae"):
        tensors.update(fixtures.weights(f"{file}.safetensors"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, config in configs.items():
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file(tensors, folder / "tiny.safetensors")
        return load_checkpoint(folder / "tiny.safetensors", CPU, single_file_configs=folder)


@torch.inference_mode()
def pictures(case: Case, fixtures: Fixtures) -> Results:
    """The pictures of a request: what was called, latents, pixels, and the text inside the file."""
    params = read_request(case.params)
    plans = _plans(params, fixtures)
    if plans[0].refiner != NO_MODEL:
        raise NotImplementedError("no file stands for the refiner of a whole request")
    checkpoint = tiny_checkpoint(fixtures)
    loras = plans[0].loras
    checkpoint.loras.use([ChosenLora(name, fixtures.folder / name, w) for name, w in loras])
    pipeline = SdxlPipeline(checkpoint)
    results = dict(_calls(params, plans, fixtures))
    for plan in plans:
        name, recorded = f"{case.id}.{plan.index}", case.images[plan.index]
        denoise = pipeline.denoiser([plan])
        sigmas = make_sigmas(plan.sampling, denoise.model_sampling.levels)
        latent = sample(denoise, plan.sampling, sigmas, pipeline.noise([plan]), lambda *_: None)
        pixels = checkpoint.vae.decode(latent)[0].permute(1, 2, 0)
        results[f"{name}.latent"] = latent
        for figure in fixtures.tensors(case.file):
            if figure == f"{name}.image" or figure.startswith(f"{name}.image_s"):
                results[figure] = thinned(pixels, figure) * 255.0
        image = decode(checkpoint.vae, latent)
        results[f"image.{plan.index}"] = _picture(image, plan, params, recorded)
    return results


def _picture(
    image: Image.Image, plan: ImagePlan, params: GenerateParams, recorded: Mapping[str, Any]
) -> dict[str, Any]:
    """What a reader finds in the encoded file; the program's own name is the recorded one's."""
    files = [plan.model, *(name for name, _ in plan.loras)]
    text = metadata_text(plan, params, hashes=stand_in_hashes(files))
    version = json.loads(recorded["info"]["parameters"])["version"]
    text = json.dumps({**json.loads(text), "version": version}, sort_keys=True)
    data = encode_image(image, params.output_format, text, params.metadata_scheme)
    read = Image.open(io.BytesIO(data))
    return {
        "size": list(read.size),
        "mode": read.mode,
        "info": dict(read.info),
        "pixels_sha256": LeftOut("a hash does not say how near a picture is"),
    }


def stand_in_hashes(names: Iterable[str]) -> ModelHashes:
    """The figures' stand-in for a model file's hash: that of its name without folders."""
    hashes = {
        name: hashlib.sha256(name.rpartition("/")[2].encode()).hexdigest()[:10] for name in names
    }
    return ModelHashes(models=hashes, loras=hashes)


RUNNERS = {"cap.": calls, "e2e.": pictures}
