"""One task on its device: from its plans to its pictures, which go out through the reporter."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from pipeline.engine.enhance import Enhanced, Enhancer, PlanStage
from pipeline.engine.generate import Place, StepReport
from pipeline.engine.image_conditions import ImageConditions, load_image_conditions, preprocessed
from pipeline.engine.image_pipeline import ImagePipeline, sized
from pipeline.engine.initial_latents import begin
from pipeline.engine.start import Start
from pipeline.errors import ImageSkipped
from pipeline.images.encode import encode_image
from pipeline.images.grid import make_grid
from pipeline.metadata.write import metadata_text
from pipeline.request.goals import Goals
from pipeline.request.plan import ImagePlan
from pipeline.scheduling.task import MadeImage, Task
from pipeline.vision.toolbox import Toolbox

log = logging.getLogger(__name__)

ExpandPrompt = Callable[[ImagePlan], ImagePlan]
"""Continues a plan's prompt, where it asks for that and a model for it is installed."""


@dataclass(frozen=True, slots=True)
class Staff:
    """Who works on a task beside its pipeline."""

    expand: ExpandPrompt
    plan_stage: PlanStage
    toolbox: Toolbox


class TaskRun:
    """Makes the pictures of one task, once. Device thread only."""

    def __init__(
        self, task: Task, plans: Sequence[ImagePlan], pipeline: ImagePipeline, staff: Staff
    ) -> None:
        self._params = task.params
        self._task = task
        self._plans = plans
        self._image_pipeline = pipeline
        self._staff = staff
        self._reporter = pipeline.context.reporter
        self._enhancer = Enhancer(task.request, pipeline, staff.toolbox)
        black_out = task.params.black_out_nsfw
        self._censor = staff.toolbox.censor(self._reporter) if black_out else None
        self._saved = 0
        self._for_grid: list[Image.Image] = []

    def run(self) -> None:
        """Make and save every picture; a skipped one is left out. Raises PipelineError."""
        request, params = self._task.request, self._params
        goals = request.goals
        start = None
        if goals.start is not None:
            context = self._image_pipeline.context
            start = begin(goals.start, params, request.native_side, context)
        plans = [sized(plan, start) for plan in self._plans]
        if (shown := self._instead(goals, plans[0], start)) is not None:
            for image in shown:
                self._save(image, plans[0], Place(1, 1), described=False)
            return
        conditions = ImageConditions()
        if goals.image_prompts:
            conditions = load_image_conditions(
                params, _size(plans[0]), self._image_pipeline.context
            )
        given = params.enhance_input_image if goals.enhance else ""
        for plan in plans:
            try:
                self._picture(plan, start, conditions, given)
            except ImageSkipped:
                continue
        if (grid := make_grid(self._for_grid)) is not None:
            self._save(grid, plans[0], Place(len(plans), len(plans)), described=False)

    def _instead(
        self, goals: Goals, plan: ImagePlan, start: Start | None
    ) -> list[Image.Image] | None:
        """What the request wants to see in place of pictures, or is finished without a run."""
        if self._params.debugging_cn_preprocessor and goals.image_prompts:
            return preprocessed(self._params, _size(plan), self._image_pipeline.context)
        if start is None:
            return None
        if self._params.debugging_inpaint_preprocessor and start.inpaint is not None:
            area = start.inpaint.area
            return [Image.fromarray(each) for each in (area.filled, area.mask, area.shown)]
        return None if start.finished is None else [start.finished]

    def _picture(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions, given: str
    ) -> None:
        """One picture and what is made of it; ``given`` is the path of one that is there."""
        place = Place(plan.index + 1, len(self._plans), stages=1 + len(self._enhancer.stages))
        reporter = self._reporter
        reporter.begin_image(place.image, place.images)
        told = f"Preparing task {place.image}/{place.images} ..."
        reporter.progress(place.percent(0.0), told)
        reporter.check()
        if given:
            image = self._image_pipeline.context.picture(given)
        else:
            plan = self._staff.expand(plan)
            started = time.perf_counter()
            report = StepReport(plan, place, reporter, self._image_pipeline.rgb)
            image = self._image_pipeline.make(plan, start, conditions, report)
            self._log(plan, time.perf_counter() - started)
        self._enhance(Enhanced(image, plan, described=not given), place)

    def _enhance(self, first: Enhanced, place: Place) -> None:
        """Save the picture and what each stage makes of it, or the last one alone.

        What is finished is saved at once: a later stage may be skipped or fail. A picture that was
        brought along is saved only where no stage changes it.
        """
        only_last = self._params.save_final_enhanced_image_only
        wait = only_last or not first.described
        latest, saved = first, None if wait else self._save_made(first, place)
        stages = self._enhancer.enhance(first.image, place.stage_after(1), self._staff.plan_stage)
        for each in stages:
            if each.is_mask:
                self._save_made(each, place)
                continue
            latest, saved = each, None if only_last else self._save_made(each, place)
        if saved is None:
            saved = self._save_made(latest, place)
        if self._params.generate_image_grid:
            self._for_grid.append(saved)

    def _save_made(self, made: Enhanced, place: Place) -> Image.Image:
        return self._save(made.image, made.plan, place, described=made.described)

    def _save(
        self, image: Image.Image, plan: ImagePlan, place: Place, *, described: bool
    ) -> Image.Image:
        """Save a picture, blacked out where that is asked for; the picture as it was saved."""
        params, reporter = self._params, self._reporter
        self._saved += 1
        told = f"Saving image {place.image}/{place.images} to system ..."
        reporter.progress(place.percent(1.0), told)
        if self._censor is not None:
            image = self._censor(image, self._saved)
        text = None
        if described and params.save_metadata_to_images:
            text = metadata_text(plan, params)
        made = MadeImage(
            data=encode_image(image, params.output_format, text, params.metadata_scheme),
            extension=params.output_format,
            seed=plan.seed,
            width=image.width,
            height=image.height,
        )
        reporter.image(made)
        return image

    def _log(self, plan: ImagePlan, seconds: float) -> None:
        size = f"{plan.size.native_width}x{plan.size.native_height}"
        log.info(
            "task %s: %s, %d steps, %.2f s", self._task.task_id, size, plan.sampling.steps, seconds
        )


def _size(plan: ImagePlan) -> tuple[int, int]:
    return plan.size.native_width, plan.size.native_height
