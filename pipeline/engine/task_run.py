"""One task on its device: from its plans to its images, which go out through the reporter."""

from collections.abc import Sequence
from contextlib import suppress

from PIL import Image

from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.enhance import Enhanced, Enhancer
from pipeline.engine.image_conditions import load_image_conditions, preprocessed
from pipeline.engine.image_file import ImageFile, encode_described, model_hashes
from pipeline.engine.image_pipeline import ImagePipeline, sized
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
from pipeline.sampling.interface import OnStep
from pipeline.scheduling.task import MadeImage, Task


class TaskRun:
    """The images of one task: what they start from, and what happens to each that was made.

    ``TaskRunner`` makes them, maybe together with those of other tasks.
    """

    def __init__(
        self,
        task: Task,
        planner: TaskPlanner,
        context: TaskContext,
        pipeline: ImagePipeline,
        hashes: KnowsHashes,
    ) -> None:
        self.task_id = task.task_id
        self.pipeline = pipeline
        self.start: Start | None = None
        self.conditions = ImageConditions()
        self._task = task
        self._params = task.params
        self._planner = planner
        self._context = context
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
        self._engines: dict[str, None] = {}  # that made the images so far, in order

    def prepare(self) -> list[ImagePlan]:
        """Load what the images start from; the plans of those that need a run.

        The others, such as an input image that is only enhanced, are finished here. Raises
        PipelineError.
        """
        request, params, context = self._task.request, self._params, self._context
        goals = request.goals
        model_hashes(self._planner.images[0], self._hashes)  # computed while images are made
        if goals.start is not None:
            self.start = self.pipeline.start(goals.start, request)
        plans = [sized(plan, self.start) for plan in self._planner.images]
        if (shown := self._instead(goals, plans[0], self.start)) is not None:
            self._progress = TaskProgress(context.reporter, images=1)
            for image in shown:
                self._save(image, plans[0], described=False)
            return []
        if goals.image_prompts:
            self.conditions = load_image_conditions(params, plans[0].size.hint, context)
        if goals.enhance:
            self._enhance_given(plans)
            return []
        return plans

    @property
    def is_free(self) -> bool:
        """Whether its images begin from noise and follow nothing but their prompts."""
        return self.start is None and self.conditions.are_none

    def expanded(self, plan: ImagePlan) -> ImagePlan:
        """The plan with its prompt continued, if that is wanted."""
        return self._planner.expand(plan)

    def begin(self, plans: Sequence[ImagePlan]) -> None:
        """These images are made next, together. Raises TaskAborted, and ImageSkipped for the
        first of them."""
        self._progress.begin_batch([plan.index + 1 for plan in plans])

    def on_steps(self, plans: Sequence[ImagePlan]) -> list[OnStep]:
        """Callbacks of the run of these images."""
        numbers = [plan.index + 1 for plan in plans]
        return self._progress.on_steps(numbers, plans[0].sampling.steps, self.pipeline.rgb)

    def finish(self, image: Image.Image, plan: ImagePlan) -> None:
        """Enhance and save an image that was made. Raises PipelineError, TaskAborted included."""
        self._progress.finish_image(plan.index + 1)
        self._enhance(Enhanced(image, plan))

    def end(self) -> None:
        """All images are finished; a grid of them is saved if that is wanted."""
        if (grid := make_grid(self._for_grid)) is not None:
            self._save(grid, self._planner.images[0], described=False)

    def _enhance_given(self, plans: Sequence[ImagePlan]) -> None:
        """Enhance the input image in place of images that were made."""
        for plan in plans:
            with suppress(ImageSkipped):
                self.begin([plan])
                given = self._context.picture(self._params.enhance_input_image)
                self._enhance(Enhanced(given, plan, described=False))

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
        if described and plan.engine:
            self._engines[plan.engine] = None
            self._context.reporter.note("engine", "; ".join(self._engines))
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
