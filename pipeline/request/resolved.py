"""A generate request after every look-up: presets, goals, sizes, mode, LoRAs and model files.

Made once, at admission, and carried in the task. It is plain data: model files are named by their
folder below the models folder, so another process or machine finds them in its own.
"""

from collections.abc import Iterator, Sequence

import msgspec

from pipeline.request.architectures import Architecture, FolderModel
from pipeline.request.choices import NO_MODEL
from pipeline.request.enhance_goals import Stage, read_stages
from pipeline.request.goals import NATIVE_SIDE, Goals, native_side, read_goals
from pipeline.request.model_file import ModelFile
from pipeline.request.performance import FAST_MODES, FEW_STEPS, FastMode, fast_mode
from pipeline.request.presets import Preset
from pipeline.request.prompts import named_loras
from pipeline.request.schema import GenerateParams
from pipeline.request.sizes import LATENT_FACTOR, ImageSize, image_size


class ResolvedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the device side needs to know of a request.

    ``params`` are complete: the preset is applied, the seed drawn, images are paths on this server.
    """

    params: GenerateParams
    size: ImageSize
    goals: Goals = Goals()
    stages: tuple[Stage, ...] = ()  # of the enhancement, in order
    fast_mode: FastMode | None = None  # the few-step mode in force
    architecture: Architecture | None = None  # of a pipeline of diffusers; None: the SDXL way
    grid: int = LATENT_FACTOR  # pixels: the model's sizes are whole multiples
    native_side: int = NATIVE_SIDE  # side of the square the model was trained on, in pixels
    prompt_loras: tuple[str, ...] = ()  # LoRA files that the prompts name as <lora:...>
    files: tuple[ModelFile, ...] = ()  # checkpoints, VAE and LoRAs; with a URL where to be fetched
    notes: dict[str, object] = {}  # facts for the task's record


def resolve_params(
    params: GenerateParams,
    preset: Preset | None = None,
    known_loras: Sequence[str] = (),
    model: FolderModel | None = None,
) -> ResolvedRequest:
    """What complete parameters and the facts about their model decide, without ``files``.

    Reads no file. ``preset`` describes the model (``PresetStore.describing``); ``known_loras`` are
    the installed LoRA files. ``model`` is one that diffusers runs, to which the parameters then are
    ``fitted``.
    """
    preset = preset or Preset()
    architecture, grid = (model.architecture, model.grid) if model else (None, LATENT_FACTOR)
    goals = read_goals(params)
    stages = read_stages(params, goals)
    size = image_size(params, preset.native_sizes, grid)
    prompts = (params.prompt, params.inpaint_additional_prompt, *(stage.prompt for stage in stages))
    request = ResolvedRequest(
        params=params,
        goals=goals,
        stages=stages,
        fast_mode=None if architecture else fast_mode(params, preset),
        architecture=architecture,
        grid=grid,
        size=size,
        native_side=native_side(preset),
        prompt_loras=named_loras(prompts, known_loras),
    )
    return msgspec.structs.replace(request, notes=dict(_notes(request)))


def unused_refiner(params: GenerateParams) -> str:
    """Why the refiner that is named takes no part, as in Fooocus; "" if it does."""
    if params.refiner_model_name == NO_MODEL:
        return ""
    if params.refiner_model_name == params.base_model_name:
        return "it is the model itself"
    mode = params.performance_selection
    return f"{mode} has too few steps for two models" if mode in FAST_MODES else ""


def _notes(request: ResolvedRequest) -> Iterator[tuple[str, object]]:
    """Facts that a reader of the record would not expect from the parameters."""
    params, size = request.params, request.size
    if reason := unused_refiner(params):
        yield "refiner", f"{params.refiner_model_name} was left out: {reason}"
    mode = params.performance_selection
    if mode in FAST_MODES and request.fast_mode is None and request.architecture is None:
        how = f"made in its steps with {FEW_STEPS[0]}, {FEW_STEPS[1]}"
        yield "performance", f"{params.base_model_name} has no LoRA for {mode}: {how}"
    # With an input image, that decides the size.
    if request.goals.start is None and not request.goals.enhance and size.note:
        yield "native_size", f"{size.native_width}x{size.native_height}"
        yield "size", size.note
