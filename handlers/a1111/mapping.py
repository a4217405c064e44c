"""From the family's request structs to the fields of a generate request."""

from typing import Final

from handlers.a1111.chosen import checkpoint_named
from handlers.a1111.samplers import sampling_fields
from handlers.a1111.schemas import Generation, Img2Img, Txt2Img
from handlers.http.refusal import RequestRefused
from pipeline.files.catalog import UPSCALERS, ModelCatalog
from pipeline.request.choices import DEFAULT_UPSCALER

NO_UPSCALER: Final = "None"
# Our field ← the family's, where a value is taken as it is and None leaves it to the preset.
_SAME: Final = (
    ("guidance_scale", "cfg_scale"),
    ("overwrite_step", "steps"),
    ("overwrite_width", "width"),
    ("overwrite_height", "height"),
    ("clip_skip", "clip_skip"),
    ("refiner_switch", "refiner_switch_at"),
)


def common_fields(body: Generation, catalog: ModelCatalog) -> dict[str, object]:
    """What txt2img and img2img have in common. Lists model files: not for the event loop.

    Raises RequestRefused: 404 for an unknown sampler, schedule or refiner.
    """
    fields: dict[str, object] = {
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "style_selections": body.styles,
        "image_seed": max(body.seed, -1),
        "image_number": body.n_iter * body.batch_size,
        "metadata_scheme": "a1111",
    }
    for ours, theirs in _SAME:
        if (value := getattr(body, theirs)) is not None:
            fields[ours] = value
    fields |= sampling_fields(body.sampler_name or body.sampler_index, body.scheduler)
    if body.refiner_checkpoint not in (None, "", "None"):
        fields["refiner_model_name"] = checkpoint_named(catalog, str(body.refiner_checkpoint))
    return fields


def second_run_fields(body: Txt2Img, catalog: ModelCatalog) -> dict[str, object]:
    """``enable_hr``: the finished picture is enlarged by a second run."""
    if not body.enable_hr:
        return {}
    fields: dict[str, object] = {
        "enhance_checkbox": True,
        "enhance_uov_method": "Upscale (Custom)",
        "upscale_multiple": body.hr_scale,
        "save_final_enhanced_image_only": True,
        "upscale_model": upscaler_named(catalog, body.hr_upscaler or DEFAULT_UPSCALER),
    }
    if body.denoising_strength is not None:
        fields["overwrite_upscale_strength"] = body.denoising_strength
    return fields


def start_fields(body: Img2Img) -> dict[str, object]:
    """Image to image, or with a mask inpainting. The pictures themselves come beside it."""
    if not body.mask:
        return {
            "uov_method": "Vary (Strong)",
            "overwrite_vary_strength": body.denoising_strength,
        }
    fields: dict[str, object] = {
        "inpaint_strength": body.denoising_strength,
        "invert_mask_checkbox": bool(body.inpainting_mask_invert),
        "inpaint_disable_initial_latent": body.inpainting_fill == 2,
    }
    if not body.inpaint_full_res:
        fields["inpaint_respective_field"] = 1.0
    return fields


def upscaler_named(catalog: ModelCatalog, name: str) -> str:
    """An upscaler by its listed name. Raises RequestRefused: 404."""
    if name == DEFAULT_UPSCALER or catalog.has(UPSCALERS, name):
        return name
    known = ", ".join((DEFAULT_UPSCALER, *catalog.upscalers()))
    raise RequestRefused(
        404, "model_not_found", f"Upscaler not found: {name[:120]}; installed: {known}"
    )
