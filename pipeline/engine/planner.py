"""Plans of a task's images and of their enhancement stages, with their prompts continued."""

from collections.abc import Sequence

from pipeline.models.manager import ModelManager
from pipeline.request.enhance_goals import Stage
from pipeline.request.plan import ImagePlan, plan_images, plan_stage
from pipeline.request.prompts import PromptSources
from pipeline.request.resolved import ResolvedRequest
from pipeline.scheduling.task import Reporter
from pipeline.text.expansion import PromptExpansion


class TaskPlanner:
    """Plans one task; what a plan has to note goes into the task's record."""

    def __init__(
        self,
        request: ResolvedRequest,
        sources: PromptSources,
        expansion: PromptExpansion,
        manager: ModelManager,
        reporter: Reporter,
    ) -> None:
        """Raises InvalidParameter for an unknown style."""
        self.request = request
        self.images: Sequence[ImagePlan] = plan_images(request, sources)
        self._sources = sources
        self._expansion = expansion
        self._manager = manager
        self._reporter = reporter
        self._expanded: list[str] = []  # prompts as continued so far, for the record
        for plan in self.images:
            self._note(plan)

    def fetch_inversions(self, plans: Sequence[ImagePlan] | None = None) -> None:
        """Download the textual inversions that plans (by default the images') name.

        Raises DownloadFailed.
        """
        texts = [
            text
            for plan in (self.images if plans is None else plans)
            for text in (*plan.texts.positives, *plan.texts.negatives)
        ]
        self._manager.fetch_inversions(texts, self._reporter)

    def stage(self, stage: Stage, index: int) -> ImagePlan:
        """The plan of an enhancement stage of image ``index``, its prompt continued."""
        plan = plan_stage(self.request, stage, index, self._sources)
        self._note(plan)
        self.fetch_inversions([plan])
        # A continuation that the request brings belongs to the image's own prompt alone.
        own = plan.texts.prompt == self.images[index].texts.prompt
        return self._continued(plan, self.request.params.prompt_expansion if own else "")

    def expand(self, plan: ImagePlan) -> ImagePlan:
        """``plan`` with its prompt continued, if it asks for that and a model is installed."""
        return self._continued(plan, self.request.params.prompt_expansion)

    def _continued(self, plan: ImagePlan, known: str) -> ImagePlan:
        """``known`` is the continuation where it need not be generated."""
        filled = self._expansion.fill(plan, known)
        if filled.expansion:
            self._expanded.append(filled.expansion)
            self._reporter.note("expansion", list(self._expanded))
        elif filled is not plan and not self._expanded:
            self._note(filled)
        return filled

    def _note(self, plan: ImagePlan) -> None:
        for key, value in plan.notes.items():
            self._reporter.note(key, value)
