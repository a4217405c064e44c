"""What image-to-image and inpainting pipelines of diffusers start from: images, not latents."""

from typing import Final

import numpy as np
from PIL import Image

from pipeline.engine.initial_latents import enlarger, note_resized
from pipeline.engine.start import (
    FILL_ABOVE,
    LEAST_DENOISE,
    VARY_LIMIT,
    Picture,
    Start,
    check_room,
    outpainted,
    painted_somewhere,
)
from pipeline.engine.task_context import TaskContext
from pipeline.images.inpaint_area import Shown, make_area, resized, with_fill
from pipeline.images.masks import Pixels
from pipeline.request.goals import Inpaint, StartGoal, Upscale
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.sizes import on_grid, shape_ceil, size_of_ceil

_FILL: Final = FILL_ABOVE


def picture_start(goal: StartGoal, request: ResolvedRequest, context: TaskContext) -> Start:
    """The start of a request's images, in whole multiples of the model's grid.

    An image to vary keeps its size up to the limit; an area to paint is shown at the size that the
    request asks for. Raises InvalidParameter, and what loading an upscaler does.
    """
    params = request.params
    if isinstance(goal, Inpaint):
        picture, mask = context.picture(params.inpaint_input_image), None
        if params.inpaint_mask_image_upload:
            mask = context.mask(params.inpaint_mask_image_upload)
            note_resized(mask, picture, context)
        return _inpaint(goal, picture, mask, request)
    picture = context.picture(params.uov_input_image)
    pixels = np.asarray(picture.convert("RGB"))
    if isinstance(goal, Upscale):
        check_room(picture.width, picture.height, goal.factor)
        enlarge = enlarger(goal, context, context.check)
        enlarged = pixels if enlarge is None else enlarge(pixels)
        width, height = (int(side * goal.factor) for side in picture.size)
        pixels = resized(enlarged, width, height)
        if goal.fast:
            return _finished(pixels)
    return _varied(pixels, goal.denoise, request.grid)


def _varied(pixels: Pixels, denoise: float, grid: int) -> Start:
    height, width = pixels.shape[:2]
    if shape_ceil(width, height, grid) > VARY_LIMIT:
        width, height = size_of_ceil(width, height, VARY_LIMIT, grid)
    pixels = resized(pixels, *on_grid(width, height, grid))
    if denoise < LEAST_DENOISE:
        return _finished(pixels)
    return _from(Picture(Image.fromarray(pixels)), denoise)


def _inpaint(
    goal: Inpaint, picture: Image.Image, mask: Image.Image | None, request: ResolvedRequest
) -> Start:
    pixels, painted = outpainted(goal, np.asarray(picture.convert("RGB")), mask)
    painted_somewhere(painted)
    if goal.strength < LEAST_DENOISE:
        return _finished(pixels)
    grid = request.grid
    shown = Shown(shape_ceil(*request.size.native, grid), grid)
    area = make_area(pixels, painted, goal.field, shown)
    if goal.strength > _FILL:
        area = with_fill(area)
    image, covered = Image.fromarray(area.filled), Image.fromarray(area.mask)
    return _from(Picture(image, covered, area), goal.strength)


def _from(picture: Picture, denoise: float) -> Start:
    width, height = picture.image.size
    return Start(width=width, height=height, denoise=denoise, picture=picture)


def _finished(pixels: Pixels) -> Start:
    height, width = pixels.shape[:2]
    return Start(width=width, height=height, finished=Image.fromarray(pixels))
