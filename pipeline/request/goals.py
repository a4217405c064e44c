"""What a request wants done with the pictures it brings, and how that changes a run. Torch-free.

Knows no pictures: which of them are given, and the request's settings, decide.
"""

from typing import Final

import msgspec

from pipeline.request.choices import NO_MODEL, InpaintEngine, OutpaintSide
from pipeline.request.decode import GenerateParams
from pipeline.request.presets import Preset
from pipeline.request.sizes import shape_ceil

NATIVE_SIDE: Final = 1024  # pixels; the square that SDXL was trained on

# Steps of a run that begins from an upscaled picture.
UPSCALE_STEPS: Final = {
    "Quality": 36,
    "Speed": 18,
    "Extreme Speed": 8,
    "Lightning": 4,
    "Hyper-SD": 4,
}
# A model with an inpaint patch hands over to itself without the patch after this part of the steps.
PATCH_UNTIL: Final = 0.8

_DENOISE: Final = {"Vary (Subtle)": 0.5, "Vary (Strong)": 0.85}
_UPSCALE_DENOISE: Final = 0.382
_FACTORS: Final = {"Upscale (1.5x)": 1.5, "Upscale (2x)": 2.0, "Upscale (Fast 2x)": 2.0}
NOT_PATCHED: Final = "None"


class Vary(msgspec.Struct, frozen=True, tag="vary"):
    """Begin from the picture with noise on it. ``denoise`` is the part of the way made anew."""

    denoise: float


class Upscale(msgspec.Struct, frozen=True, tag="upscale"):
    """Make the picture ``factor`` times as large; unless ``fast``, go over it with the model."""

    factor: float
    fast: bool
    denoise: float


class Inpaint(msgspec.Struct, frozen=True, kw_only=True, tag="inpaint"):
    """Paint parts of the picture, or beyond its edges, anew."""

    engine: InpaintEngine = "None"
    strength: float = 1.0
    field: float = 0.618
    grow_mask: int = 0  # pixels
    invert_mask: bool = False
    from_noise: bool = False  # do not begin from what is there
    sides: tuple[OutpaintSide, ...] = ()
    distances: tuple[int, int, int, int] = (0, 0, 0, 0)  # left, top, right, bottom

    @property
    def patched(self) -> bool:
        """Does the model get the engine's patch and head?"""
        return self.engine != NOT_PATCHED

    @property
    def outpaints(self) -> bool:
        """Does the picture grow?"""
        return bool(self.sides) or any(self.distances)


StartGoal = Vary | Upscale | Inpaint


class Goals(msgspec.Struct, frozen=True):
    """What the pictures are for. ``start`` is what a run begins from; None: noise alone."""

    start: StartGoal | None = None
    image_prompts: bool = False
    enhance: bool = False


def read_goals(params: GenerateParams) -> Goals:
    """The goals of a request: its pictures decide, in the order enhance, image prompts, vary or
    upscale, inpaint. Beside image prompts the mixing flags let the others in."""
    if params.enhance_input_image:
        return Goals(enhance=True)
    if any(control.cn_img for control in params.controlnet_image):
        varies = params.mixing_image_prompt_and_vary_upscale
        paints = params.mixing_image_prompt_and_inpaint
        # Of both at once the later one in Fooocus's order counts.
        start = (paints and _inpaint(params)) or (varies and _vary_or_upscale(params)) or None
        return Goals(start=start, image_prompts=True)
    return Goals(start=_vary_or_upscale(params) or _inpaint(params))


def inpaint_of(params: GenerateParams) -> Inpaint:
    """The request's inpaint settings; what is painted beyond the edges is painted wholly anew."""
    goal = Inpaint(
        engine=params.inpaint_engine,
        strength=params.inpaint_strength,
        field=params.inpaint_respective_field,
        grow_mask=params.inpaint_erode_or_dilate,
        invert_mask=params.invert_mask_checkbox,
        from_noise=params.inpaint_disable_initial_latent,
        sides=params.outpaint_selections,
        distances=params.outpaint_distance,
    )
    return msgspec.structs.replace(goal, strength=1.0, field=1.0) if goal.outpaints else goal


def uov_goal(method: str, params: GenerateParams) -> Vary | Upscale | None:
    """The goal of a method by its name, with the request's overrides; None if it is disabled."""
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
    """The steps of a run, which has ``steps`` where nothing is upscaled."""
    return UPSCALE_STEPS[performance] if isinstance(goal, Upscale) else steps


def denoise_of(goal: StartGoal | None) -> float:
    """The part of the schedule that is walked, from its end."""
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
    """The prompt of a run: when painting in, the additional one is its first line."""
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
    """Fooocus takes 0 as "off" too."""
    return value if value > 0.0 else usual
