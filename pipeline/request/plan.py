"""One plan an image: everything about it that is decided before a model is loaded."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from pipeline.request.choices import DEFAULT_VAE, NO_MODEL, InpaintEngine, SwapMethod
from pipeline.request.enhance_goals import Stage
from pipeline.request.goals import (
    NOT_PATCHED,
    StartGoal,
    denoise_of,
    engine_of,
    refines_itself,
    steps_of,
    switch_share,
    with_addition,
)
from pipeline.request.performance import FAST_MODES, FEW_STEPS, FastMode
from pipeline.request.prompts import (
    PictureTexts,
    Prompts,
    PromptSources,
    picture_texts,
    read_prompts,
)
from pipeline.request.resolved import ResolvedRequest, unused_refiner
from pipeline.request.sampling import FreeU, Guidance, SamplingSettings
from pipeline.request.schema import MAX_SEED, GenerateParams
from pipeline.request.schema_parts import Lora
from pipeline.request.sizes import ImageSize

USED_LORAS: Final = 5
STEPS: Final = {"Quality": 60, "Speed": 30, "Extreme Speed": 8, "Lightning": 4, "Hyper-SD": 4}


class ImagePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One image, settled: everything that decides its pixels but the models' files themselves.

    Models are named as ``ModelCatalog`` lists them.
    """

    index: int  # from 0
    size: ImageSize
    sampling: SamplingSettings
    guidance: Guidance
    texts: PictureTexts
    expansion: str = ""  # the continued prompt, encoded last; it has no part in the pooled sum
    clip_skip: int = 2
    model: str
    refiner: str = NO_MODEL
    vae: str = DEFAULT_VAE
    switch: int  # step from which the refiner samples
    swap_method: SwapMethod = "joint"  # how the refiner, or without one the model itself, goes on
    loras: tuple[tuple[str, float], ...] = ()  # (name, weight)
    mode_lora: bool = False  # whether the last of the LoRAs is the performance mode's own
    freeu: FreeU | None = None
    inpaint_engine: InpaintEngine = NOT_PATCHED  # whose patch and head the model gets
    engine: str = ""  # that ran the networks, once made: "openvino exact", "torch (a reason)"
    notes: dict[str, object] = {}  # facts for the task's record

    @property
    def seed(self) -> int:
        """Seed of the image's noise."""
        return self.sampling.seed

    @property
    def refines_itself(self) -> bool:
        """Whether the model without its inpaint patch samples from ``switch`` on."""
        return refines_itself(self.inpaint_engine, self.refiner)

    @property
    def negative_copies_positive(self) -> bool:
        """Whether the negative conditioning is a copy of the positive, as at a guidance of 1."""
        return abs(self.guidance.cfg - 1.0) < 1e-4


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
    params, fast, goal = request.params, request.fast_mode, run.goal
    seed = seed_of(params, index)
    refiner = NO_MODEL if unused_refiner(params) else params.refiner_model_name
    freeu = FreeU(params.freeu_b1, params.freeu_b2, params.freeu_s1, params.freeu_s2)
    return ImagePlan(
        index=index,
        size=request.size,
        sampling=_sampling(params, fast, goal, seed),
        guidance=_guidance(params, fast),
        texts=picture_texts(params, run.prompts, sources, seed, index),
        clip_skip=params.clip_skip,
        model=params.base_model_name,
        refiner=refiner,
        vae=params.vae_name,
        switch=_switch(params, fast, goal, refiner),
        swap_method=params.refiner_swap_method,
        loras=_loras(request, run.prompts),
        mode_lora=fast is not None,
        freeu=freeu if params.freeu_enabled else None,
        inpaint_engine=engine_of(goal),
        notes=request.notes | dict(_prompt_notes(run.prompts)),
    )


def _prompt_notes(prompts: Prompts) -> Iterator[tuple[str, object]]:
    if prompts.unknown_loras:
        told = ", ".join(prompts.unknown_loras)
        yield "unknown_loras", f"the prompt names LoRAs that are not there: {told}"


def seed_of(params: GenerateParams, index: int) -> int:
    """Seed of image ``index``."""
    fixed = params.disable_seed_increment
    return params.image_seed if fixed else seed_after(params.image_seed, index)


def seed_after(seed: int, index: int) -> int:
    """The seed ``index`` places after ``seed``; after the largest seed comes 0."""
    return (seed + index) % (MAX_SEED + 1)


def _sampling(
    params: GenerateParams, fast: FastMode | None, goal: StartGoal | None, seed: int
) -> SamplingSettings:
    sampler, scheduler = _names(params, fast)
    steps = params.overwrite_step if params.overwrite_step > 0 else _mode_steps(params, goal)
    return SamplingSettings(
        sampler=sampler, scheduler=scheduler, steps=steps, seed=seed, denoise=denoise_of(goal)
    )


def _names(params: GenerateParams, fast: FastMode | None) -> tuple[str, str]:
    """Sampler and scheduler, forced by a few-step mode."""
    if fast:
        return fast.sampler, fast.scheduler
    if params.performance_selection in FAST_MODES:
        return FEW_STEPS
    return params.sampler_name, params.scheduler_name


def _guidance(params: GenerateParams, fast: FastMode | None) -> Guidance:
    """The request's guidance; a few-step LoRA has guidance distilled into it and takes none."""
    if fast:
        return Guidance(
            cfg=1.0,
            sharpness=0.0,
            adaptive_cfg=1.0,
            adm_scaler_positive=1.0,
            adm_scaler_negative=1.0,
            adm_scaler_end=0.0,
        )
    return Guidance(
        cfg=params.guidance_scale,
        sharpness=params.sharpness,
        adaptive_cfg=params.adaptive_cfg,
        rescale=params.guidance_rescale,
        adm_scaler_positive=params.adm_scaler_positive,
        adm_scaler_negative=params.adm_scaler_negative,
        adm_scaler_end=params.adm_scaler_end,
    )


def _mode_steps(params: GenerateParams, goal: StartGoal | None) -> int:
    mode = params.performance_selection
    return steps_of(goal, mode, STEPS[mode])


def _switch(
    params: GenerateParams, fast: FastMode | None, goal: StartGoal | None, refiner: str
) -> int:
    """The refiner's first step: a share of the mode's own steps, also under overwrite_step."""
    if params.overwrite_switch > 0:
        return params.overwrite_switch
    share = switch_share(goal, refiner, 1.0 if fast else params.refiner_switch)
    return round(_mode_steps(params, goal) * share)


def _loras(request: ResolvedRequest, prompts: Prompts) -> tuple[tuple[str, float], ...]:
    """The request's LoRAs, then the prompt's, five in all; last the mode's own.

    As in Fooocus, equal entries of ``loras`` all count, and a LoRA of the prompt is left out where
    it repeats another entry of the prompt, a file of ``loras`` or the mode's own file.
    """
    params, fast = request.params, request.fast_mode
    slots = [(lora.model_name, lora.weight) for lora in params.loras if _is_used(lora)]
    files = {name for name, _ in slots}
    named = [
        (name, weight)
        for name, weight in dict.fromkeys(prompts.loras)
        if name not in files and not (fast and _file_name(name) == _file_name(fast.lora))
    ]
    chosen = (*slots, *named)[:USED_LORAS]
    return (*chosen, (fast.lora, fast.weight)) if fast else chosen


def _file_name(name: str) -> str:
    return name.rpartition("/")[2]


def _is_used(lora: Lora) -> bool:
    return lora.enabled and lora.model_name != NO_MODEL
