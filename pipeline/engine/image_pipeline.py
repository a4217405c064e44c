"""What makes the images of a task, and SDXL's with the weights that a plan asks for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import msgspec
from PIL import Image

from pipeline.adapters.inpaint_head import load_inpaint_head
from pipeline.engine.conditioned import ImageConditions, InpaintPatch
from pipeline.engine.cpu_engines import CpuEngines
from pipeline.engine.initial_latents import request_start
from pipeline.engine.sdxl import ImageRun, MadeRow, SdxlPipeline
from pipeline.engine.start import Start
from pipeline.engine.task_context import TaskContext
from pipeline.errors import InvalidModelFile
from pipeline.files.registry import INPAINT_HEAD, INPAINT_PATCHES
from pipeline.request.goals import StartGoal
from pipeline.request.plan import ImagePlan
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.sizes import ImageSize
from pipeline.sampling.inpainting import inputs_added
from pipeline.sampling.interface import OnStep
from pipeline.sampling.latent_format import LatentRgb
from pipeline.weights.lora import ChosenLora


class ImagePipeline(Protocol):
    """Makes the images of a task. A family of models is a class of its own."""

    @property
    def most_together(self) -> int | None:
        """How many images it makes in one run at most; None: as many as the device gains from."""

    def start(self, goal: StartGoal, request: ResolvedRequest) -> Start:
        """What the images begin from, made from the request's input image.

        Raises InvalidParameter, and what loading files does.
        """

    @property
    def rgb(self) -> LatentRgb:
        """The preview of its latents."""

    def make(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions, on_step: OnStep
    ) -> Image.Image:
        """The finished image of ``plan``, as large as ``start`` says where there is one.

        Raises InvalidModelFile, ModelNotInstalled, DownloadFailed, and whatever ``on_step`` does.
        """

    def make_batch(
        self, runs: Sequence[ImageRun], start: Start | None, conditions: ImageConditions
    ) -> Iterator[MadeRow]:
        """The images of runs whose plans ``share_a_run``, as ``make`` makes them but for rounding.

        All are sampled before this returns, and decoded one by one. An image whose ``on_step``
        raises PipelineError is left out; if all do, the last error is raised. Otherwise raises as
        ``make``.
        """


class PatchedSdxl:
    """``ImagePipeline`` of SDXL: puts a plan's LoRAs and inpaint patch into the weights first."""

    def __init__(self, context: TaskContext, networks: SdxlPipeline, engines: CpuEngines) -> None:
        self._context = context
        self._networks = networks
        self._engines = engines

    @property
    def most_together(self) -> int | None:
        """As ``ImagePipeline``."""
        return None

    def start(self, goal: StartGoal, request: ResolvedRequest) -> Start:
        """As ``ImagePipeline``."""
        return request_start(goal, request, self._context)

    @property
    def rgb(self) -> LatentRgb:
        """As ``ImagePipeline``."""
        return self._networks.checkpoint.model_sampling.latents.rgb

    def make(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions, on_step: OnStep
    ) -> Image.Image:
        """As ``ImagePipeline``."""
        (made,) = self.make_batch([ImageRun(plan, on_step)], start, conditions)
        return made.image

    def make_batch(
        self, runs: Sequence[ImageRun], start: Start | None, conditions: ImageConditions
    ) -> Iterator[MadeRow]:
        """As ``ImagePipeline``."""
        plan = runs[0].plan
        if self._networks.checkpoint.unet.is_inpainting:
            return self._inpainted(runs, start, conditions)
        self._patch_weights(plan, with_inpaint=plan.inpaint_engine != "None")
        conditions = replace(conditions, inpaint=self._inpaint_patch(plan, start))
        engine = self._engines.choose(self._networks.checkpoint, plan, conditions)
        with engine.sampling():
            made = self._networks.make_batch(runs, start, conditions)
        return engine.decoding(made)

    def _inpainted(
        self, runs: Sequence[ImageRun], start: Start | None, conditions: ImageConditions
    ) -> Iterator[MadeRow]:
        """By a network of 9 input channels, which needs no patch of an inpaint engine."""
        plan = runs[0].plan
        if start is None or start.inpaint is None or start.inpaint.surroundings is None:
            raise InvalidModelFile(
                f"{plan.model} is an inpainting checkpoint: its network takes a mask and the masked"
                " picture, too. Send inpaint_input_image and a mask, or name another"
                " base_model_name"
            )
        self._patch_weights(plan, with_inpaint=False)
        checkpoint, surroundings = self._networks.checkpoint, start.inpaint.surroundings
        latents = checkpoint.model_sampling.under(plan.sampling.scheduler).latents
        masked = latents.to_model(surroundings.latent)
        engine = self._engines.choose(checkpoint, plan, conditions)
        with inputs_added(checkpoint.unet.module, surroundings.mask, masked):
            return engine.decoding(self._networks.make_batch(runs, start, conditions))

    def _patch_weights(self, plan: ImagePlan, *, with_inpaint: bool) -> None:
        """The plan's LoRAs into all networks, and into the base its inpaint patch, or not."""
        context, networks, patch = self._context, self._networks, None
        if with_inpaint:
            path = context.auxiliary_path(INPAINT_PATCHES[plan.inpaint_engine])
            patch = ChosenLora(path.name, path, 1.0)
        context.manager.put_loras(
            networks.checkpoint, networks.refiner, plan.loras, context.reporter, patch
        )

    def _inpaint_patch(self, plan: ImagePlan, start: Start | None) -> InpaintPatch | None:
        """The inpaint engine's part in a run; None where the plan has none."""
        if start is None or start.inpaint is None or start.inpaint.surroundings is None:
            return None
        latents = self._networks.checkpoint.model_sampling.under(plan.sampling.scheduler).latents
        head = self._context.auxiliary("inpaint head", INPAINT_HEAD, load_inpaint_head)
        feature = head.feature(start.inpaint.surroundings, latents)
        return InpaintPatch(feature, partial(self._patch_weights, plan, with_inpaint=False))


def sized(plan: ImagePlan, start: Start | None) -> ImagePlan:
    """The plan at the size of its start."""
    if start is None:
        return plan
    return msgspec.structs.replace(plan, size=ImageSize.same(start.width, start.height))
