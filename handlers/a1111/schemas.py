"""Bodies and replies of the family's generation endpoints.

A field left out, or null, is the start preset's where the preset has such a value.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.request.schema import MAX_SEED, MAX_SIDE, MIN_SIDE
from pipeline.request.schema_parts import Image, Name, Text

MAX_IMAGES: Final = 32
Count = Annotated[int, Meta(ge=1, le=MAX_IMAGES)]
Side = Annotated[int, Meta(ge=MIN_SIDE, le=MAX_SIDE)]
Share = Annotated[float, Meta(ge=0, le=1)]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What txt2img and img2img have in common."""

    prompt: Annotated[Text, Meta(description="What to draw.")] = ""
    negative_prompt: Annotated[Text, Meta(description="What to keep out of the picture.")] = ""
    styles: Annotated[
        list[Name], Meta(max_length=64, description="Style names; see /sdapi/v1/prompt-styles.")
    ] = []
    seed: Annotated[
        int, Meta(le=MAX_SEED, description="Seed of the first picture; below 0 draws one.")
    ] = -1
    n_iter: Annotated[Count, Meta(description="Times batch_size: pictures, 32 at most.")] = 1
    batch_size: Annotated[Count, Meta(description="Pictures are made one after another.")] = 1
    steps: Annotated[int, Meta(ge=1, le=200, description="Sampling steps.")] | None = None
    cfg_scale: Annotated[float, Meta(ge=1, le=30, description="Weight of the prompt.")] | None = (
        None
    )
    width: Side | None = None
    height: Side | None = None
    sampler_name: Annotated[str, Meta(description="See /sdapi/v1/samplers.")] | None = None
    sampler_index: Annotated[str, Meta(description="Older name of sampler_name.")] | None = None
    scheduler: Annotated[str, Meta(description="See /sdapi/v1/schedulers.")] | None = None
    refiner_checkpoint: Name | None = None
    refiner_switch_at: Annotated[float, Meta(ge=0.1, le=1)] | None = None
    clip_skip: Annotated[int, Meta(ge=1, le=12)] | None = None
    override_settings: Annotated[
        dict[str, object],
        Meta(
            description="sd_model_checkpoint, sd_vae, CLIP_stop_at_last_layers, samples_format and"
            " enable_pnginfo take effect; others are named in X-Ignored-Params."
        ),
    ] = {}
    override_settings_restore_afterwards: bool = True
    send_images: Annotated[bool, Meta(description="Off: the reply has no pictures.")] = True
    save_images: Annotated[bool, Meta(description="Accepted; every picture is kept.")] = False
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    alwayson_scripts: Annotated[
        dict[str, object], Meta(description="Refused where one is switched on.")
    ] = {}
    script_name: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    script_args: list[object] | None = None
    restore_faces: Annotated[bool, Meta(description="Refused if true.")] | None = None
    tiling: Annotated[bool, Meta(description="Refused if true.")] | None = None
    subseed: int | None = None
    subseed_strength: Annotated[float, Meta(description="Refused unless 0.")] | None = None
    seed_resize_from_h: Annotated[int, Meta(description="Refused above 0.")] | None = None
    seed_resize_from_w: Annotated[int, Meta(description="Refused above 0.")] | None = None
    eta: Annotated[float, Meta(description="Refused unless 0 or 1.")] | None = None
    s_churn: Annotated[float, Meta(description="Refused unless 0.")] | None = None
    s_tmax: float | None = None
    s_tmin: Annotated[float, Meta(description="Refused unless 0.")] | None = None
    s_noise: Annotated[float, Meta(description="Refused unless 1.")] | None = None


class Txt2Img(Generation, frozen=True, kw_only=True):
    """Body of txt2img."""

    enable_hr: Annotated[bool, Meta(description="Enlarge the result with a second run.")] = False
    hr_scale: Annotated[float, Meta(ge=1, le=5)] = 2.0
    hr_upscaler: Annotated[str, Meta(description="See /sdapi/v1/upscalers.")] | None = None
    denoising_strength: (
        Annotated[
            float, Meta(ge=0, le=1, description="Of the second run; left out, Fooocus's 0.382.")
        ]
        | None
    ) = None
    hr_second_pass_steps: Annotated[int, Meta(description="Refused unless 0.")] | None = None
    hr_resize_x: Annotated[int, Meta(description="Refused unless 0.")] | None = None
    hr_resize_y: Annotated[int, Meta(description="Refused unless 0.")] | None = None
    hr_checkpoint_name: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    hr_sampler_name: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    hr_scheduler: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    hr_prompt: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    hr_negative_prompt: Annotated[str, Meta(description="Refused unless empty.")] | None = None
    hr_additional_modules: list[object] | None = None
    firstphase_width: int | None = None
    firstphase_height: int | None = None


class Img2Img(Generation, frozen=True, kw_only=True):
    """Body of img2img, with a mask or without."""

    init_images: Annotated[list[Image], Meta(description="One picture.")] = []
    mask: Annotated[Image, Meta(description="White where to paint.")] | None = None
    denoising_strength: Annotated[Share, Meta(description="Above 0.")] = 0.75
    resize_mode: Annotated[
        int,
        Meta(ge=0, le=3, description="0 stretches, 1 crops, 2 fills; 3 is refused."),
    ] = 0
    inpainting_fill: Annotated[
        int, Meta(ge=0, le=3, description="2 begins from noise; 3 is refused.")
    ] = 0
    inpaint_full_res: Annotated[
        bool | int, Meta(description="The masked part and its surroundings, or the whole picture.")
    ] = True
    inpaint_full_res_padding: int | None = None
    inpainting_mask_invert: Annotated[
        int, Meta(ge=0, le=1, description="1 paints where the mask is black.")
    ] = 0
    mask_blur: int | None = None
    mask_blur_x: int | None = None
    mask_blur_y: int | None = None
    mask_round: bool | None = None
    initial_noise_multiplier: Annotated[float, Meta(description="Refused unless 1.")] | None = None
    image_cfg_scale: float | None = None
    include_init_images: bool = False


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """``info`` of a reply, which holds it as a JSON string."""

    prompt: str
    all_prompts: list[str]
    negative_prompt: str
    all_negative_prompts: list[str]
    seed: int
    all_seeds: list[int]
    subseed: int
    all_subseeds: list[int]
    subseed_strength: float
    width: int
    height: int
    sampler_name: str
    cfg_scale: float
    steps: int
    batch_size: int
    restore_faces: bool
    sd_model_name: str
    sd_model_hash: str
    sd_vae_name: str | None
    denoising_strength: float | None
    extra_generation_params: dict[str, object]
    index_of_first_image: int
    infotexts: list[str]
    styles: list[str]
    job_timestamp: str
    clip_skip: int
    version: str


class GenerationReply(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures in base64, the request as it was read, and ``Info`` as a JSON string."""

    images: list[str]
    parameters: dict[str, object]
    info: str
