"""Initial latents for vary, upscale and inpaint. Device thread only."""

import logging
from collections.abc import Callable
from functools import partial

from PIL import Image

from pipeline.engine.start import Means, Start, start_inpaint, start_upscale, start_vary
from pipeline.engine.task_context import TaskContext
from pipeline.errors import ModelNotInstalled
from pipeline.files.registry import UPSCALER
from pipeline.images.inpaint_area import Enlarge
from pipeline.images.masks import Pixels
from pipeline.models.upscaler import load_upscaler
from pipeline.request.decode import GenerateParams
from pipeline.request.goals import Inpaint, StartGoal, Upscale, Vary

log = logging.getLogger(__name__)

Check = Callable[[], None]
"""Raises TaskAborted or ImageSkipped if a person asked for it."""


def begin(goal: StartGoal, params: GenerateParams, native_side: int, context: TaskContext) -> Start:
    """Where the images of a request with that goal begin; ``native_side`` is the model's.

    Raises InvalidParameter, and what loading files does.
    """
    means = make_means(goal, params.image_seed, native_side, context, context.check)
    if isinstance(goal, Inpaint):
        path = params.inpaint_mask_image_upload
        picture, mask = context.picture(params.inpaint_input_image), None
        if path:
            mask = context.mask(path)
            _note_resized(mask, picture, context)
        return begin_from(goal, picture, mask, means)
    return begin_from(goal, context.picture(params.uov_input_image), None, means)


def _note_resized(mask: Image.Image, picture: Image.Image, context: TaskContext) -> None:
    if mask.size != picture.size:
        sizes = f"{mask.width}x{mask.height}", f"{picture.width}x{picture.height}"
        context.reporter.note("mask", "resized from {} to the picture's {}".format(*sizes))


def begin_from(
    goal: StartGoal, image: Image.Image, mask: Image.Image | None, means: Means
) -> Start:
    """Where pictures that are made from ``image`` begin. Raises InvalidParameter."""
    match goal:
        case Inpaint():
            return start_inpaint(goal, image, mask, means)
        case Upscale():
            return start_upscale(goal, image, means)
        case Vary():
            return start_vary(goal, image, means)


def make_means(
    goal: StartGoal, seed: int, native_side: int, context: TaskContext, check: Check
) -> Means:
    """What a goal may be reached with; the upscaler is loaded when it is first used.

    ``check`` is called while it enlarges, and raises where someone wants no more of it.
    """
    return Means(context.vae, seed, native_side, _enlarger(goal, context, check))


def _enlarger(goal: StartGoal, context: TaskContext, check: Check) -> Enlarge | None:
    """The upscaler. Small areas are painted without it too, where it is not to be had."""
    if not isinstance(goal, Upscale):
        try:
            context.files.check(UPSCALER, context.model)
        except ModelNotInstalled as error:
            log.debug("small areas are resampled: %s", error)
            return None
    return partial(_enlarge, context, check)


def _enlarge(context: TaskContext, check: Check, pixels: Pixels) -> Pixels:
    upscaler = context.auxiliary(
        "upscaler", UPSCALER, partial(load_upscaler, device=context.device)
    )

    def on_tile(done: int, tiles: int) -> None:
        check()
        context.reporter.progress(0, f"Upscaling image, tile {done + 1}/{tiles} ...")

    return upscaler(pixels, on_tile)
