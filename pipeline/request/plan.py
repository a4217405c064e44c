"""From decoded parameters to one settled plan a picture; loads nothing. Torch-free."""

import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pipeline.request.choices import NO_MODEL, InpaintEngine, SwapMethod
from pipeline.request.decode import MAX_SEED, GenerateParams, Lora, parse_aspect_ratio
from pipeline.request.goals import (
    Inpaint,
    StartGoal,
    denoise_of,
    read_goals,
    steps_of,
    switch_share,
    with_addition,
)
from pipeline.request.performance import FAST_MODES, FEW_STEPS, FastMode, fast_mode
from pipeline.request.presets import Preset
from pipeline.request.prompts import Prompts, PromptSources, picture_texts, read_prompts

MAX_LORAS: Final = 5
LATENT_FACTOR: Final = 8
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


def plan_images(params: GenerateParams, preset: Preset, sources: PromptSources) -> list[ImagePlan]:
    """One plan a picture, in order. ``params`` hold a drawn seed.

    ``preset`` describes the model (``PresetStore.describing``). Raises InvalidParameter for an
    unknown style.
    """
    return plan_towards(read_goals(params).start, params, preset, sources)


def plan_towards(
    goal: StartGoal | None,
    params: GenerateParams,
    preset: Preset,
    sources: PromptSources,
    first: int = 0,
) -> list[ImagePlan]:
    """As ``plan_images``, for a goal that need not be the request's own, from picture ``first``."""
    sources.styles.check(params.style_selections)
    words = with_addition(params.prompt, params.inpaint_additional_prompt, goal)
    params = msgspec.structs.replace(params, prompt=words)
    prompts = read_prompts(params, sources.loras)
    settings = _settings(params, preset, goal)
    sizes = _sizes(params, preset, goal)
    if prompts.unknown_loras:
        told = ", ".join(prompts.unknown_loras)
        sizes["notes"]["unknown_loras"] = f"the prompt names LoRAs that are not there: {told}"
    plans = []
    for index in range(first, first + params.image_number):
        texts = picture_texts(params, prompts, sources, seed_of(params, index), index)
        plans.append(
            ImagePlan(
                index=index,
                seed=seed_of(params, index),
                loras=_loras(params, preset, prompts),
                **sizes,
                **msgspec.structs.asdict(texts),
                **msgspec.structs.asdict(settings),
            )
        )
    return plans


def seed_of(params: GenerateParams, index: int) -> int:
    """Seed of picture ``index``; past the largest seed they go on from 0."""
    return (
        params.image_seed
        if params.disable_seed_increment
        else ((params.image_seed + index) % (MAX_SEED + 1))
    )


def asked_size(params: GenerateParams) -> tuple[int, int]:
    """Width and height of the request, overrides included."""
    width, height = parse_aspect_ratio(params.aspect_ratios_selection) or (1024, 1024)
    if params.overwrite_width > 0:
        width = params.overwrite_width
    if params.overwrite_height > 0:
        height = params.overwrite_height
    return width, height


def made_size(asked: tuple[int, int], preset: Preset) -> tuple[int, int]:
    """Size at which the model works: the trained size of nearest shape, else whole latents."""
    width, height = asked
    if preset.native_sizes:
        return min(preset.native_sizes, key=lambda size: _shape_distance(size, asked))
    return width - width % LATENT_FACTOR, height - height % LATENT_FACTOR


def _sizes(params: GenerateParams, preset: Preset, goal: StartGoal | None) -> dict[str, Any]:
    asked = asked_size(params)
    made = made_size(asked, preset)
    width, height = asked if preset.native_sizes else made
    notes = dict(_notes(params, preset))
    if goal is None and not params.enhance_input_image:
        notes.update(_size_notes(asked, made, preset))
    return {
        "width": width,
        "height": height,
        "native_width": made[0],
        "native_height": made[1],
        "notes": notes,
    }


def _sampling(params: GenerateParams, fast: FastMode | None) -> tuple[str, str]:
    if fast:
        return fast.sampler, fast.scheduler
    if params.performance_selection in FAST_MODES:
        return FEW_STEPS
    return params.sampler_name, params.scheduler_name


def _settings(params: GenerateParams, preset: Preset, goal: StartGoal | None) -> _Settings:
    mode = params.performance_selection
    steps = steps_of(goal, mode, STEPS[mode])
    fast = fast_mode(params, preset)
    sampler, scheduler = _sampling(params, fast)
    # The switch goes by the mode's own steps, also when overwrite_step replaces them.
    refiner = NO_MODEL if _refiner_left_out(params) else params.refiner_model_name
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


def _refiner_left_out(params: GenerateParams) -> str:
    """Why the refiner that is named has no part in the picture, as in Fooocus; "" if it has."""
    if params.refiner_model_name == NO_MODEL:
        return ""
    if params.refiner_model_name == params.base_model_name:
        return "it is the model itself"
    mode = params.performance_selection
    return f"{mode} has too few steps for two models" if mode in FAST_MODES else ""


def _loras(
    params: GenerateParams, preset: Preset, prompts: Prompts
) -> tuple[tuple[str, float], ...]:
    """The request's LoRAs, then the prompt's, five in all and none twice; last the mode's own."""
    chosen = [(lora.model_name, lora.weight) for lora in params.loras if _is_used(lora)]
    unique = tuple(dict.fromkeys([*chosen, *prompts.loras]))[:MAX_LORAS]
    fast = fast_mode(params, preset)
    return (*unique, (fast.lora, fast.weight)) if fast else unique


def _is_used(lora: Lora) -> bool:
    return lora.enabled and lora.model_name != NO_MODEL


def _size_notes(
    asked: tuple[int, int], made: tuple[int, int], preset: Preset
) -> Iterator[tuple[str, object]]:
    """Where a picture is put in its size decides, and nothing here holds."""
    if asked != made:
        yield "native_size", f"{made[0]}x{made[1]}"
        how = "resized" if preset.native_sizes else "whole latents of 8 pixels"
        yield "size", f"asked {asked[0]}x{asked[1]}, made {made[0]}x{made[1]} ({how})"


def _notes(params: GenerateParams, preset: Preset) -> Iterator[tuple[str, object]]:
    """What a reader of the record would not expect from the parameters."""
    if reason := _refiner_left_out(params):
        yield "refiner", f"{params.refiner_model_name} was left out: {reason}"
    if params.performance_selection in FAST_MODES and fast_mode(params, preset) is None:
        mode = params.performance_selection
        how = f"made in its steps with {FEW_STEPS[0]}, {FEW_STEPS[1]}"
        yield "performance", f"{params.base_model_name} has no LoRA for {mode}: {how}"


def _shape_distance(size: tuple[int, int], asked: tuple[int, int]) -> float:
    return abs(math.log(size[0] / size[1]) - math.log(asked[0] / asked[1]))
