"""One plan an image: everything about it that is decided before a model is loaded."""

from typing import Final, NamedTuple

import msgspec

from pipeline.request.choices import NO_MODEL, InpaintEngine, SwapMethod
from pipeline.request.enhance_goals import Stage
from pipeline.request.goals import (
    Inpaint,
    StartGoal,
    denoise_of,
    steps_of,
    switch_share,
    with_addition,
)
from pipeline.request.performance import FAST_MODES, FEW_STEPS, FastMode
from pipeline.request.prompts import Prompts, PromptSources, picture_texts, read_prompts
from pipeline.request.resolved import ResolvedRequest, unused_refiner
from pipeline.request.schema import MAX_SEED, GenerateParams
from pipeline.request.schema_parts import Lora

MAX_LORAS: Final = 5
STEPS: Final = {"Quality": 60, "Speed": 30, "Extreme Speed": 8, "Lightning": 4, "Hyper-SD": 4}


class ImagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One picture, settled. Sizes are pixels; models are named as ``ModelCatalog`` does.

    The picture is made at ``native_width`` x ``native_height`` (multiples of 8) and, where
    ``resize`` is set, brought to ``width`` x ``height`` afterwards.
    """

    index: int  # from 0
    seed: int
    width: int
    height: int
    native_width: int
    native_height: int
    steps: int
    switch: int  # step at which a refiner takes over
    cfg: float
    adaptive_cfg: float
    sharpness: float
    adm_positive: float
    adm_negative: float
    adm_end: float
    sampler: str
    scheduler: str
    clip_skip: int
    prompt: str  # the main prompt after arrays, wildcards and <lora:...>
    negative_prompt: str
    extra_prompts: tuple[str, ...]  # the prompt's further lines, filled in too
    extra_negative_prompts: tuple[str, ...]
    positives: tuple[str, ...]  # texts to encode, in order; all count for the pooled sum
    negatives: tuple[str, ...]
    expand: bool  # "Fooocus V2" is chosen and there is a prompt to continue
    expansion: str = ""  # the continued prompt, encoded last; it has no part in the pooled sum
    styles: tuple[str, ...]  # as applied, random ones drawn
    model: str
    refiner: str  # "None" for none
    vae: str
    swap_method: SwapMethod = "joint"  # how the refiner, or without one the model itself, goes on
    loras: tuple[tuple[str, float], ...] = ()
    mode_lora: bool = False  # is the last of the LoRAs the performance mode's own?
    freeu: tuple[float, float, float, float] | None = None  # b1, b2, s1, s2
    denoise: float = 1.0  # the part of the schedule that is walked, from its end
    inpaint_engine: InpaintEngine = "None"  # whose patch and head the model gets
    cpu_noise: bool = False  # draw the noise between steps on the CPU too
    notes: dict[str, object] = {}  # facts for the task's record

    @property
    def resize(self) -> bool:
        """Is the picture brought to another size after it is made?"""
        return (self.width, self.height) != (self.native_width, self.native_height)

    @property
    def refines_itself(self) -> bool:
        """Does the model go on without its inpaint patch from ``switch``?"""
        return self.inpaint_engine != "None" and self.refiner == NO_MODEL

    @property
    def negative_copies_positive(self) -> bool:
        """At a guidance of 1 the negative conditioning is a copy of the positive."""
        return abs(self.cfg - 1.0) < 1e-4


class _Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same for every picture, after what a performance mode forces."""

    steps: int
    switch: int
    cfg: float
    adaptive_cfg: float
    sharpness: float
    adm_positive: float
    adm_negative: float
    adm_end: float
    sampler: str
    scheduler: str
    refiner: str
    swap_method: SwapMethod
    model: str
    vae: str
    clip_skip: int
    freeu: tuple[float, float, float, float] | None
    denoise: float
    inpaint_engine: InpaintEngine
    mode_lora: bool


def plan_images(request: ResolvedRequest, sources: PromptSources) -> list[ImagePlan]:
    """One plan an image, in order. Raises InvalidParameter for an unknown style."""
    params, goal = request.params, request.goals.start
    words = with_addition(params.prompt, params.inpaint_additional_prompt, goal)
    run = _Run(goal, read_prompts(words, params.negative_prompt, request.prompt_loras))
    return [_plan(request, run, index, sources) for index in range(params.image_number)]


