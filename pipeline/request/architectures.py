"""Architectures that diffusers' own pipelines run, and which parameters act with each.

A checkpoint folder names its pipeline class in ``model_index.json``. SDXL's classes are not here:
they run the Fooocus way, where every parameter acts.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.request.choices import DEFAULT_VAE, NO_MODEL
from pipeline.request.schema import GenerateParams

SDXL_CLASSES: Final = frozenset(
    {
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    }
)


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A family of models with one text-to-image pipeline class and its image-input twins."""

    name: str  # as people call it
    pipeline: str  # diffusers' text-to-image class
    image_to_image: str = ""  # its twin for vary and upscale; "" for none
    inpaint: str = ""
    guidance: str = "guidance_scale"  # the argument that guidance_scale becomes; "" for none
    negative: bool = True  # whether the pipeline takes a negative prompt
    rescale: bool = False  # whether it takes guidance_rescale
    patch: int = 2  # latent cells a token, each way: with the VAE's factor, the grid of its sizes
    grid: int = 8  # pixels that the pipeline's own check of sizes counts in


class FolderModel(msgspec.Struct, frozen=True):
    """A checkpoint folder that a pipeline of diffusers runs."""

    architecture: Architecture
    grid: int  # pixels: its sizes are whole multiples


def _with_twins(name: str, stem: str, **options: object) -> Architecture:
    facts = {
        "name": name,
        "pipeline": f"{stem}Pipeline",
        "image_to_image": f"{stem}Img2ImgPipeline",
        "inpaint": f"{stem}InpaintPipeline",
        **options,
    }
    return msgspec.convert(facts, Architecture)


_ARCHITECTURES: Final = (
    _with_twins("Stable Diffusion 1 and 2", "StableDiffusion", rescale=True, patch=1),
    _with_twins("Stable Diffusion 3", "StableDiffusion3"),
    _with_twins("Flux.1", "Flux", negative=False),
    Architecture(name="Flux.2", pipeline="Flux2Pipeline", negative=False),
    Architecture(name="Flux.2 Klein", pipeline="Flux2KleinPipeline", negative=False),
    _with_twins("Qwen-Image", "QwenImage", guidance="true_cfg_scale"),
    _with_twins("Z-Image", "ZImage"),
    # Its inpainting asks the network's configuration for what it has not (diffusers 0.42.1).
    _with_twins("Chroma", "Chroma", inpaint=""),
    Architecture(name="Sana", pipeline="SanaPipeline", patch=1, grid=32),
    Architecture(name="Lumina", pipeline="LuminaPipeline"),
    Architecture(name="Lumina 2", pipeline="Lumina2Pipeline"),
    Architecture(name="PixArt-alpha", pipeline="PixArtAlphaPipeline"),
    Architecture(name="PixArt-sigma", pipeline="PixArtSigmaPipeline"),
    Architecture(name="AuraFlow", pipeline="AuraFlowPipeline"),
    Architecture(name="CogView 4", pipeline="CogView4Pipeline"),
    Architecture(name="Hunyuan-DiT", pipeline="HunyuanDiTPipeline", rescale=True),
    Architecture(
        name="Latent Consistency Model",
        pipeline="LatentConsistencyModelPipeline",
        image_to_image="LatentConsistencyModelImg2ImgPipeline",
        negative=False,
        patch=1,
    ),
)
_BY_CLASS: Final = {
    pipeline: each
    for each in _ARCHITECTURES
    for pipeline in (each.pipeline, each.image_to_image, each.inpaint)
    if pipeline
}

