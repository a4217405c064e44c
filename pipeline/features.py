"""What this build cannot do yet, as one table: a feature that arrives takes its row away."""

from collections.abc import Callable
from typing import Final

from pipeline.catalog import EMBEDDED
from pipeline.choices import DEFAULT_VAE, NO_MODEL
from pipeline.errors import UnsupportedFeature
from pipeline.params import GenerateParams
from pipeline.plan import FAST_MODES
from pipeline.prompts import names_lora

_Row = tuple[str, Callable[[GenerateParams], bool], str]


def _any_lora(params: GenerateParams) -> bool:
    return any(lora.enabled and lora.model_name != NO_MODEL for lora in params.loras)


def _mode_needs_lora(params: GenerateParams) -> bool:
    # The embedded model has no such LoRA and runs the mode's steps without.
    return params.performance_selection in FAST_MODES and params.base_model_name != EMBEDDED


NOT_YET: Final[tuple[_Row, ...]] = (
    ("uov_input_image", lambda p: p.uov_input_image != "", "input images"),
    ("uov_method", lambda p: p.uov_method != "Disabled", "vary and upscale"),
    ("inpaint_input_image", lambda p: p.inpaint_input_image != "", "inpainting"),
    ("inpaint_mask_image_upload", lambda p: p.inpaint_mask_image_upload != "", "inpainting"),
    ("outpaint_selections", lambda p: p.outpaint_selections != (), "outpainting"),
    ("outpaint_distance", lambda p: any(p.outpaint_distance), "outpainting"),
    ("controlnet_image", lambda p: any(c.cn_img for c in p.controlnet_image), "image prompts"),
    ("enhance_input_image", lambda p: p.enhance_input_image != "", "enhancement"),
    ("enhance_checkbox", lambda p: p.enhance_checkbox, "enhancement"),
    ("enhance_uov_method", lambda p: p.enhance_uov_method != "Disabled", "enhancement"),
    ("enhance_ctrls", lambda p: any(c.enhance_enabled for c in p.enhance_ctrls), "enhancement"),
    ("black_out_nsfw", lambda p: p.black_out_nsfw, "the safety checker"),
    ("refiner_model_name", lambda p: p.refiner_model_name != NO_MODEL, "refiners"),
    ("loras", _any_lora, "LoRAs"),
    ("prompt", lambda p: names_lora(p.prompt), "LoRAs in the prompt"),
    ("performance_selection", _mode_needs_lora, "few-step modes, which need a LoRA,"),
    ("vae_name", lambda p: p.vae_name not in (DEFAULT_VAE, NO_MODEL), "separate VAE files"),
)


def check_supported(params: GenerateParams) -> None:
    """Raise UnsupportedFeature for the first thing asked that is not there yet."""
    for field, asked, feature in NOT_YET:
        if asked(params):
            raise UnsupportedFeature(field, f"{field}: {feature} cannot be used in this version")
