"""The repeated parts of a generate request and the annotated types its fields share.

The request itself is in ``pipeline.request.schema``.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pipeline.request.choices import (
    NO_MODEL,
    ClothCategory,
    ControlNetType,
    InpaintEngine,
    MaskModel,
    SamModel,
)

MAX_TEXT: Final = 16384  # characters
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Name = Annotated[str, Meta(max_length=512)]
Image = Annotated[
    str,
    Meta(
        description='Data URL, base64, http(s) URL, own path, or "" for none.',
        extra_json_schema={"x-image": True},
    ),
]
Unit = Annotated[float, Meta(ge=0, le=1)]
Grow = Annotated[int, Meta(ge=-64, le=64)]


class Lora(msgspec.Struct, frozen=True, kw_only=True):
    """One LoRA slot."""

    enabled: Annotated[bool, Meta(description="Off: the slot does nothing.")] = True
    model_name: Annotated[Name, Meta(description='A listed LoRA file, or "None".')] = NO_MODEL
    weight: Annotated[float, Meta(ge=-2, le=2, description="Strength of the LoRA.")] = 0.5


class ControlNetImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image prompt. Left out, ``cn_stop`` and ``cn_weight`` follow ``cn_type``."""

    cn_img: Annotated[Image, Meta(description='The image, or "" for an empty slot.')] = ""
    cn_stop: Annotated[Unit, Meta(description="Part of the steps after which it stops.")] = 0.5
    cn_weight: Annotated[float, Meta(ge=0, le=2, description="Strength of the image prompt.")] = 0.6
    cn_type: Annotated[ControlNetType, Meta(description="What is taken from the image.")] = (
        "ImagePrompt"
    )


class EnhanceControl(msgspec.Struct, frozen=True, kw_only=True):
    """One enhancement: find something in the picture and paint it again."""

    enhance_enabled: Annotated[bool, Meta(description="Off: the slot does nothing.")] = False
    enhance_mask_dino_prompt: Annotated[Text, Meta(description="What to look for.")] = ""
    enhance_prompt: Annotated[Text, Meta(description='Prompt for that area; "": the main one.')] = (
        ""
    )
    enhance_negative_prompt: Annotated[
        Text, Meta(description='Negative prompt for that area; "": the main one.')
    ] = ""
    enhance_mask_model: Annotated[MaskModel, Meta(description="Model that draws the mask.")] = "sam"
    enhance_mask_cloth_category: Annotated[
        ClothCategory, Meta(description="Part of the clothes, for u2net_cloth_seg.")
    ] = "full"
    enhance_mask_sam_model: Annotated[SamModel, Meta(description="Size of the SAM model.")] = (
        "vit_b"
    )
    enhance_mask_text_threshold: Annotated[Unit, Meta(description="Least match of the words.")] = (
        0.25
    )
    enhance_mask_box_threshold: Annotated[Unit, Meta(description="Least match of a box.")] = 0.3
    enhance_mask_sam_max_detections: Annotated[
        int, Meta(ge=0, le=100, description="How many finds are used; 0 is all.")
    ] = 0
    enhance_inpaint_disable_initial_latent: Annotated[
        bool, Meta(description="Begin from noise alone.")
    ] = False
    enhance_inpaint_engine: Annotated[InpaintEngine, Meta(description="Inpaint model.")] = "v2.6"
    enhance_inpaint_strength: Annotated[Unit, Meta(description="Denoising strength.")] = 1.0
    enhance_inpaint_respective_field: Annotated[
        Unit, Meta(description="Surroundings shown to the model; 1 is the whole picture.")
    ] = 0.618
    enhance_inpaint_erode_or_dilate: Annotated[
        Grow, Meta(description="Pixels to grow (or, below 0, shrink) the mask.")
    ] = 0
    enhance_mask_invert: Annotated[bool, Meta(description="Repaint all but the find.")] = False
