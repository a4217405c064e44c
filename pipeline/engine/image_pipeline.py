"""Makes single pictures with the models of one task. Device thread only."""

from functools import partial

import msgspec
from PIL import Image
from torch import Tensor

from pipeline.adapters.inpaint_head import load_inpaint_head
from pipeline.engine.generate import Making, TextCache, make_image
from pipeline.engine.image_conditions import ImageConditions
from pipeline.engine.networks import Patches
from pipeline.engine.start import Start
from pipeline.engine.task_context import TaskContext
from pipeline.files.registry import INPAINT_HEAD, INPAINT_PATCHES
from pipeline.models.refiner import Refiner
from pipeline.request.plan import ImagePlan
from pipeline.request.sizes import ImageSize
from pipeline.sampling.interface import OnStep
from pipeline.weights.lora import ChosenLora


class ImagePipeline:
    """Knows what the task's models are; what is special about a picture comes with its plan."""

    def __init__(
        self, context: TaskContext, refiner: Refiner | None, *, cpu_noise: bool = False
    ) -> None:
        checkpoint = context.checkpoint
        self.context = context
        self._refiner = refiner
        self._cpu_noise = cpu_noise
        self._checkpoint = checkpoint._replace(own_vae=context.vae)
        self._texts = TextCache(checkpoint)
        self.rgb = checkpoint.model_sampling.latents.rgb

    def make(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions, on_step: OnStep
    ) -> Image.Image:
        """The finished picture of ``plan``, as large as ``start`` says where there is one.

        Raises InvalidModelFile, ModelNotInstalled, DownloadFailed, and whatever ``on_step`` does.
        """
        self._put_loras(plan, patched=plan.inpaint_engine != "None")
        patches = Patches(
            freeu=plan.freeu,
            feature=self._head_feature(plan, start),
            conditions=conditions,
            take_off=partial(self._put_loras, plan, patched=False) if plan.refines_itself else None,
        )
        making = Making(self._checkpoint, self._refiner, start, patches, self._cpu_noise)
        return make_image(plan, making, partial(self._texts, loras=plan.loras), on_step)

    def _put_loras(self, plan: ImagePlan, *, patched: bool) -> None:
        """Have the plan's LoRAs in the models, and in the base its inpaint patch, or not."""
        context, patch = self.context, None
        if patched:
            path = context.auxiliary_path(INPAINT_PATCHES[plan.inpaint_engine])
            patch = ChosenLora(path.name, path, 1.0)
        context.manager.put_loras(
            context.checkpoint, self._refiner, plan.loras, context.reporter, patch
        )

    def _head_feature(self, plan: ImagePlan, start: Start | None) -> Tensor | None:
        """What the inpaint head adds to the network, where the plan has one."""
        if start is None or start.inpaint is None or start.inpaint.surroundings is None:
            return None
        latents = self._checkpoint.model_sampling.under(plan.sampling.scheduler).latents
        head = self.context.auxiliary("inpaint head", INPAINT_HEAD, load_inpaint_head)
        return head.feature(start.inpaint.surroundings, latents)


def sized(plan: ImagePlan, start: Start | None) -> ImagePlan:
    """The plan at the size of its start."""
    if start is None:
        return plan
    size = ImageSize.same(start.width, start.height)
    return msgspec.structs.replace(plan, size=size)
