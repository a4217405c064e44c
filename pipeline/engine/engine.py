"""The picture side as the executor calls it: a task in, its pictures out through the reporter.

Imports torch, which takes seconds: import it on the device thread.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import torch

from pipeline.engine.image_pipeline import ImagePipeline
from pipeline.engine.options import EngineOptions
from pipeline.engine.task_context import TaskContext
from pipeline.engine.task_run import Staff, TaskRun
from pipeline.errors import DeviceOutOfMemory
from pipeline.files.auxiliary import AuxiliaryFiles
from pipeline.files.catalog import PROMPT_EXPANSION
from pipeline.files.library import Library
from pipeline.memory.cache import choose_budgets
from pipeline.memory.device import choose_device, is_out_of_memory, prepare_threads
from pipeline.models.manager import ModelManager, OnUnloaded
from pipeline.request.enhance_goals import Stage
from pipeline.request.plan import ImagePlan, plan_images, plan_stage
from pipeline.request.prompts import PromptSources
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import Inputs, LoadedModel
from pipeline.scheduling.task import Reporter, Task, check_stopped
from pipeline.text.expansion import PromptExpansion
from pipeline.vision.toolbox import Toolbox

log = logging.getLogger(__name__)

NO_INPUTS: Final[Inputs] = MappingProxyType({})
_LOADING_PERCENT: Final = 2


class Engine:
    """Makes the pictures of one task at a time. Device thread only."""

    def __init__(
        self,
        library: Library,
        device: torch.device,
        on_unloaded: OnUnloaded | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        self.device = device
        self._library = library
        self._options = options or EngineOptions()
        self._expansion = PromptExpansion(library.catalog.models_dir / PROMPT_EXPANSION)
        self._files = library.files
        budgets = choose_budgets(device, self._options.device_memory_gb, self._options.ram_gb)
        self._manager = ModelManager(self._files, device, budgets, on_unloaded)
        self._tools = Toolbox(self._manager, self._files, device)

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs = NO_INPUTS) -> None:
        """Make every image of ``task``; a skipped one is left out. Raises PipelineError."""
        self._within_memory(
            partial(self._make_images, task, reporter, inputs),
            f"{self.device} has no memory for this picture; ask for a smaller one"
            " (aspect_ratios_selection, overwrite_width, overwrite_height) or a smaller model",
        )

    def preload(self, model: str) -> None:
        """Load a model before the first task asks for it. Raises PipelineError."""
        self._within_memory(
            lambda: self._manager.checkpoint(model), f"{self.device} has no memory for {model}"
        )

    def loaded(self) -> tuple[LoadedModel, ...]:
        """As ``HoldsModels.loaded``."""
        return self._manager.loaded()

    def release(self) -> tuple[str, ...]:
        """Drop every model; their names."""
        self._expansion.release()
        return self._manager.release()

    def device_fault(self) -> str | None:
        """As ``ChecksDevice``: a CUDA error such as an illegal access fails every later call."""
        try:
            torch.zeros(1, device=self.device).item()
        except RuntimeError as error:
            return str(error).partition("\n")[0][:200]
        return None

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """As ``HasTools.describe``."""
        return self._tools.describe(picture, image_type)

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """As ``HasTools.generate_mask``."""
        return self._tools.generate_mask(picture, options)

    def _within_memory(self, work: Callable[[], object], lack: str) -> None:
        """Do ``work``. Without memory for it, unload every model and raise DeviceOutOfMemory."""
        said = _memory_error(work)
        if said is not None:
            # Outside the except block on purpose: its traceback keeps the failed tensors alive.
            log.warning("%s (%s)", lack, said)
            self.release()
            raise DeviceOutOfMemory(lack)

    def _make_images(self, task: Task, reporter: Reporter, inputs: Inputs) -> None:
        reporter.progress(_LOADING_PERCENT, "Loading models ...")
        self._manager.begin_task(task.request.files)
        plans = self._plan(task)
        for plan in plans:
            _tell_notes(plan, reporter)
        check_stopped(reporter)
        self._make_all(task, plans, reporter, inputs)

    def _plan(self, task: Task) -> list[ImagePlan]:
        return plan_images(task.request, self._sources())

    def _sources(self) -> PromptSources:
        return PromptSources(self._library.styles, self._library.wildcards)

    def _make_all(
        self, task: Task, plans: list[ImagePlan], reporter: Reporter, inputs: Inputs
    ) -> None:
        pipeline = self._image_pipeline(plans[0], reporter, inputs)
        self._fetch_inversions(plans, reporter)
        expand = partial(self._expanded, reporter, [])
        known = task.params.prompt_expansion

        def plan_of(stage: Stage, index: int) -> ImagePlan:
            plan = plan_stage(task.request, stage, index, self._sources())
            _tell_notes(plan, reporter)
            self._fetch_inversions([plan], reporter)
            # What is known continues the picture's own prompt, and no other.
            own = plan.texts.prompt == plans[index].texts.prompt
            return expand(known if own else "", plan)

        staff = Staff(partial(expand, known), plan_of, self._tools)
        TaskRun(task, plans, pipeline, staff).run()

    def _image_pipeline(self, plan: ImagePlan, reporter: Reporter, inputs: Inputs) -> ImagePipeline:
        """What a task's pictures are made with; they all use the same."""
        checkpoint = self._manager.checkpoint(plan.model, reporter, plan.refiner)
        vae = self._manager.vae(plan.vae, checkpoint, reporter)
        refiner = self._manager.refiner(plan.refiner, reporter)
        if self._options.compile_unet:
            for model in (checkpoint, refiner):
                if model is not None:
                    model.unet.compile()
        context = TaskContext(
            self._manager,
            AuxiliaryFiles(self._files),
            inputs,
            self.device,
            plan.model,
            checkpoint,
            vae,
            reporter,
        )
        return ImagePipeline(context, refiner, cpu_noise=self._options.cpu_noise)

    def _fetch_inversions(self, plans: Sequence[ImagePlan], reporter: Reporter) -> None:
        """Have the textual inversions that the texts of these plans name."""
        texts = [text for plan in plans for text in (*plan.texts.positives, *plan.texts.negatives)]
        self._manager.fetch_inversions(texts, reporter)

    def _expanded(
        self, reporter: Reporter, earlier: list[str], known: str, plan: ImagePlan
    ) -> ImagePlan:
        """``plan`` with its prompt continued; the record holds all texts, picture by picture.

        ``known`` is how the prompt goes on, where that is not to be made up.
        """
        filled = self._expansion.fill(plan, known)
        if filled.expansion:
            earlier.append(filled.expansion)
            reporter.note("expansion", list(earlier))
        elif filled is not plan and not earlier:
            _tell_notes(filled, reporter)
        return filled


def load_engine(
    device: str,
    library: Library,
    on_unloaded: OnUnloaded | None = None,
    options: EngineOptions | None = None,
) -> Engine:
    """The engine on ``auto``, ``cpu``, ``cuda[:n]`` or ``mps``. Raises UnknownDevice."""
    chosen = choose_device(device)
    prepare_threads(chosen)
    log.info("pictures are made on %s", chosen)
    return Engine(library, chosen, on_unloaded, options)


@torch.inference_mode()
def _memory_error(work: Callable[[], object]) -> str | None:
    """What the device said when ``work`` had no memory; None if it was done."""
    try:
        work()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return str(error)[:200] or type(error).__name__
    return None


def _tell_notes(plan: ImagePlan, reporter: Reporter) -> None:
    for key, value in plan.notes.items():
        reporter.note(key, value)
