"""What a run begins from where a picture is put in: its latent, or an area of it to paint.

Knows no request and no file: goals, pictures, and a VAE that encodes them.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import InvalidParameter
from pipeline.images.encode import PIXEL_LIMIT
from pipeline.images.inpaint_area import Enlarge, InpaintArea, Shown, make_area, resized, with_fill
from pipeline.images.mask_check import MIDDLE
from pipeline.images.masks import Pixels, grow_mask, read_mask
from pipeline.images.outpaint import extend, margins
from pipeline.models.vae import FACTOR, grey_where_masked, latent_mask
from pipeline.request.goals import NATIVE_SIDE, Inpaint, Upscale, Vary
from pipeline.request.sizes import STEP, shape_ceil, size_of_ceil
from pipeline.sampling.inpainting import Inpainting
from pipeline.sampling.noise import seeded_generator

# At SDXL's native side; smaller models have smaller limits in proportion.
VARY_LIMIT: Final = 2048  # pixels: pictures are brought below this shape ceiling
UPSCALE_LIMIT: Final = 2800  # pixels: pictures above this shape ceiling are not gone over
FILL_ABOVE: Final = 0.99  # strength from which what is under the mask does not matter
# Below this nothing changes that a picture could show, and the schedule would get too long.
LEAST_DENOISE: Final = 0.001
_ENLARGED: Final = 2.0  # an upscaler's result counts as this much larger, whatever is asked


class NothingToPaint(InvalidParameter):
    """No part of the mask is white, also after it was grown and inverted as asked."""


class Encoder(Protocol):
    """A VAE, such as ``Vae``."""

    def encode(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The latent (B, 4, h, w) of pixels (B, 3, H, W), 0...1."""

    def encode_tiled(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The same in tiles."""


@dataclass(frozen=True, slots=True)
class Means:
    """With what a start is made. ``seed`` is the task's: every picture of it starts alike.

    ``native_side`` is the side of the square that the model was trained on, a multiple of 64.
    ``enlarge`` makes a picture larger with a network; None: it is only resampled.
    """

    vae: Encoder
    seed: int
    native_side: int = NATIVE_SIDE
    enlarge: Enlarge | None = None

    def scaled(self, pixels: int) -> int:
        """A number of pixels that stands at SDXL's native side, for this model."""
        return pixels * self.native_side // NATIVE_SIDE

    @property
    def step(self) -> int:
        """Pixels in which sizes are counted: whole cells of a latent."""
        return max(FACTOR, self.scaled(STEP) // FACTOR * FACTOR)

    def encoded(self, pixels: Tensor, *, tiled: bool = False) -> Tensor:
        """The latent of pixels (1, 3, H, W), each time from the seed's first noise.

        In tiles too where the device has no room for the picture whole.
        """
        if not tiled:
            try:
                return self.vae.encode(pixels, seeded_generator(self.seed))
            except torch.OutOfMemoryError:
                pass  # the tiles come after the failed attempt's memory is free
        return self.vae.encode_tiled(pixels, seeded_generator(self.seed))


@dataclass(frozen=True, slots=True)
class InpaintTask:
    """What keeps a run to an area, and brings its result back into the picture."""

    area: InpaintArea
    inpainting: Inpainting
    surroundings: Inpainting | None  # for an inpaint head: what is under the mask is grey

    def paste(self, made: Image.Image) -> Image.Image:
        """The whole picture with the area as it was made, in the picture's own size."""
        return Image.fromarray(self.area.paste(np.asarray(made)))


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run of ``width`` x ``height`` pixels begins.

    ``latent`` is in the VAE's space; None: noise alone. ``denoise`` is the part of the schedule
    that is walked. ``tiled`` pictures are decoded in tiles too. A picture that is ``finished``
    needs no run.
    """

    width: int
    height: int
    latent: Tensor | None = None
    denoise: float = 1.0
    tiled: bool = False
    inpaint: InpaintTask | None = None
    finished: Image.Image | None = None


def start_vary(goal: Vary, image: Image.Image, means: Means) -> Start:
    """Begin from the whole picture, brought to a size that the model can make."""
    picture = _rgb(image)
    height, width = picture.shape[:2]
    ceil = shape_ceil(width, height, means.step)
    ceil = min(max(ceil, means.native_side), means.scaled(VARY_LIMIT))
    picture = resized(picture, *size_of_ceil(width, height, ceil, means.step))
    return _from_picture(picture, goal.denoise, means, tiled=False)


def start_upscale(goal: Upscale, image: Image.Image, means: Means) -> Start:
    """Begin from the picture enlarged; very large or fast ones are finished with that.

    Raises InvalidParameter if the result would be larger than pictures may be.
    """
    _check_room(image.width, image.height, goal.factor)
    picture = _rgb(image)
    made = (image.width * goal.factor, image.height * goal.factor)
    size, ceil = (int(made[0]), int(made[1])), shape_ceil(*made, means.step)
    enlarged = picture if means.enlarge is None else means.enlarge(picture)
    if ceil < means.native_side:
        ceil = means.native_side
        size = size_of_ceil(enlarged.shape[1], enlarged.shape[0], ceil, means.step)
    picture = resized(enlarged, *size)
    if goal.fast or ceil > means.scaled(UPSCALE_LIMIT):
        return _finished(picture)
    return _from_picture(picture, goal.denoise, means, tiled=True)


def start_inpaint(
    goal: Inpaint, image: Image.Image, mask: Image.Image | None, means: Means
) -> Start:
    """Begin from the area around the mask, and around what is added to the picture.

    Raises NothingToPaint.
    """
    picture, painted = _with_room(goal, _rgb(image), mask)
    if not (painted > MIDDLE).any():
        raise NothingToPaint(
            ("inpaint_mask_image_upload",),
            "there is nothing to paint: send a mask that is white somewhere, also after"
            " inpaint_erode_or_dilate and invert_mask_checkbox, or sides to outpaint",
        )
    if goal.strength < LEAST_DENOISE:
        return _finished(picture)
    shown = Shown(means.native_side, means.step, means.enlarge)
    area = make_area(picture, painted, goal.field, shown)
    if goal.strength > FILL_ABOVE:
        area = with_fill(area)
    task = _task(area, means, with_head=goal.patched)
    latent = task.inpainting.latent
    return Start(
        width=latent.shape[-1] * FACTOR,
        height=latent.shape[-2] * FACTOR,
        latent=None if goal.from_noise else latent,
        denoise=goal.strength,
        inpaint=task,
    )


def _with_room(goal: Inpaint, picture: Pixels, mask: Image.Image | None) -> tuple[Pixels, Pixels]:
    """Picture and mask: the mask changed as asked, then both grown to be outpainted."""
    height, width = picture.shape[:2]
    if mask is None:
        painted = np.zeros((height, width), np.uint8)
    else:
        painted = read_mask(mask, width, height)
    if goal.grow_mask:
        painted = grow_mask(painted, goal.grow_mask)
    if goal.invert_mask:
        painted = 255 - painted
    return extend(picture, painted, margins(goal.sides, goal.distances, width, height))


def _task(area: InpaintArea, means: Means, *, with_head: bool) -> InpaintTask:
    # The VAE crops to whole cells; the mask is scaled to them instead, as in Fooocus.
    height, width = (side // FACTOR * FACTOR for side in area.shown.shape[:2])
    shown, mask = _tensor(area.shown), torch.from_numpy(area.mask.copy())[None, None].float() / 255
    cells = latent_mask(mask, height, width)
    latent = means.encoded(_tensor(area.filled))
    surroundings = None
    if with_head:
        surroundings = Inpainting(means.encoded(grey_where_masked(shown, mask)), cells)
    return InpaintTask(area, Inpainting(latent, cells), surroundings)


def _from_picture(picture: Pixels, denoise: float, means: Means, *, tiled: bool) -> Start:
    if denoise < LEAST_DENOISE:
        return _finished(picture)
    latent = means.encoded(_tensor(picture), tiled=tiled)
    height, width = (side * FACTOR for side in latent.shape[-2:])
    return Start(width=width, height=height, latent=latent, denoise=denoise, tiled=tiled)


def _finished(picture: Pixels) -> Start:
    height, width = picture.shape[:2]
    return Start(width=width, height=height, finished=Image.fromarray(picture))


def _check_room(width: int, height: int, factor: float) -> None:
    """Raise InvalidParameter where enlarging would take more memory than any picture may."""
    made = width * height * max(factor, _ENLARGED) ** 2
    if made > PIXEL_LIMIT:
        raise InvalidParameter(
            ("uov_input_image",),
            f"the picture is {width}x{height}, too large to make {factor:g} times as large;"
            f" at most {int(PIXEL_LIMIT / max(factor, _ENLARGED) ** 2)} pixels can be",
        )


def _rgb(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def _tensor(picture: Pixels) -> Tensor:
    """(1, 3, H, W), 0...1."""
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255.0
