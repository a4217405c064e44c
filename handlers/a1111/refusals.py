"""What A1111 can do and this server cannot: refused, so that no other picture is made silently."""

from collections.abc import Mapping
from typing import Any, Final

from handlers.a1111.schemas import Generation, Img2Img, Txt2Img
from handlers.http.refusal import RequestRefused, wrong_field

_FALSE: Final = (None, False)
_ZERO: Final = (None, 0)
_EMPTY: Final = (None, "", "None")

# The values of a field that change nothing, in every request.
_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "restore_faces": _FALSE,
    "tiling": _FALSE,
    "subseed_strength": _ZERO,
    "eta": (None, 0, 1),
    "s_churn": _ZERO,
    "s_tmin": _ZERO,
    "s_noise": (None, 1),
    "initial_noise_multiplier": (None, 1),
}
# And of the enlarging second run, where one is asked for.
_NEUTRAL_SECOND_RUN: Final[Mapping[str, tuple[object, ...]]] = {
    "hr_second_pass_steps": _ZERO,
    "hr_resize_x": _ZERO,
    "hr_resize_y": _ZERO,
    "hr_checkpoint_name": (*_EMPTY, "Use same checkpoint"),
    "hr_sampler_name": (*_EMPTY, "Use same sampler"),
    "hr_scheduler": (*_EMPTY, "Use same scheduler"),
    "hr_prompt": _EMPTY,
    "hr_negative_prompt": _EMPTY,
}


def check_possible(body: Generation) -> None:
    """Raise RequestRefused for the first wish that this server cannot fulfil."""
    if body.script_name not in _EMPTY:
        raise _script_missing(str(body.script_name))
    for name, script in body.alwayson_scripts.items():
        if _is_on(script):
            raise _script_missing(name)
    _check_neutral(body, _NEUTRAL)
    for name in ("seed_resize_from_h", "seed_resize_from_w"):
        if (getattr(body, name) or 0) > 0:
            raise _not_here(name)
    if isinstance(body, Txt2Img) and body.enable_hr:
        _check_second_run(body)
    if isinstance(body, Img2Img):
        _check_start(body)


def _check_second_run(body: Txt2Img) -> None:
    if body.denoising_strength == 0:
        raise wrong_field("denoising_strength", "enable_hr needs more than 0")
    _check_neutral(body, _NEUTRAL_SECOND_RUN)
    if body.hr_additional_modules not in (None, [], ["Use same choices"]):
        raise _not_here("hr_additional_modules")


def _check_start(body: Img2Img) -> None:
    if not body.init_images:
        raise RequestRefused(404, "not_found", "Init image not found")
    if len(body.init_images) > 1:
        raise wrong_field("init_images", "one picture a request is taken here")
    if body.denoising_strength == 0:
        raise wrong_field("denoising_strength", "it must be above 0")
    if body.resize_mode == 3:
        raise wrong_field("resize_mode", "3 (latent upscale) is not done here; use 0, 1 or 2")
    if body.mask and body.inpainting_fill == 3:
        raise wrong_field("inpainting_fill", "3 (latent nothing) is not done here; use 0, 1 or 2")


def _check_neutral(body: Generation, neutral: Mapping[str, tuple[object, ...]]) -> None:
    for name, values in neutral.items():
        if getattr(body, name, None) not in values:
            raise _not_here(name)


def _is_on(script: object) -> bool:
    """Whether a script is given anything to do. ``false`` as its first argument switches it off."""
    arguments: Any = script.get("args") if isinstance(script, dict) else script
    if isinstance(arguments, list):
        return bool(arguments) and arguments[0] is not False
    return bool(arguments)


def _script_missing(name: str) -> RequestRefused:
    return RequestRefused(422, "not_implemented", f"Script not found: {name[:120]}")


def _not_here(name: str) -> RequestRefused:
    return wrong_field(name, "this is not done here; leave it out", "not_implemented")
