"""One task on its device: from its plans to its images, which go out through the reporter."""

import logging
import time

from PIL import Image

from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.enhance import Enhanced, Enhancer
from pipeline.engine.image_conditions import load_image_conditions, preprocessed
from pipeline.engine.image_file import ImageFile, encode_described, model_hashes
from pipeline.engine.image_pipeline import ImagePipeline, sized
from pipeline.engine.initial_latents import request_start
from pipeline.engine.planner import TaskPlanner
from pipeline.engine.progress import TaskProgress
from pipeline.engine.start import Start
from pipeline.engine.task_context import TaskContext
from pipeline.errors import ImageSkipped
from pipeline.files.hashes import KnowsHashes
from pipeline.images.encode import encode_image
from pipeline.images.grid import make_grid
from pipeline.metadata.write import plan_record
from pipeline.request.goals import Goals
from pipeline.request.plan import ImagePlan
from pipeline.scheduling.task import MadeImage, Task

log = logging.getLogger(__name__)


class TaskRun:
    """Makes the images of one task, once."""

    def __init__(
        self,
        task: Task,
        planner: TaskPlanner,
        context: TaskContext,
        pipeline: ImagePipeline,
        hashes: KnowsHashes,
    ) -> None:
        self._task = task
        self._params = task.params
        self._planner = planner
        self._context = context
        self._pipeline = pipeline
        self._hashes = hashes
        runs = 1 + len(task.request.stages)
        self._progress = TaskProgress(
            context.reporter, len(planner.images), runs, context.manager.check_files
        )
        self._enhancer = Enhancer(planner, context, pipeline, self._progress)
        black_out = task.params.black_out_nsfw
        self._censor = context.toolbox.censor(context.reporter) if black_out else None
        self._saved = 0
        self._for_grid: list[Image.Image] = []

    def run(self) -> None:
        """Make and save every image; a skipped one is left out. Raises PipelineError."""
        request, params, context = self._task.request, self._params, self._context
        goals, start = request.goals, None
        model_hashes(self._planner.images[0], self._hashes)  # computed while images are made
        if goals.start is not None:
            start = request_start(goals.start, request, context)
        plans = [sized(plan, start) for plan in self._planner.images]
        if (shown := self._instead(goals, plans[0], start)) is not None:
            self._progress = TaskProgress(context.reporter, images=1)
            for image in shown:
                self._save(image, plans[0], described=False)
            return
        conditions = ImageConditions()
        if goals.image_prompts:
            conditions = load_image_conditions(params, plans[0].size.hint, context)
        for plan in plans:
            try:
                self._make(plan, start, conditions)
            except ImageSkipped:
                continue
        if (grid := make_grid(self._for_grid)) is not None:
            self._save(grid, plans[0], described=False)

    def _instead(
        self, goals: Goals, plan: ImagePlan, start: Start | None
    ) -> list[Image.Image] | None:
        """What is returned without a run: debug output, or a start that is finished already."""
        if self._params.debugging_cn_preprocessor and goals.image_prompts:
            return preprocessed(self._params, plan.size.hint, self._context)
        if start is None:
            return None
        if self._params.debugging_inpaint_preprocessor and start.inpaint is not None:
            area = start.inpaint.area
            return [Image.fromarray(each) for each in (area.filled, area.mask, area.shown)]
        return None if start.finished is None else [start.finished]

    def _make(self, plan: ImagePlan, start: Start | None, conditions: ImageConditions) -> None:
        """Make one image, or take the one that is only to be enhanced, and enhance it."""
        self._progress.begin_image(plan.index + 1)
        if self._task.request.goals.enhance:
            given = self._context.picture(self._params.enhance_input_image)
            self._enhance(Enhanced(given, plan, described=False))
            return
        plan = self._planner.expand(plan)
        started = time.perf_counter()
        on_step = self._progress.on_step(plan.sampling.steps, self._pipeline.rgb)
        image = self._pipeline.make(plan, start, conditions, on_step)
        self._log(plan, time.perf_counter() - started)
        self._enhance(Enhanced(image, plan))

    def _enhance(self, first: Enhanced) -> None:
        """Save the image and the result of each stage, or the last one alone.

        A result is saved at once: a later stage may be skipped or fail. An input image is saved
        only where no stage changes it.
        """
        only_last = self._params.save_final_enhanced_image_only
        wait = only_last or not first.described
        latest, saved = first, None if wait else self._save_result(first)
        for each in self._enhancer.enhance(first.image, first.plan.index):
            if each.is_mask:
                self._save_result(each)
                continue
            latest, saved = each, None if only_last else self._save_result(each)
        if saved is None:
            saved = self._save_result(latest)
        if self._params.generate_image_grid:
            self._for_grid.append(saved)

    def _save_result(self, result: Enhanced) -> Image.Image:
        return self._save(result.image, result.plan, described=result.described)

    def _save(self, image: Image.Image, plan: ImagePlan, *, described: bool) -> Image.Image:
        """Save an image, blacked out where that is asked for; the image as it was saved."""
        params = self._params
        self._saved += 1
        self._progress.saving()
        if self._censor is not None:
            image = self._censor(image, self._saved)
        file = self._encoded(image, plan if described else None)
        if file.left_out:
            self._context.reporter.note("metadata", file.left_out)
        made = MadeImage(
            data=file.data,
            extension=params.output_format,
            seed=plan.seed,
            width=image.width,
            height=image.height,
        )
        self._context.reporter.image(made)
        return image

    def _encoded(self, image: Image.Image, plan: ImagePlan | None) -> ImageFile:
        """The image's file; with what ``plan`` says as its metadata, if that is wanted."""
        params = self._params
        if plan is None or not params.save_metadata_to_images:
            return ImageFile(encode_image(image, params.output_format))
        record = plan_record(plan, params, model_hashes(plan, self._hashes))
        return encode_described(image, record, params)

    def _log(self, plan: ImagePlan, seconds: float) -> None:
        width, height = plan.size.native
        steps = plan.sampling.steps
        log.info(
            "task %s: %dx%d, %d steps, %.2f s", self._task.task_id, width, height, steps, seconds
        )
