"""The engine of one device: a task goes in, its images come out through the reporter.

Imports torch, which takes seconds: import it on the device thread.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

import torch

from pipeline.engine.batching import batch_limit
from pipeline.engine.cpu_engines import CpuEngines
from pipeline.engine.diffusers_pipeline import DiffusersPipeline
from pipeline.engine.image_pipeline import ImagePipeline, PatchedSdxl
from pipeline.engine.options import EngineOptions
from pipeline.engine.planner import TaskPlanner
from pipeline.engine.sdxl import SdxlPipeline
from pipeline.engine.task_context import SdxlModels, TaskContext
from pipeline.engine.task_run import TaskRun
from pipeline.engine.task_runner import TaskRunner
from pipeline.errors import DeviceOutOfMemory, PipelineError
from pipeline.files.auxiliary import AuxiliaryFiles, upscaler_of
from pipeline.files.catalog import CHECKPOINTS, PROMPT_EXPANSION
from pipeline.files.diffusers_folder import read_folder
from pipeline.files.hashes import HashCache
from pipeline.files.library import Library
from pipeline.memory.cache import choose_budgets
from pipeline.memory.device import (
    choose_device,
    describe_hardware,
    is_out_of_memory,
    prepare_threads,
)
from pipeline.models.manager import ModelManager, OnUnloaded
from pipeline.models.model_sampling import sampling_note
from pipeline.request.choices import EMBEDDED
from pipeline.request.plan import ImagePlan
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.engine_protocol import Hardware, Inputs, LoadedModel, TaskEnded, TaskJob
from pipeline.scheduling.task import Reporter, Task, check_stopped
from pipeline.text.expansion import PromptExpansion
from pipeline.vision.toolbox import Toolbox

log = logging.getLogger(__name__)

NO_INPUTS: Final[Inputs] = MappingProxyType({})
_LOADING_PERCENT: Final = 2


class Engine:
    """Makes the images of one task at a time, or of some together, on the device thread."""

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
        self._hashes = HashCache(library.catalog.models_dir)
        budgets = choose_budgets(device, self._options.device_memory_gb, self._options.ram_gb)
        self._manager = ModelManager(self._files, device, budgets, on_unloaded)
        self._engines = CpuEngines(self._options, device, library.catalog.models_dir)
        self._tools = Toolbox(self._manager, self._files, device)

    def __call__(self, task: Task, reporter: Reporter, inputs: Inputs = NO_INPUTS) -> None:
        """Make every image of ``task``; a skipped one is left out. Raises PipelineError."""
        errors: list[PipelineError] = []

        def ended(_index: int, error: PipelineError | None) -> None:
            if error is not None:
                errors.append(error)

        self.run_together([TaskJob(task, reporter, inputs)], ended)
        if errors:
            raise errors[0]

    def run_together(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        """As ``MakesBatches``. Raises DeviceOutOfMemory."""
        self._within_memory(
            partial(self._make_images, jobs, ended),
            f"{self.device} has no memory for this picture; ask for a smaller one"
            " (aspect_ratios_selection, overwrite_width, overwrite_height) or a smaller model",
        )

    def images_together(self, request: ResolvedRequest) -> int:
        """As ``MakesBatches``."""
        if request.architecture is not None:
            return 1
        sampler = request.fast_mode.sampler if request.fast_mode else request.params.sampler_name
        return self._batch_limit(sampler, request.size.native)

    def preload(self, model: str) -> None:
        """Load a model before the first task asks for it. Raises PipelineError."""
        self._within_memory(partial(self._load, model), f"{self.device} has no memory for {model}")

    def loaded(self) -> tuple[LoadedModel, ...]:
        """As ``HoldsModels.loaded``."""
        return self._manager.loaded()

    def release(self) -> tuple[str, ...]:
        """Drop every model; their names."""
        self._expansion.release()
        return self._manager.release()

    def hardware(self) -> Hardware:
        """As ``NamesHardware``."""
        return describe_hardware(self.device)

    def wait_for_engines(self, timeout_s: float) -> bool:
        """Wait for the engines that are being prepared; whether they were in time."""
        return self._engines.wait(timeout_s)

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

    def _load(self, model: str) -> None:
        path = self._library.catalog.models_dir / CHECKPOINTS / model
        if model != EMBEDDED and read_folder(path) is not None:
            self._manager.diffusers_model(model)
        else:
            self._manager.checkpoint(model)

    def _make_images(self, jobs: Sequence[TaskJob], ended: TaskEnded) -> None:
        self._manager.begin_task(file for job in jobs for file in job.task.request.files)
        runs: dict[TaskRun, int] = {}
        for index, job in enumerate(jobs):
            try:
                runs[self._task_run(job)] = index
            except PipelineError as error:
                ended(index, error)
        runner = TaskRunner(self._batch_limit, lambda run, error: ended(runs[run], error))
        runner.run(tuple(runs))

    def _batch_limit(self, sampler: str, size: tuple[int, int]) -> int:
        asked, is_prepared = self._options.batch, self._engines.is_on or self._options.compile_unet
        return batch_limit(asked, sampler, size, self.device, is_prepared=is_prepared)

    def _task_run(self, job: TaskJob) -> TaskRun:
        """A task with its plans made and its models loaded."""
        task, reporter, inputs = job
        reporter.progress(_LOADING_PERCENT, "Loading models ...")
        sources = PromptSources(self._library.styles, self._library.wildcards)
        planner = TaskPlanner(task.request, sources, self._expansion, self._manager, reporter)
        check_stopped(reporter)
        plan = planner.images[0]
        context = self._context(task, plan, reporter, inputs)
        if task.request.architecture is None:
            context = replace(context, sdxl=self._sdxl_models(plan, reporter))
            pipeline = self._pipeline(plan, context)
        else:
            model = self._manager.diffusers_model(plan.model, reporter)
            pipeline = DiffusersPipeline(context, model)
        planner.fetch_inversions()
        return TaskRun(task, planner, context, pipeline, self._hashes)

    def _context(
        self, task: Task, plan: ImagePlan, reporter: Reporter, inputs: Inputs
    ) -> TaskContext:
        """What a task works with, before its base model is loaded."""
        return TaskContext(
            manager=self._manager,
            files=AuxiliaryFiles(self._files),
            toolbox=self._tools,
            inputs=inputs,
            device=self.device,
            model=plan.model,
            sdxl=None,
            reporter=reporter,
            upscaler=upscaler_of(task.request.params),
        )

    def _sdxl_models(self, plan: ImagePlan, reporter: Reporter) -> SdxlModels:
        """The models of a task; all its images use the same."""
        checkpoint = self._manager.checkpoint(plan.model, reporter, plan.refiner)
        return SdxlModels(checkpoint, self._manager.vae(plan.vae, checkpoint, reporter))

    def _pipeline(self, plan: ImagePlan, context: TaskContext) -> ImagePipeline:
        """What makes a task's images with SDXL's networks."""
        checkpoint, cpu_noise = context.checkpoint, self._options.cpu_noise
        refiner = self._manager.refiner(plan.refiner, context.reporter)
        for note, model in (("prediction", checkpoint), ("refiner_prediction", refiner)):
            if model is None:
                continue
            if told := sampling_note(model.model_sampling):
                context.reporter.note(note, told)
            if self._options.compile_unet:
                model.unet.compile()
        networks = SdxlPipeline(checkpoint, context.vae, refiner, cpu_noise=cpu_noise)
        return PatchedSdxl(context, networks, self._engines)


def load_engine(
    device: str,
    library: Library,
    on_unloaded: OnUnloaded | None = None,
    options: EngineOptions | None = None,
) -> Engine:
    """The engine on ``auto``, ``cpu``, ``cuda[:n]`` or ``mps``. Raises UnknownDevice."""
    chosen = choose_device(device)
    prepare_threads(chosen)
    log.info("images are made on %s", chosen)
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
