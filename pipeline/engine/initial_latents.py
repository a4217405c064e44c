"""Initial latents for vary, upscale and inpaint: a task's input images and its upscaler."""

import logging
from collections.abc import Callable
from functools import partial

from PIL import Image

from pipeline.engine.start import InitialLatents, Start
from pipeline.engine.task_context import TaskContext
from pipeline.errors import ModelNotInstalled
from pipeline.images.inpaint_area import Enlarge
from pipeline.images.masks import Pixels
from pipeline.models.upscaler import load_upscaler
from pipeline.request.goals import Inpaint, StartGoal, Upscale
from pipeline.request.resolved import ResolvedRequest

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Raises TaskAborted or ImageSkipped if the client asked for it."""


def request_start(goal: StartGoal, request: ResolvedRequest, context: TaskContext) -> Start:
    """The start of a request's images, from its input image.

    Raises InvalidParameter, and what loading files does.
    """
    params = request.params
    latents = initial_latents(goal, params.image_seed, request.native_side, context, context.check)
    if not isinstance(goal, Inpaint):
        return latents.start(goal, context.picture(params.uov_input_image))
    picture, mask = context.picture(params.inpaint_input_image), None
    if params.inpaint_mask_image_upload:
        mask = context.mask(params.inpaint_mask_image_upload)
        note_resized(mask, picture, context)
    return latents.start(goal, picture, mask)


def initial_latents(
    goal: StartGoal, seed: int, native_side: int, context: TaskContext, check: Check
) -> InitialLatents:
    """What makes the start towards a goal; the upscaler is loaded on first use.

    ``check`` is called while it enlarges, to stop or skip.
    """
    return InitialLatents(
        context.vae,
        seed,
        native_side,
        enlarger(goal, context, check),
        shows_surroundings=context.checkpoint.unet.is_inpainting,
    )


def note_resized(mask: Image.Image, picture: Image.Image, context: TaskContext) -> None:
    """Tell in the record that a mask is not as large as its picture."""
    if mask.size != picture.size:
        sizes = f"{mask.width}x{mask.height}", f"{picture.width}x{picture.height}"
        context.reporter.note("mask", "resized from {} to the picture's {}".format(*sizes))


def enlarger(goal: StartGoal, context: TaskContext, check: Check) -> Enlarge | None:
    """The upscaler; None where it is not to be had and small areas can be resampled instead."""
    if not isinstance(goal, Upscale):
        try:
            context.files.check(context.upscaler, context.model)
        except ModelNotInstalled as error:
            log.debug("small areas are resampled: %s", error)
            return None
    return partial(_enlarge, context, check)


def _enlarge(context: TaskContext, check: Check, pixels: Pixels) -> Pixels:
    upscaler = context.auxiliary(
        "upscaler", context.upscaler, partial(load_upscaler, device=context.device)
    )

    def on_tile(done: int, tiles: int) -> None:
        check()
        context.reporter.progress(0, f"Upscaling image, tile {done + 1}/{tiles} ...")

    return upscaler(pixels, on_tile)
