"""Enhancement: things that are found in a finished picture are painted anew, one after another.

Device thread only. Each stage is a run of its own, towards a goal of its own.
"""

from collections.abc import Callable, Iterator

import msgspec
from PIL import Image

from pipeline.engine.generate import Place, StepReport
from pipeline.engine.image_conditions import ImageConditions
from pipeline.engine.image_pipeline import ImagePipeline, sized
from pipeline.engine.initial_latents import begin_from, make_means
from pipeline.engine.start import NothingToPaint
from pipeline.request.decode import EnhanceControl
from pipeline.request.enhance_goals import Stage
from pipeline.request.plan import ImagePlan
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.tools import MaskOptions
from pipeline.vision.toolbox import Toolbox

PlanStage = Callable[[Stage, int], ImagePlan]
"""The plan of a stage for the image of that index: its texts use that image's wildcards."""


class Enhanced(msgspec.Struct, frozen=True):
    """What a stage has made, or is to change: a picture, or a mask to look at.

    ``described``: it is what its plan says, so that may stand in it.
    """

    image: Image.Image
    plan: ImagePlan
    is_mask: bool = False
    described: bool = True


class Enhancer:
    """Enhances the pictures of one task."""

    def __init__(self, request: ResolvedRequest, pipeline: ImagePipeline, toolbox: Toolbox) -> None:
        self._params = request.params
        self._image_pipeline = pipeline
        self._toolbox = toolbox
        self._native_side = request.native_side
        self.stages = request.stages

    def enhance(
        self, image: Image.Image, place: Place, plan_stage: PlanStage
    ) -> Iterator[Enhanced]:
        """What each stage makes of the picture before it; the last one is the finished picture.

        ``place`` is that of the first stage. A stage that finds nothing changes nothing, and the
        record says so. Raises what loading models does, and what the reporter's ``check`` does.
        """
        for number, stage in enumerate(self.stages):
            plan = plan_stage(stage, place.image - 1)
            mask = None
            if stage.control is not None:
                mask = self._find(image, stage.control, number)
                if mask is None:
                    continue
                if self._params.debugging_enhance_masks_checkbox:
                    yield Enhanced(mask, plan, is_mask=True, described=False)
            try:
                made = self._run(image, mask, stage, plan, place.stage_after(number))
            except NothingToPaint:
                self._note(number, "shrunk or inverted as asked, the mask has nothing left")
                continue
            image = made.image
            yield made

    def _find(self, image: Image.Image, control: EnhanceControl, number: int) -> Image.Image | None:
        """The mask of what the stage is about; None if there is nothing."""
        options = MaskOptions.of_enhancement(control, self._params)
        mask = self._toolbox.mask(image, options, self._image_pipeline.context.reporter)
        if mask.getbbox() is None:
            what = options.prompt or options.mask_model
            self._note(number, f"nothing was found for {what!r}")
            return None
        return mask

    def _note(self, number: int, told: str) -> None:
        self._image_pipeline.context.reporter.note(f"enhancement {number + 1}", told)

    def _run(
        self,
        image: Image.Image,
        mask: Image.Image | None,
        stage: Stage,
        plan: ImagePlan,
        place: Place,
    ) -> Enhanced:
        context = self._image_pipeline.context
        reporter = context.reporter
        means = make_means(stage.goal, plan.seed, self._native_side, context, reporter.check)
        start = begin_from(stage.goal, image, mask, means)
        plan = sized(plan, start)
        if start.finished is not None:
            return Enhanced(start.finished, plan)
        report = StepReport(plan, place, reporter, self._image_pipeline.rgb)
        return Enhanced(self._image_pipeline.make(plan, start, ImageConditions(), report), plan)
