"""Enhancement of a finished image: each stage finds something in it and inpaints that, or varies
or upscales the whole, in a run of its own."""

from collections.abc import Iterator
from typing import Final

import msgspec
from PIL import Image

from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.image_pipeline import ImagePipeline, sized
from pipeline.engine.initial_latents import initial_latents
from pipeline.engine.planner import TaskPlanner
from pipeline.engine.progress import TaskProgress
from pipeline.engine.sdxl import ImageRun
from pipeline.engine.start import NothingToPaint
from pipeline.engine.task_context import TaskContext
from pipeline.request.decode import EnhanceControl
from pipeline.request.enhance_goals import Stage
from pipeline.request.plan import ImagePlan
from pipeline.request.tools import MaskOptions

_FIRST_RUN: Final = 2  # of an image's runs, the first of which makes it


class Enhanced(msgspec.Struct, frozen=True):
    """The result of a stage, or what the first one starts from: an image, or a mask to look at.

    ``described``: whether ``plan`` describes it and may go into its metadata.
    """

    image: Image.Image
    plan: ImagePlan
    is_mask: bool = False
    described: bool = True


class Enhancer:
    """Runs the enhancement stages of one task's images."""

    def __init__(
        self,
        planner: TaskPlanner,
        context: TaskContext,
        pipeline: ImagePipeline,
        progress: TaskProgress,
    ) -> None:
        self._planner = planner
        self._params = planner.request.params
        self._context = context
        self._pipeline = pipeline
        self._progress = progress

    def enhance(self, image: Image.Image, index: int) -> Iterator[Enhanced]:
        """Results of the stages of image ``index`` (from 0), each made from the one before it.

        A stage that finds nothing changes nothing, and the record says so. Raises what loading
        models does, and what the reporter's ``check`` does.
        """
        for number, stage in enumerate(self._planner.request.stages):
            plan = self._planner.stage(stage, index)
            mask = None
            if stage.control is not None:
                mask = self._find(image, stage.control, number)
                if mask is None:
                    continue
                if self._params.debugging_enhance_masks_checkbox:
                    yield Enhanced(mask, plan, is_mask=True, described=False)
            self._progress.begin_run(_FIRST_RUN + number)
            try:
                made = self._run(image, mask, stage, plan)
            except NothingToPaint:
                self._note(number, "shrunk or inverted as asked, the mask has nothing left")
                continue
            image = made.image
            yield made

    def _find(self, image: Image.Image, control: EnhanceControl, number: int) -> Image.Image | None:
        """The mask of what the stage is about; None if there is nothing."""
        options = MaskOptions.of_enhancement(control, self._params)
        mask = self._context.toolbox.mask(image, options, self._context.reporter)
        if mask.getbbox() is None:
            what = options.prompt or options.mask_model
            self._note(number, f"nothing was found for {what!r}")
            return None
        return mask

    def _note(self, number: int, told: str) -> None:
        self._context.reporter.note(f"enhancement {number + 1}", told)

    def _run(
        self, image: Image.Image, mask: Image.Image | None, stage: Stage, plan: ImagePlan
    ) -> Enhanced:
        context, native_side = self._context, self._planner.request.native_side
        check = context.reporter.check
        latents = initial_latents(stage.goal, plan.seed, native_side, context, check)
        start = latents.start(stage.goal, image, mask)
        plan = sized(plan, start)
        if start.finished is not None:
            return Enhanced(start.finished, plan)
        on_step = self._progress.on_step(plan.sampling.steps, self._pipeline.rgb)
        run = ImageRun(plan, on_step)
        (made,) = self._pipeline.make_batch([run], start, ImageConditions())
        return Enhanced(made.image, msgspec.structs.replace(plan, engine=made.engine))