def plan_stage(
    request: ResolvedRequest, stage: Stage, index: int, sources: PromptSources
) -> ImagePlan:
    """The plan of an enhancement stage of image ``index``; its texts use that image's wildcards.

    Raises as ``plan_images``.
    """
    prompts = read_prompts(stage.prompt, stage.negative_prompt, request.prompt_loras)
    return _plan(request, _Run(stage.goal, prompts), index, sources)


class _Run(NamedTuple):
    """What differs between the main run of a request and its enhancement stages."""

    goal: StartGoal | None
    prompts: Prompts


def _plan(request: ResolvedRequest, run: _Run, index: int, sources: PromptSources) -> ImagePlan:
    params, prompts, size = request.params, run.prompts, request.size
    sources.styles.check(params.style_selections)
    seed = seed_of(params, index)
    notes = dict(request.notes)
    if prompts.unknown_loras:
        told = ", ".join(prompts.unknown_loras)
        notes["unknown_loras"] = f"the prompt names LoRAs that are not there: {told}"
    return ImagePlan(
        index=index,
        seed=seed,
        width=size.width,
        height=size.height,
        native_width=size.native_width,
        native_height=size.native_height,
        loras=_loras(request, prompts),
        notes=notes,
        **msgspec.structs.asdict(picture_texts(params, prompts, sources, seed, index)),
        **msgspec.structs.asdict(_settings(request, run.goal)),
    )


def seed_of(params: GenerateParams, index: int) -> int:
    """Seed of picture ``index``; past the largest seed they go on from 0."""
    return (
        params.image_seed
        if params.disable_seed_increment
        else ((params.image_seed + index) % (MAX_SEED + 1))
    )


def _sampling(params: GenerateParams, fast: FastMode | None) -> tuple[str, str]:
    if fast:
        return fast.sampler, fast.scheduler
    if params.performance_selection in FAST_MODES:
        return FEW_STEPS
    return params.sampler_name, params.scheduler_name


def _settings(request: ResolvedRequest, goal: StartGoal | None) -> _Settings:
    params, fast = request.params, request.fast_mode
    mode = params.performance_selection
    steps = steps_of(goal, mode, STEPS[mode])
    sampler, scheduler = _sampling(params, fast)
    # The switch goes by the mode's own steps, also when overwrite_step replaces them.
    refiner = NO_MODEL if unused_refiner(params) else params.refiner_model_name
    share = 1.0 if fast else params.refiner_switch
    switch = round(steps * switch_share(goal, refiner, share))
    if params.overwrite_switch > 0:
        switch = params.overwrite_switch
    if params.overwrite_step > 0:
        steps = params.overwrite_step
    freeu = (params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    return _Settings(
        steps=steps,
        switch=switch,
        cfg=1.0 if fast else params.guidance_scale,
        adaptive_cfg=1.0 if fast else params.adaptive_cfg,
        sharpness=0.0 if fast else params.sharpness,
        adm_positive=1.0 if fast else params.adm_scaler_positive,
        adm_negative=1.0 if fast else params.adm_scaler_negative,
        adm_end=0.0 if fast else params.adm_scaler_end,
        sampler=sampler,
        scheduler=scheduler,
        refiner=refiner,
        swap_method=params.refiner_swap_method,
        model=params.base_model_name,
        vae=params.vae_name,
        clip_skip=params.clip_skip,
        freeu=freeu if params.freeu_enabled else None,
        denoise=denoise_of(goal),
        inpaint_engine=goal.engine if isinstance(goal, Inpaint) else "None",
        mode_lora=fast is not None,
    )


def _loras(request: ResolvedRequest, prompts: Prompts) -> tuple[tuple[str, float], ...]:
    """The request's LoRAs, then the prompt's, five in all and none twice; last the mode's own."""
    params, fast = request.params, request.fast_mode
    chosen = [(lora.model_name, lora.weight) for lora in params.loras if _is_used(lora)]
    unique = tuple(dict.fromkeys([*chosen, *prompts.loras]))[:MAX_LORAS]
    return (*unique, (fast.lora, fast.weight)) if fast else unique


def _is_used(lora: Lora) -> bool:
    return lora.enabled and lora.model_name != NO_MODEL
