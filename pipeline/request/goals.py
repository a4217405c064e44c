"""The goals of a request: vary, upscale, inpaint, image prompts or enhancement.

The fields of the request decide; no image is opened.
"""

from typing import Final

import msgspec

from pipeline.request.choices import NO_MODEL, InpaintEngine, OutpaintSide
from pipeline.request.decode import GenerateParams
from pipeline.request.presets import Preset
from pipeline.request.sizes import shape_ceil

NATIVE_SIDE: Final = 1024  # pixels; the square that SDXL was trained on

# Steps of a run that starts from an upscaled image.
UPSCALE_STEPS: Final = {
    "Quality": 36,
    "Speed": 18,
    "Extreme Speed": 8,
    "Lightning": 4,
    "Hyper-SD": 4,
}
# Share of the steps that are sampled with the inpaint patch; the others without it.
PATCH_UNTIL: Final = 0.8

_DENOISE: Final = {"Vary (Subtle)": 0.5, "Vary (Strong)": 0.85}
_UPSCALE_DENOISE: Final = 0.382
_FACTORS: Final = {"Upscale (1.5x)": 1.5, "Upscale (2x)": 2.0, "Upscale (Fast 2x)": 2.0}
NOT_PATCHED: Final = "None"


class Vary(msgspec.Struct, frozen=True, tag="vary"):
    """Image to image. ``denoise`` is the share of the schedule that is sampled."""

    denoise: float


class Upscale(msgspec.Struct, frozen=True, tag="upscale"):
    """Enlarge the image ``factor`` times; unless ``fast``, image to image on the result."""

    factor: float
    fast: bool
    denoise: float


class Inpaint(msgspec.Struct, frozen=True, kw_only=True, tag="inpaint"):
    """Inpainting or outpainting."""

    engine: InpaintEngine = "None"
    strength: float = 1.0
    field: float = 0.618  # share of the image around the mask that the model sees
    grow_mask: int = 0  # pixels
    invert_mask: bool = False
    from_noise: bool = False  # start from noise instead of the noised image
    sides: tuple[OutpaintSide, ...] = ()
    distances: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom

    @property
    def patched(self) -> bool:
        """Whether the model gets the engine's patch and head."""
        return self.engine != NOT_PATCHED

    @property
    def outpaints(self) -> bool:
        """Whether the image grows."""
        return bool(self.sides) or any(self.distances)


StartGoal = Vary | Upscale | Inpaint


class Goals(msgspec.Struct, frozen=True):
    """The goals of a request. ``start`` decides the initial latents; None is text to image."""

    start: StartGoal | None = None
    image_prompts: bool = False
    enhance: bool = False


def read_goals(params: GenerateParams) -> Goals:
    """The goals of a request, by the input images it has.

    The first of enhancement, image prompts, vary or upscale, inpaint counts; the mixing flags allow
    the others beside image prompts.
    """
    if params.enhance_input_image:
        return Goals(enhance=True)
    if any(control.cn_img for control in params.controlnet_image):
        varies = params.mixing_image_prompt_and_vary_upscale
        paints = params.mixing_image_prompt_and_inpaint
        # With both flags, inpainting counts, which is later in Fooocus's order.
        start = (paints and _inpaint(params)) or (varies and _vary_or_upscale(params)) or None
        return Goals(start=start, image_prompts=True)
    return Goals(start=_vary_or_upscale(params) or _inpaint(params))


def inpaint_of(params: GenerateParams) -> Inpaint:
    """The request's inpaint and outpaint settings."""
    return Inpaint(
        engine=params.inpaint_engine,
        strength=params.inpaint_strength,
        field=params.inpaint_respective_field,
        grow_mask=params.inpaint_erode_or_dilate,
        invert_mask=params.invert_mask_checkbox,
        from_noise=params.inpaint_disable_initial_latent,
        sides=params.outpaint_selections,
        distances=params.outpaint_distance,
    )


def uov_goal(method: str, params: GenerateParams) -> Vary | Upscale | None:
    """The goal of a vary or upscale method, with the request's overrides; None for "Disabled"."""
    if method in _DENOISE:
        return Vary(_override(params.overwrite_vary_strength, _DENOISE[method]))
    if method == "Disabled":
        return None
    return Upscale(
        factor=_FACTORS.get(method, params.upscale_multiple),
        fast="Fast" in method,
        denoise=_override(params.overwrite_upscale_strength, _UPSCALE_DENOISE),
    )


def steps_of(goal: StartGoal | None, performance: str, steps: int) -> int:
    """The steps of a run: those of the mode for upscaling, else ``steps``."""
    return UPSCALE_STEPS[performance] if isinstance(goal, Upscale) else steps


def denoise_of(goal: StartGoal | None) -> float:
    """The share of the schedule that is sampled, from its end."""
    if goal is None:
        return 1.0
    return goal.strength if isinstance(goal, Inpaint) else goal.denoise


def engine_of(goal: StartGoal | None) -> InpaintEngine:
    """The inpaint engine whose patch and head the model gets."""
    return goal.engine if isinstance(goal, Inpaint) else NOT_PATCHED


def refines_itself(engine: InpaintEngine, refiner: str) -> bool:
    """Whether the last steps are sampled without the model's inpaint patch."""
    return engine != NOT_PATCHED and refiner == NO_MODEL


def switch_share(goal: StartGoal | None, refiner: str, share: float) -> float:
    """The share of the steps before the refiner; ``share`` is the request's or its mode's."""
    return PATCH_UNTIL if refines_itself(engine_of(goal), refiner) else share


def with_addition(prompt: str, addition: str, goal: StartGoal | None) -> str:
    """The prompt of a run: for inpainting the additional prompt is its first line."""
    if not isinstance(goal, Inpaint) or not addition:
        return prompt
    return f"{addition}\n{prompt}" if prompt else addition


def native_side(preset: Preset) -> int:
    """Side of the square that the preset's model was trained on: a multiple of 64 pixels."""
    return shape_ceil(preset.native_pixels, 1) if preset.native_pixels else NATIVE_SIDE


def _vary_or_upscale(params: GenerateParams) -> Vary | Upscale | None:
    return uov_goal(params.uov_method, params) if params.uov_input_image else None


def _inpaint(params: GenerateParams) -> Inpaint | None:
    return inpaint_of(params) if params.inpaint_input_image else None


def _override(value: float, usual: float) -> float:
    """``value`` unless it is off; 0 is off too, as in Fooocus."""
    return value if value > 0.0 else usual
