"""The picture side as the executor calls it: a task in, its pictures out through the reporter.

Imports torch, which takes seconds: import it on the device thread.
"""

import logging
import time
from typing import Final

import msgspec
import torch
from PIL import Image

from pipeline.catalog import ModelCatalog
from pipeline.device import choose_device, prepare_threads
from pipeline.errors import DeviceOutOfMemory, ImageSkipped
from pipeline.features import check_supported
from pipeline.generate import StepReport, TextCache, make_image, progress_percent
from pipeline.images.encode import encode_image
from pipeline.images.grid import make_grid
from pipeline.images.preview import LatentColours, read_colours
from pipeline.metadata import metadata_text
from pipeline.models.checkpoint import LATENT_RGB, Checkpoint
from pipeline.models.residency import OnUnloaded, Residency
from pipeline.params import GenerateParams
from pipeline.plan import ImagePlan, plan_images
from pipeline.presets import PresetStore
from pipeline.prompts import PromptSources
from pipeline.styles import StyleLibrary
from pipeline.tasks import MadeImage, Reporter, Task
from pipeline.wildcards import Wildcards

log = logging.getLogger(__name__)

_LOADING_PERCENT: Final = 2
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory")


class Library(msgspec.Struct, frozen=True):
    """The files that a task may name."""

    catalog: ModelCatalog
    presets: PresetStore
    styles: StyleLibrary
    wildcards: Wildcards


class Engine:
    """Makes the pictures of one task at a time. Device thread only."""

    def __init__(
        self, library: Library, device: torch.device, on_unloaded: OnUnloaded | None = None
    ) -> None:
        self.device = device
        self._library = library
        self._residency = Residency(library.catalog, device, on_unloaded=on_unloaded)

    def __call__(self, task: Task, reporter: Reporter) -> None:
        """Make every picture of ``task``. Raises PipelineError; a skipped picture is left out."""
        lack = self._try(task, reporter)
        if lack is None:
            return
        # Past the handler: its traceback held the tensors that did not fit.
        log.warning("task %s ran out of memory: %s", task.task_id, lack)
        self._residency.release()
        raise DeviceOutOfMemory(
            f"{self.device} has no memory for this picture; ask for a smaller one"
            " (aspect_ratios_selection, overwrite_width, overwrite_height) or a smaller model"
        )

    def preload(self, model: str) -> None:
        """Load a model before the first task asks for it."""
        with torch.inference_mode():
            self._residency.checkpoint(model)

    def release(self) -> tuple[str, ...]:
        """Drop every model; their names."""
        return self._residency.release()

    @torch.inference_mode()
    def _try(self, task: Task, reporter: Reporter) -> str | None:
        """Make every picture; what the device said if it had no memory for one."""
        try:
            reporter.progress(_LOADING_PERCENT, "Loading models ...")
            plans = self._plan(task)
            for plan in plans:
                for key, value in plan.notes.items():
                    reporter.note(key, value)
            reporter.check()
            self._make_all(task, plans, reporter)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return str(error)[:200] or type(error).__name__
        return None

    def _plan(self, task: Task) -> list[ImagePlan]:
        check_supported(task.params)  # a task from the queue of an earlier version too
        library = self._library
        sources = PromptSources(library.styles, library.wildcards, library.catalog.loras())
        return plan_images(task.params, library.presets.describing(task.params), sources)

    def _make_all(self, task: Task, plans: list[ImagePlan], reporter: Reporter) -> None:
        refined_by = plans[0].refiner
        checkpoint = self._residency.checkpoint(plans[0].model, reporter, refined_by)
        refiner = self._residency.refiner(refined_by, reporter)
        self._residency.put_loras(checkpoint, refiner, plans[0].loras, reporter)
        texts = TextCache(checkpoint)
        colours = _colours(checkpoint)
        made: list[Image.Image] = []  # kept for the grid only
        for plan in plans:
            number, images = plan.index + 1, len(plans)
            reporter.begin_image(number, images)
            report = StepReport(plan, images, reporter, colours)
            percent = progress_percent(number, images, 0, plan.steps)
            reporter.progress(percent, f"Preparing task {number}/{images} ...")
            started = time.perf_counter()
            try:
                reporter.check()
                image = make_image(plan, checkpoint, texts, report, refiner)
            except ImageSkipped:
                continue
            _log_picture(task, plan, time.perf_counter() - started)
            percent = progress_percent(number, images, plan.steps, plan.steps)
            reporter.progress(percent, f"Saving image {number}/{images} to system ...")
            text = _describe(plan, task.params)
            reporter.image(_encode(image, plan.seed, task.params, text))
            if task.params.generate_image_grid:
                made.append(image)
        if (grid := make_grid(made)) is not None:
            reporter.image(_encode(grid, plans[0].seed, task.params, None))


def load_engine(device: str, library: Library, on_unloaded: OnUnloaded | None = None) -> Engine:
    """The engine on ``auto``, ``cpu``, ``cuda[:n]`` or ``mps``. Raises UnknownDevice."""
    chosen = choose_device(device)
    prepare_threads(chosen)
    log.info("pictures are made on %s", chosen)
    return Engine(library, chosen, on_unloaded)


def _colours(checkpoint: Checkpoint) -> LatentColours:
    return read_colours(checkpoint.folder / LATENT_RGB) if checkpoint.folder else LatentColours()


def _describe(plan: ImagePlan, params: GenerateParams) -> str | None:
    """The parameters text of a picture, where it is to carry one."""
    return metadata_text(plan, params) if params.save_metadata_to_images else None


def _encode(image: Image.Image, seed: int, params: GenerateParams, text: str | None) -> MadeImage:
    return MadeImage(
        data=encode_image(image, params.output_format, text, params.metadata_scheme),
        extension=params.output_format,
        seed=seed,
        width=image.width,
        height=image.height,
    )


def _log_picture(task: Task, plan: ImagePlan, seconds: float) -> None:
    size = f"{plan.native_width}x{plan.native_height}"
    log.info("task %s: %s, %d steps, %.2f s", task.task_id, size, plan.steps, seconds)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)
