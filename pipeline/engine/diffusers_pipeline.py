"""Images by diffusers' own pipelines, for models that are not SDXL's."""

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.diffusers_start import picture_start
from pipeline.engine.sdxl import ImageRun, MadeRow
from pipeline.engine.start import Picture, Start
from pipeline.engine.task_context import TaskContext
from pipeline.errors import InvalidModelFile, PipelineError
from pipeline.models.diffusers_model import DiffusersModel
from pipeline.models.latent_preview import plain_rgb
from pipeline.request.goals import StartGoal
from pipeline.request.plan import ImagePlan
from pipeline.request.resolved import ResolvedRequest
from pipeline.sampling.interface import OnStep
from pipeline.sampling.latent_format import LatentRgb


class DiffusersPipeline:
    """``ImagePipeline`` of a model that diffusers runs.

    An image has the bytes that the pipeline by itself makes with the same arguments and a generator
    on the CPU with the image's seed. So images are made one by one.
    """

    def __init__(self, context: TaskContext, model: DiffusersModel) -> None:
        self._context = context
        self._model = model

    @property
    def most_together(self) -> int | None:
        """As ``ImagePipeline``: one."""
        return 1

    @property
    def rgb(self) -> LatentRgb:
        """As ``ImagePipeline``."""
        return self._model.rgb

    def start(self, goal: StartGoal, request: ResolvedRequest) -> Start:
        """As ``ImagePipeline``."""
        return picture_start(goal, request, self._context)

    def make(
        self, plan: ImagePlan, start: Start | None, conditions: ImageConditions, on_step: OnStep
    ) -> Image.Image:
        """As ``ImagePipeline``."""
        (made,) = self.make_batch([ImageRun(plan, on_step)], start, conditions)
        return made.image

    def make_batch(
        self, runs: Sequence[ImageRun], start: Start | None, conditions: ImageConditions
    ) -> Iterator[MadeRow]:
        """As ``ImagePipeline``, but each image is decoded as soon as it is sampled."""
        del conditions  # image prompts were refused at admission
        made: list[MadeRow] = []
        last: PipelineError | None = None
        for row, run in enumerate(runs):
            try:
                made.append(MadeRow(row, self._image(run, start)))
            except PipelineError as error:
                last = error
        if last is not None and not made:
            raise last
        return iter(made)

    def _image(self, run: ImageRun, start: Start | None) -> Image.Image:
        picture = None if start is None else start.picture
        pipe = self._model.twin(self._pipeline_for(picture))
        plan, accepted = run.plan, inspect.signature(pipe.__call__).parameters
        asked = self._arguments(plan) | self._callback(run, frozenset(accepted))
        if start is not None and picture is not None:
            asked |= _image_arguments(picture, start.denoise, plan.sampling.steps)
        given = {name: value for name, value in asked.items() if name in accepted}
        try:
            images = pipe(**given).images
        except (ValueError, TypeError) as error:  # what its own checks refuse
            told = " ".join(str(error).split())[:300]
            raise InvalidModelFile(f"{self._model.name} refused the request: {told}") from error
        image: Image.Image = images[0]
        return image if picture is None else picture.finished(image)

    def _pipeline_for(self, picture: Picture | None) -> str:
        architecture = self._model.architecture
        if picture is None:
            return architecture.pipeline
        return architecture.image_to_image if picture.mask is None else architecture.inpaint

    def _arguments(self, plan: ImagePlan) -> dict[str, Any]:
        """What a plan asks for, under the names of all pipelines; each takes what it knows."""
        architecture = self._model.architecture
        width, height = plan.size.native
        asked: dict[str, Any] = {
            "prompt": prompt_of(plan),
            "width": width,
            "height": height,
            "num_inference_steps": plan.sampling.steps,
            "generator": torch.Generator("cpu").manual_seed(plan.seed),
            "output_type": "pil",
            # Sizes are what was asked for; Fooocus's list is that of the pipelines' own.
            "use_resolution_binning": False,
            "clean_caption": False,  # would change the prompt where Beautiful Soup is installed
        }
        if architecture.guidance:
            asked[architecture.guidance] = plan.guidance.cfg
        if negative := self._negative(plan):
            asked["negative_prompt"] = negative
        if architecture.rescale and plan.guidance.rescale:
            asked["guidance_rescale"] = plan.guidance.rescale
        return asked

    def _negative(self, plan: ImagePlan) -> str:
        """The negative prompt; a space where the pipeline has no guidance without one."""
        if not self._model.architecture.negative:
            return ""
        text = ", ".join(each for each in dict.fromkeys(plan.texts.negatives) if each)
        guided = self._model.architecture.guidance == "true_cfg_scale" and plan.guidance.cfg > 1
        return text or (" " if guided else "")

    def _callback(self, run: ImageRun, accepted: frozenset[str]) -> dict[str, Any]:
        """The step callback in the form that the pipeline takes."""
        if "callback_on_step_end" in accepted:

            def on_step_end(
                _pipe: Any, step: int, _timestep: Any, tensors: dict[str, Tensor]
            ) -> dict[str, Tensor]:
                self._tell(run, step, tensors.get("latents"))
                return {}

            return {
                "callback_on_step_end": on_step_end,
                "callback_on_step_end_tensor_inputs": ["latents"],
            }

        def on_step(step: int, _timestep: Any, latents: Tensor) -> None:
            self._tell(run, step, latents)

        return {"callback": on_step, "callback_steps": 1}

    def _tell(self, run: ImageRun, step: int, latents: Tensor | None) -> None:
        """Call ``on_step`` with what can be shown of the latents."""
        width, height = run.plan.size.native
        cells = None if latents is None else self._model.cells(latents, width, height)
        if cells is None:
            channels = self._model.channels or len(plain_rgb(4).weight)
            cells = torch.zeros(1, channels, max(1, height // 8), max(1, width // 8))
        run.on_step(step, cells[:1])


def prompt_of(plan: ImagePlan) -> str:
    """The texts of an image as one: these pipelines encode one prompt."""
    texts = (*plan.texts.positives, plan.expansion)
    return ", ".join(each for each in dict.fromkeys(texts) if each)


def _image_arguments(picture: Picture, denoise: float, steps: int) -> dict[str, Any]:
    """The image inputs, with so many steps in all that ``steps`` are run.

    A pipeline runs the last ``strength`` of its steps.
    """
    asked: dict[str, Any] = {
        "image": picture.image,
        "strength": denoise,
        "num_inference_steps": math.ceil(steps / denoise),
    }
    if picture.mask is not None:
        asked["mask_image"] = picture.mask
    return asked
