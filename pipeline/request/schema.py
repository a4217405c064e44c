"""The parameters of a generate request: each field with its default, range and description.

The OpenAPI document is generated from these. ``pipeline.request.decode`` decodes and validates; a
struct built in Python is not validated. How the reply is sent is in ``pipeline.request.delivery``.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.request.choices import (
    DEFAULT_UPSCALER,
    DEFAULT_VAE,
    NO_MODEL,
    EnhanceOrder,
    EnhancePrompts,
    InpaintEngine,
    MetadataScheme,
    OutpaintSide,
    OutputFormat,
    Performance,
    SamplerName,
    SchedulerName,
    SwapMethod,
    UovMethod,
)
from pipeline.request.schema_parts import (
    ControlNetImage,
    EnhanceControl,
    Grow,
    Image,
    Lora,
    Name,
    Text,
    Unit,
)

MAX_SEED: Final = 2**63 - 1
RANDOM_SEED_LIMIT: Final = 2**53  # a random seed stays exact in JavaScript
MIN_SIDE: Final = 64
MAX_SIDE: Final = 2048
MAX_LORAS: Final = 32  # slots of a request
# The fields that hold an image; so does cn_img of each entry of controlnet_image.
IMAGE_FIELDS: Final = (
    "uov_input_image",
    "inpaint_input_image",
    "inpaint_mask_image_upload",
    "enhance_input_image",
)

# A side of an aspect ratio: MIN_SIDE to MAX_SIDE, zeros before it allowed.
_SIDE: Final = "(0{0,3}(?:6[4-9]|[7-9][0-9]|[1-9][0-9]{2}|1[0-9]{3}|20[0-3][0-9]|204[0-8]))"
# Fooocus's labels have the ratio after the size, as markup.
ASPECT_PATTERN: Final = rf"^\s*{_SIDE}\s*[*\u00d7xX]\s*{_SIDE}\s*(?:<span\b[^<>]*>[^<>]*</span>)?$"

Weight3 = Annotated[float, Meta(ge=0, le=3)]
Distance = Annotated[int, Meta(ge=0, le=MAX_SIDE)]
OffOrSide = Annotated[
    int,
    Meta(
        ge=-1,
        le=MAX_SIDE,
        extra_json_schema={"not": {"type": "integer", "minimum": 1, "maximum": MIN_SIDE - 1}},
    ),
]
OffOrStrength = Annotated[
    float,
    Meta(
        ge=-1,
        le=1,
        extra_json_schema={
            "not": {"type": "number", "exclusiveMinimum": -1, "exclusiveMaximum": 0}
        },
    ),
]
CannyLevel = Annotated[int, Meta(ge=1, le=255)]


class GenerateParams(msgspec.Struct, frozen=True, kw_only=True):
    """What the images are. A field left out comes from the preset, else from the default here."""

    prompt: Annotated[Text, Meta(description="What to draw; further lines are extra prompts.")] = ""
    negative_prompt: Annotated[Text, Meta(description="What to keep out of the picture.")] = ""
    style_selections: Annotated[
        tuple[Name, ...],
        Meta(max_length=64, description="Styles by name; see /v1/engines/styles."),
    ] = ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp")
    prompt_expansion: Annotated[
        Text,
        Meta(description='What "Fooocus V2" made of the prompt earlier; else it is made anew.'),
    ] = ""
    performance_selection: Annotated[
        Performance,
        Meta(
            description="Quality: 60 steps, Speed 30; with a LoRA of their own Extreme Speed 8,"
            " Lightning 4, Hyper-SD 4."
        ),
    ] = "Speed"
    aspect_ratios_selection: Annotated[
        str,
        Meta(
            max_length=64,
            description="Width*height in pixels, with a *, x or multiplication sign between.",
            extra_json_schema={"pattern": ASPECT_PATTERN},
        ),
    ] = "1152*896"
    image_number: Annotated[int, Meta(ge=1, le=32, description="Pictures to make.")] = 1
    output_format: Annotated[OutputFormat, Meta(description="File format of the results.")] = "png"
    image_seed: Annotated[
        int, Meta(ge=-1, le=MAX_SEED, description="Seed of the first picture; -1 draws one.")
    ] = -1
    read_wildcards_in_order: Annotated[
        bool, Meta(description="Take wildcard lines in turn, not at random.")
    ] = False
    sharpness: Annotated[float, Meta(ge=0, le=30, description="Detail of the guidance.")] = 2.0
    guidance_scale: Annotated[float, Meta(ge=1, le=30, description="Weight of the prompt.")] = 4.0
    base_model_name: Annotated[Name, Meta(description='A listed checkpoint, or "None".')] = NO_MODEL
    refiner_model_name: Annotated[Name, Meta(description='A second checkpoint, or "None".')] = (
        NO_MODEL
    )
    refiner_switch: Annotated[
        float, Meta(ge=0.1, le=1, description="Part of the steps done before the refiner.")
    ] = 0.5
    loras: Annotated[
        tuple[Lora, ...], Meta(max_length=MAX_LORAS, description="LoRA slots; five take effect.")
    ] = ()
    input_image_checkbox: Annotated[
        bool, Meta(description="Accepted; whether images are given decides.")
    ] = True
    current_tab: Annotated[Name, Meta(description="Accepted; the images given decide.")] = "ip"
    uov_method: Annotated[UovMethod, Meta(description="Vary or upscale the input picture.")] = (
        "Disabled"
    )
    upscale_multiple: Annotated[
        float, Meta(ge=1, le=5, description='Factor of "Upscale (Custom)".')
    ] = 1.0
    upscale_model: Annotated[
        Name,
        Meta(description="A listed upscaler, or Fooocus's own; it enlarges by its factor first."),
    ] = DEFAULT_UPSCALER
    uov_input_image: Annotated[Image, Meta(description="Picture to vary or upscale.")] = ""
    outpaint_selections: Annotated[
        tuple[OutpaintSide, ...], Meta(max_length=16, description="Sides to paint beyond.")
    ] = ()
    outpaint_distance: Annotated[
        tuple[Distance, Distance, Distance, Distance],
        Meta(description="Pixels to add left, top, right, bottom; 0 on a chosen side adds 30 %."),
    ] = (0, 0, 0, 0)
    inpaint_input_image: Annotated[Image, Meta(description="Picture to paint in.")] = ""
    inpaint_mask_image_upload: Annotated[Image, Meta(description="White where to paint.")] = ""
    inpaint_additional_prompt: Annotated[
        Text, Meta(description="Put before the prompt when painting in.")
    ] = ""
    disable_preview: Annotated[bool, Meta(description="Send no previews.")] = False
    disable_intermediate_results: Annotated[
        bool, Meta(description="Show results only at the end.")
    ] = False
    disable_seed_increment: Annotated[
        bool, Meta(description="Every picture uses the same seed.")
    ] = False
    black_out_nsfw: Annotated[bool, Meta(description="Black out what a checker objects to.")] = (
        False
    )
    adm_scaler_positive: Annotated[
        Weight3, Meta(description="Factor on the size told with the prompt.")
    ] = 1.5
    adm_scaler_negative: Annotated[
        Weight3, Meta(description="Factor on the size told with the negative prompt.")
    ] = 0.8
    adm_scaler_end: Annotated[
        Unit, Meta(description="Part of the way after which sizes are told as they are.")
    ] = 0.3
    adaptive_cfg: Annotated[
        float, Meta(ge=1, le=30, description="Guidance above this fades towards it.")
    ] = 7.0
    guidance_rescale: Annotated[
        Unit,
        Meta(
            description="How far guidance is kept from raising contrast, for v-prediction models."
        ),
    ] = 0.0
    clip_skip: Annotated[int, Meta(ge=1, le=12, description="CLIP layer, from the last.")] = 2
    sampler_name: Annotated[SamplerName, Meta(description="Sampler.")] = "dpmpp_2m_sde_gpu"
    scheduler_name: Annotated[SchedulerName, Meta(description="Noise schedule.")] = "karras"
    vae_name: Annotated[Name, Meta(description="A listed VAE file, or the checkpoint's own.")] = (
        DEFAULT_VAE
    )
    overwrite_step: Annotated[
        int, Meta(ge=-1, le=200, description="Steps; -1 (or 0) leaves the mode's.")
    ] = -1
    overwrite_switch: Annotated[
        int, Meta(ge=-1, le=200, description="Step of the refiner; -1 (or 0) is off.")
    ] = -1
    overwrite_width: Annotated[OffOrSide, Meta(description="Width from 64; -1 (or 0) is off.")] = -1
    overwrite_height: Annotated[
        OffOrSide, Meta(description="Height from 64; -1 (or 0) is off.")
    ] = -1
    overwrite_vary_strength: Annotated[
        OffOrStrength, Meta(description="Denoising of vary, 0-1; -1 is off.")
    ] = -1.0
    overwrite_upscale_strength: Annotated[
        OffOrStrength, Meta(description="Denoising of upscale, 0-1; -1 is off.")
    ] = -1.0
    mixing_image_prompt_and_vary_upscale: Annotated[
        bool, Meta(description="Use image prompts while varying or upscaling.")
    ] = False
    mixing_image_prompt_and_inpaint: Annotated[
        bool, Meta(description="Use image prompts while painting in.")
    ] = False
    debugging_cn_preprocessor: Annotated[
        bool, Meta(description="Return what the image preprocessor makes.")
    ] = False
    skipping_cn_preprocessor: Annotated[
        bool, Meta(description="The images are preprocessed already.")
    ] = False
    canny_low_threshold: Annotated[CannyLevel, Meta(description="Weakest edge kept.")] = 64
    canny_high_threshold: Annotated[CannyLevel, Meta(description="Edge that is certain.")] = 128
    refiner_swap_method: Annotated[SwapMethod, Meta(description="How the refiner takes over.")] = (
        "joint"
    )
    controlnet_softness: Annotated[
        Unit, Meta(description="How much less the coarse layers are steered.")
    ] = 0.25
    freeu_enabled: Annotated[bool, Meta(description="Reweight the decoder (FreeU).")] = False
    freeu_b1: Annotated[float, Meta(ge=0, le=2, description="FreeU backbone, level 1.")] = 1.01
    freeu_b2: Annotated[float, Meta(ge=0, le=2, description="FreeU backbone, level 2.")] = 1.02
    freeu_s1: Annotated[float, Meta(ge=0, le=4, description="FreeU skip, level 1.")] = 0.99
    freeu_s2: Annotated[float, Meta(ge=0, le=4, description="FreeU skip, level 2.")] = 0.95
    debugging_inpaint_preprocessor: Annotated[
        bool, Meta(description="Return what the inpaint preprocessor makes.")
    ] = False
    inpaint_disable_initial_latent: Annotated[bool, Meta(description="Begin from noise alone.")] = (
        False
    )
    inpaint_engine: Annotated[InpaintEngine, Meta(description="Inpaint model.")] = "v2.6"
    inpaint_strength: Annotated[Unit, Meta(description="Denoising when painting in.")] = 1.0
    inpaint_respective_field: Annotated[
        Unit, Meta(description="Surroundings shown to the model; 1 is the whole picture.")
    ] = 0.618
    inpaint_mask_upload_checkbox: Annotated[
        bool, Meta(description="Accepted; the mask given decides.")
    ] = False
    inpaint_advanced_masking_checkbox: Annotated[
        bool, Meta(description="Accepted; the mask given decides.")
    ] = False
    invert_mask_checkbox: Annotated[bool, Meta(description="Paint where the mask is black.")] = (
        False
    )
    inpaint_erode_or_dilate: Annotated[
        Grow, Meta(description="Pixels to grow (or, below 0, shrink) the mask.")
    ] = 0
    save_metadata_to_images: Annotated[
        bool, Meta(description="Write the parameters into the file.")
    ] = True
    metadata_scheme: Annotated[MetadataScheme, Meta(description="JSON or A1111's plain text.")] = (
        "fooocus"
    )
    controlnet_image: Annotated[
        tuple[ControlNetImage, ...], Meta(max_length=4, description="Image prompts.")
    ] = ()
    debugging_dino: Annotated[bool, Meta(description="Return the boxes found.")] = False
    dino_erode_or_dilate: Annotated[Grow, Meta(description="Pixels to grow the boxes.")] = 0
    debugging_enhance_masks_checkbox: Annotated[
        bool, Meta(description="Return the enhancement masks too.")
    ] = False
    enhance_input_image: Annotated[Image, Meta(description="Picture to enhance.")] = ""
    enhance_checkbox: Annotated[bool, Meta(description="Enhance the results.")] = False
    enhance_uov_method: Annotated[
        UovMethod, Meta(description="Vary or upscale while enhancing.")
    ] = "Disabled"
    enhance_uov_processing_order: Annotated[
        EnhanceOrder, Meta(description="When to vary or upscale.")
    ] = "Before First Enhancement"
    enhance_uov_prompt_type: Annotated[EnhancePrompts, Meta(description="Prompts used for it.")] = (
        "Original Prompts"
    )
    save_final_enhanced_image_only: Annotated[
        bool, Meta(description="Keep no picture from in between.")
    ] = False
    enhance_ctrls: Annotated[
        tuple[EnhanceControl, ...], Meta(max_length=3, description="Enhancements, in order.")
    ] = ()
    generate_image_grid: Annotated[
        bool, Meta(description="With two or more results, also their grid.")
    ] = False
    preset: Annotated[
        Name, Meta(description='Where left-out values come from; "initial" is the server\'s own.')
    ] = "initial"
