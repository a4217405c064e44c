"""Bodies of the family's requests.

The types of the fields are those of our own API, so both accept the same values. Every field may
be left out: the preset and the server's defaults apply then.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from pipeline.request.choices import UovMethod
from pipeline.request.delivery import AsyncProcess, RequireBase64, WebhookUrl
from pipeline.request.optional_fields import Field, fields_like, fields_of, optional
from pipeline.request.schema import GenerateParams
from pipeline.request.schema_parts import EnhanceControl, Image, Text

# Fields at the top of a request, then those inside ``advanced_params``.
COMMON: Final = (
    "prompt",
    "negative_prompt",
    "style_selections",
    "performance_selection",
    "aspect_ratios_selection",
    "image_number",
    "image_seed",
    "sharpness",
    "guidance_scale",
    "base_model_name",
    "refiner_model_name",
    "refiner_switch",
    "loras",
    "read_wildcards_in_order",
)
ADVANCED: Final = (
    "disable_preview",
    "disable_intermediate_results",
    "disable_seed_increment",
    "adm_scaler_positive",
    "adm_scaler_negative",
    "adm_scaler_end",
    "adaptive_cfg",
    "clip_skip",
    "sampler_name",
    "scheduler_name",
    "overwrite_step",
    "overwrite_switch",
    "overwrite_width",
    "overwrite_height",
    "overwrite_vary_strength",
    "overwrite_upscale_strength",
    "mixing_image_prompt_and_vary_upscale",
    "mixing_image_prompt_and_inpaint",
    "debugging_cn_preprocessor",
    "skipping_cn_preprocessor",
    "canny_low_threshold",
    "canny_high_threshold",
    "refiner_swap_method",
    "controlnet_softness",
    "freeu_enabled",
    "freeu_b1",
    "freeu_b2",
    "freeu_s1",
    "freeu_s2",
    "debugging_inpaint_preprocessor",
    "inpaint_disable_initial_latent",
    "inpaint_engine",
    "inpaint_strength",
    "inpaint_respective_field",
    "inpaint_mask_upload_checkbox",
    "inpaint_advanced_masking_checkbox",
    "invert_mask_checkbox",
    "inpaint_erode_or_dilate",
    "black_out_nsfw",
    "vae_name",
    "debugging_dino",
    "dino_erode_or_dilate",
    "debugging_enhance_masks_checkbox",
    "generate_image_grid",
)
ENHANCING: Final = (
    "enhance_checkbox",
    "enhance_uov_method",
    "enhance_uov_processing_order",
    "enhance_uov_prompt_type",
    "save_final_enhanced_image_only",
)
DISTANCES: Final = tuple(f"outpaint_distance_{side}" for side in ("left", "top", "right", "bottom"))

File = Annotated[bytes, Meta(description="A picture.", extra_json_schema={"format": "binary"})]


AdvancedParams: Final = msgspec.defstruct(
    "AdvancedParams",
    fields_of(GenerateParams, ADVANCED),
    kw_only=True,
    frozen=True,
    module=__name__,
    namespace={"__doc__": "What Fooocus calls advanced and debug settings, by its names."},
)
_SAVING: Final[list[Field]] = [
    *fields_like(("save_meta",), GenerateParams.__annotations__["save_metadata_to_images"]),
    *fields_like(("meta_scheme",), Literal["fooocus", "a111", "a1111"]),
    *fields_like(("save_extension",), Literal["png", "jpg", "jpeg", "webp"]),
]
_DELIVERY: Final[list[Field]] = [
    *fields_like(("require_base64",), RequireBase64),
    *fields_like(("async_process",), AsyncProcess),
    *fields_like(("webhook_url",), WebhookUrl),
]
_COMMON: Final = [*fields_of(GenerateParams, COMMON), *_SAVING, *_DELIVERY]
_UPSCALE: Final = [
    ("upscale_value", optional(GenerateParams.__annotations__["upscale_multiple"] | None), UNSET)
]
_OUTPAINT: Final = [
    ("inpaint_additional_prompt", optional(Text | None), UNSET),
    *fields_of(GenerateParams, ("outpaint_selections",)),
    *fields_like(DISTANCES, Annotated[int, Meta(ge=-1, le=2048)]),
]


class ImagePrompt(msgspec.Struct, frozen=True, kw_only=True):
    """One image prompt. A stop or weight of 0 or null follows ``cn_type``."""

    cn_img: Image | None = None
    cn_stop: Annotated[float, Meta(ge=0, le=1)] | None = None
    cn_weight: Annotated[float, Meta(ge=0, le=2)] | None = None
    cn_type: Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"] | None = None


def _json_body(name: str, doc: str, fields: Iterable[Field]) -> type[msgspec.Struct]:
    """The struct of a JSON body: the common fields and ``fields``."""
    common = [*_COMMON, ("advanced_params", optional(AdvancedParams | None), UNSET)]
    return msgspec.defstruct(
        name,
        [*common, *fields],
        kw_only=True,
        frozen=True,
        module=__name__,
        namespace={"__doc__": doc},
    )


def _form_body(name: str, doc: str, fields: Iterable[Field]) -> type[msgspec.Struct]:
    """The struct of a form: ``loras`` and ``advanced_params`` are JSON texts."""
    common = [field for field in _COMMON if field[0] != "loras"]
    texts = fields_like(("loras", "advanced_params"), str)
    return msgspec.defstruct(
        name,
        [*common, *texts, *fields],
        kw_only=True,
        frozen=True,
        module=__name__,
        namespace={"__doc__": doc},
    )


_PROMPTS: Final[list[Field]] = [("image_prompts", optional(tuple[ImagePrompt, ...]), UNSET)]
_UOV: Final[list[Field]] = [("uov_method", UovMethod, msgspec.NODEFAULT), *_UPSCALE]
_PICTURES: Final = fields_like(("input_image", "input_mask"), Image | None)
_ENHANCED: Final = [
    *fields_like(("enhance_input_image",), Image | None),
    *fields_of(GenerateParams, ENHANCING),
]

TextToImage: Final = _json_body("TextToImage", "A prompt to draw.", ())
TextWithPrompts: Final = _json_body("TextWithPrompts", "A prompt, and image prompts.", _PROMPTS)
UpscaleOrVary: Final = _json_body(
    "UpscaleOrVary", "A picture to vary or upscale.", [*_UOV, *_PICTURES[:1], *_PROMPTS]
)
InpaintOrOutpaint: Final = _json_body(
    "InpaintOrOutpaint", "A picture to paint in, or beyond.", [*_PICTURES, *_OUTPAINT, *_PROMPTS]
)
WithImagePrompts: Final = _json_body(
    "WithImagePrompts", "Image prompts, and what they guide.", [*_PICTURES, *_OUTPAINT, *_PROMPTS]
)
Enhancement: Final = _json_body(
    "Enhancement",
    "A picture to enhance.",
    [
        *_ENHANCED,
        ("enhance_ctrlnets", optional(tuple[EnhanceControl, ...]), UNSET),
        *_PROMPTS,
    ],
)

SLOTS: Final = (1, 2, 3, 4)
ENHANCE_SLOTS: Final = (1, 2, 3)
CONTROL_FIELDS: Final = ("cn_img", "cn_stop", "cn_weight", "cn_type")


def _slot(number: int) -> list[Field]:
    """The fields of one image prompt in a form."""
    stop, weight, kind = (ImagePrompt.__annotations__[name] for name in CONTROL_FIELDS[1:])
    return [
        *fields_like((f"cn_img{number}",), File),
        *fields_like((f"cn_stop{number}",), stop),
        *fields_like((f"cn_weight{number}",), weight),
        *fields_like((f"cn_type{number}",), kind),
    ]


_FILES: Final = fields_like(("input_image", "input_mask"), File)
UpscaleOrVaryForm: Final = _form_body(
    "UpscaleOrVaryForm", "A picture to vary or upscale.", [*_UOV, *_FILES[:1]]
)
InpaintOrOutpaintForm: Final = _form_body(
    "InpaintOrOutpaintForm", "A picture to paint in, or beyond.", [*_FILES, *_OUTPAINT]
)
ImagePromptForm: Final = _form_body(
    "ImagePromptForm",
    "Image prompts, and what they guide.",
    [*_FILES, *_OUTPAINT, *(field for number in SLOTS for field in _slot(number))],
)
EnhancementForm: Final = _form_body(
    "EnhancementForm",
    "A picture to enhance.",
    [
        *fields_like(("enhance_input_image",), File),
        *fields_of(GenerateParams, ENHANCING),
        *(
            field
            for number in ENHANCE_SLOTS
            for field in fields_of(EnhanceControl, EnhanceControl.__struct_fields__, f"_{number}")
        ),
    ],
)