_ALWAYS: Final = (
    "prompt",
    "style_selections",
    "prompt_expansion",
    "performance_selection",
    "aspect_ratios_selection",
    "image_number",
    "output_format",
    "image_seed",
    "read_wildcards_in_order",
    "base_model_name",
    "input_image_checkbox",
    "current_tab",
    "disable_preview",
    "disable_intermediate_results",
    "disable_seed_increment",
    "black_out_nsfw",
    "overwrite_step",
    "overwrite_width",
    "overwrite_height",
    "save_metadata_to_images",
    "metadata_scheme",
    "generate_image_grid",
    "preset",
)
_OF_IMAGE_TO_IMAGE: Final = (
    "uov_method",
    "upscale_multiple",
    "upscale_model",
    "uov_input_image",
    "overwrite_vary_strength",
    "overwrite_upscale_strength",
)
_OF_INPAINT: Final = (
    "outpaint_selections",
    "outpaint_distance",
    "inpaint_input_image",
    "inpaint_mask_image_upload",
    "inpaint_additional_prompt",
    "inpaint_strength",
    "inpaint_respective_field",
    "inpaint_mask_upload_checkbox",
    "inpaint_advanced_masking_checkbox",
    "invert_mask_checkbox",
    "inpaint_erode_or_dilate",
)
# What a request cannot mean without: it is refused. Other fields are only told to do nothing.
_REFUSED: Final = (
    "uov_input_image",
    "inpaint_input_image",
    "controlnet_image",
    "enhance_input_image",
    "enhance_checkbox",
    "refiner_model_name",
    "vae_name",
    "loras",
    "freeu_enabled",
)
_DEFAULTS: Final = GenerateParams()
# What a preset of another model may have set, as none of these pipelines has it.
_WITHOUT: Final[dict[str, object]] = {
    "refiner_model_name": NO_MODEL,
    "vae_name": DEFAULT_VAE,
    "loras": (),
    "freeu_enabled": False,
    "enhance_checkbox": False,
    "inpaint_engine": "None",
    "controlnet_image": (),
}


def architecture_of(pipeline: str) -> Architecture | None:
    """The architecture of a pipeline class; None for SDXL's.

    A class that is not listed gets one of its own without image inputs.
    """
    if pipeline in SDXL_CLASSES:
        return None
    return _BY_CLASS.get(pipeline) or Architecture(
        name=pipeline.removesuffix("Pipeline"), pipeline=pipeline
    )


def listed_architectures() -> tuple[Architecture, ...]:
    """Those whose capabilities are known beforehand."""
    return _ARCHITECTURES


def acting_parameters(architecture: Architecture) -> tuple[str, ...]:
    """The request fields that act with a model of this architecture."""
    named = {
        "negative_prompt": architecture.negative,
        "guidance_scale": bool(architecture.guidance),
        "guidance_rescale": architecture.rescale,
    }
    return (
        *_ALWAYS,
        *(field for field, acts in named.items() if acts),
        *(_OF_IMAGE_TO_IMAGE if architecture.image_to_image else ()),
        *(_OF_INPAINT if architecture.inpaint else ()),
    )


def fitted(
    params: GenerateParams, present: frozenset[str], architecture: Architecture
) -> tuple[GenerateParams, dict[str, object]]:
    """Parameters as the architecture uses them, and the notes of the record.

    ``present`` are the fields that the request names. Raises InvalidParameter for one that asks for
    what the model cannot do.
    """
    unused = list(_unused(params, present, architecture))
    model = f"{params.base_model_name} ({architecture.name})"
    for field in unused:
        if field in _REFUSED:
            raise InvalidParameter((field,), f"{field} has no effect with {model}; leave it out")
    notes: dict[str, object] = {"architecture": architecture.name}
    if unused:
        notes["unused_parameters"] = f"{model} does not use {', '.join(unused)}"
    return msgspec.structs.replace(params, **_WITHOUT), notes


def _unused(
    params: GenerateParams, present: frozenset[str], architecture: Architecture
) -> Iterator[str]:
    """Fields that the request sets to another value than their default, and that do not act."""
    acting = frozenset(acting_parameters(architecture))
    for field in GenerateParams.__struct_fields__:
        if field in acting or field not in present:
            continue
        value = getattr(params, field)
        if field == "loras":
            value = tuple(each for each in value if each.enabled and each.model_name != NO_MODEL)
        elif field == "controlnet_image":
            value = tuple(each for each in value if each.cn_img)
        default = getattr(_DEFAULTS, field)
        if value not in (default, _WITHOUT.get(field, default)):
            yield field
