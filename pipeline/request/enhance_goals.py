"""The enhancement stages of a request: runs on the finished image, one after another."""

from typing import Final

import msgspec

from pipeline.request.decode import EnhanceControl, GenerateParams
from pipeline.request.goals import Goals, Inpaint, StartGoal, uov_goal, with_addition

_FIRST: Final = "Before First Enhancement"
_LAST_PROMPTS: Final = "Last Filled Enhancement Prompts"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One enhancement: inpaint a detected part, or vary or upscale the whole image."""

    goal: StartGoal
    prompt: str
    negative_prompt: str
    control: EnhanceControl | None = None  # None: the whole image


def read_stages(params: GenerateParams, goals: Goals) -> tuple[Stage, ...]:
    """The enhancement stages of a request with these goals, in order."""
    if not (params.enhance_checkbox or params.enhance_input_image):
        return ()
    main = with_addition(params.prompt, params.inpaint_additional_prompt, goals.start)
    painted = [
        Stage(
            goal=_goal_of(control),
            prompt=control.enhance_prompt or main,
            negative_prompt=control.enhance_negative_prompt or params.negative_prompt,
            control=control,
        )
        for control in params.enhance_ctrls
        if control.enhance_enabled
    ]
    whole = uov_goal(params.enhance_uov_method, params)
    if whole is None:
        return tuple(painted)
    if params.enhance_uov_processing_order == _FIRST:
        return (_whole(whole, main, params.negative_prompt), *painted)
    return (*painted, _whole(whole, *_last_prompts(params, main)))


def _goal_of(control: EnhanceControl) -> Inpaint:
    return Inpaint(
        engine=control.enhance_inpaint_engine,
        strength=control.enhance_inpaint_strength,
        field=control.enhance_inpaint_respective_field,
        grow_mask=control.enhance_inpaint_erode_or_dilate,
        invert_mask=control.enhance_mask_invert,
        from_noise=control.enhance_inpaint_disable_initial_latent,
    )


def _whole(goal: StartGoal, prompt: str, negative: str) -> Stage:
    return Stage(goal=goal, prompt=prompt, negative_prompt=negative)


def _last_prompts(params: GenerateParams, main: str) -> tuple[str, str]:
    """The prompts of the last stage: the request's, or as asked those of the last enhancement."""
    prompt, negative = main, params.negative_prompt
    if params.enhance_uov_prompt_type == _LAST_PROMPTS:
        for control in params.enhance_ctrls:
            if control.enhance_enabled:
                prompt = control.enhance_prompt or prompt
                negative = control.enhance_negative_prompt or negative
    return prompt, negative
