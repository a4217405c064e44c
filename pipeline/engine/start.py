"""Starts of runs from input images: a latent to vary or upscale, an area to inpaint."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.errors import InvalidParameter
from pipeline.images.inpaint_area import Enlarge, InpaintArea, Shown, make_area, resized, with_fill
from pipeline.images.mask_check import MIDDLE
from pipeline.images.masks import Pixels, grow_mask, read_mask
from pipeline.images.outpaint import extend, margins
from pipeline.images.read import PIXEL_LIMIT
from pipeline.models.vae import grey_where_masked, latent_mask
from pipeline.request.goals import NATIVE_SIDE, Inpaint, StartGoal, Upscale, Vary
from pipeline.request.sizes import STEP, shape_ceil, size_of_ceil
from pipeline.sampling.inpainting import Inpainting
from pipeline.sampling.noise import seeded_generator

# At SDXL's native side; smaller models have smaller limits in proportion.
VARY_LIMIT: Final = 2048  # pixels: images are brought below this shape ceiling
UPSCALE_LIMIT: Final = 2800  # pixels: images above this shape ceiling are not sampled again
FILL_ABOVE: Final = 0.99  # strength from which what is under the mask does not matter
# Below this no pixel would change, and the schedule would get too long.
LEAST_DENOISE: Final = 0.001
_ENLARGED: Final = 2.0  # an upscaler's result counts as at least this much larger


class NothingToPaint(InvalidParameter):
    """No part of the mask is white, also after it was grown and inverted as asked."""


class Encoder(Protocol):
    """A VAE, such as ``Vae``."""

    @property
    def factor(self) -> int:
        """Pixels a latent cell, each way."""

    def encode(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The latent (B, C, h, w) of pixels (B, 3, H, W), 0...1."""

    def encode_tiled(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The same in tiles."""


@dataclass(frozen=True, slots=True)
class InpaintTask:
    """What confines a run to an area, and pastes its result back."""

    area: InpaintArea
    inpainting: Inpainting
    surroundings: Inpainting | None  # with grey under the mask: for an inpaint head or network

    def paste(self, made: Image.Image) -> Image.Image:
        """The whole input image, in its own size, with the area as it was made."""
        return Image.fromarray(self.area.paste(np.asarray(made)))


@dataclass(frozen=True, slots=True)
class Picture:
    """The image that a run starts from, and the area of it that is painted, if not all."""

    image: Image.Image
    mask: Image.Image | None = None
    area: InpaintArea | None = None

    def finished(self, made: Image.Image) -> Image.Image:
        """What was made, or the whole input image with the area as it was made."""
        if self.area is None:
            return made
        return Image.fromarray(self.area.paste(np.asarray(made)))


@dataclass(frozen=True, slots=True)
class Start:
    """Start of a run of ``width`` x ``height`` pixels.

    ``latent`` is in the VAE's space; None: noise alone. ``denoise`` is the share of the schedule
    that is run. ``tiled`` images are decoded in tiles too. ``picture`` is for pipelines that encode
    it themselves. One that is ``finished`` needs no run.
    """

    width: int
    height: int
    latent: Tensor | None = None
    denoise: float = 1.0
    tiled: bool = False
    inpaint: InpaintTask | None = None
    finished: Image.Image | None = None
    picture: Picture | None = None


class InitialLatents:
    """Makes starts from input images.

    ``seed`` is the task's, so all its images share the encoded latent. ``native_side`` is the side
    of the square that the model was trained on, a multiple of 64. ``enlarge`` upscales by a
    network; without it images are resampled.
    """

    def __init__(
        self,
        vae: Encoder,
        seed: int,
        native_side: int = NATIVE_SIDE,
        enlarge: Enlarge | None = None,
        *,
        shows_surroundings: bool = False,
    ) -> None:
        """``shows_surroundings``: the network itself takes what is around the mask."""
        self._shows_surroundings = shows_surroundings
        self._vae = vae
        self._seed = seed
        self._native_side = native_side
        self._enlarge = enlarge

    def start(self, goal: StartGoal, image: Image.Image, mask: Image.Image | None = None) -> Start:
        """The start towards a goal. Raises InvalidParameter."""
        match goal:
            case Inpaint():
                return self.inpaint(goal, image, mask)
            case Upscale():
                return self.upscale(goal, image)
            case Vary():
                return self.vary(goal, image)

    def vary(self, goal: Vary, image: Image.Image) -> Start:
        """The whole image, brought to a size that the model can make."""
        picture = _rgb(image)
        height, width = picture.shape[:2]
        ceil = shape_ceil(width, height, self._step)
        ceil = min(max(ceil, self._native_side), self._scaled(VARY_LIMIT))
        picture = resized(picture, *size_of_ceil(width, height, ceil, self._step))
        return self._from_picture(picture, goal.denoise, tiled=False)

    def upscale(self, goal: Upscale, image: Image.Image) -> Start:
        """The upscaled image; very large or fast ones are finished with that.

        Raises InvalidParameter if the result would be larger than images may be.
        """
        check_room(image.width, image.height, goal.factor)
        picture = _rgb(image)
        made = (image.width * goal.factor, image.height * goal.factor)
        size, ceil = (int(made[0]), int(made[1])), shape_ceil(*made, self._step)
        enlarged = picture if self._enlarge is None else self._enlarge(picture)
        if ceil < self._native_side:
            ceil = self._native_side
            size = size_of_ceil(enlarged.shape[1], enlarged.shape[0], ceil, self._step)
        picture = resized(enlarged, *size)
        if goal.fast or ceil > self._scaled(UPSCALE_LIMIT):
            return _finished(picture)
        return self._from_picture(picture, goal.denoise, tiled=True)

    def inpaint(self, goal: Inpaint, image: Image.Image, mask: Image.Image | None) -> Start:
        """The area around the mask, and around what outpainting adds. Raises NothingToPaint."""
        picture, painted = outpainted(goal, _rgb(image), mask)
        painted_somewhere(painted)
        if goal.strength < LEAST_DENOISE:
            return _finished(picture)
        shown = Shown(self._native_side, self._step, self._enlarge)
        area = make_area(picture, painted, goal.field, shown)
        if goal.strength > FILL_ABOVE:
            area = with_fill(area)
        task = self._inpaint_task(area, with_surroundings=goal.patched or self._shows_surroundings)
        latent = task.inpainting.latent
        width, height = self._pixels_of(latent)
        return Start(
            width=width,
            height=height,
            latent=None if goal.from_noise else latent,
            denoise=goal.strength,
            inpaint=task,
        )

    def _inpaint_task(self, area: InpaintArea, *, with_surroundings: bool) -> InpaintTask:
        # The VAE crops to whole cells; the mask is scaled to them instead, as in Fooocus.
        factor = self._vae.factor
        height, width = (side // factor * factor for side in area.shown.shape[:2])
        shown = _tensor(area.shown)
        mask = torch.from_numpy(area.mask.copy())[None, None].float() / 255
        cells = latent_mask(mask, height, width, factor)
        latent = self._encoded(_tensor(area.filled))
        surroundings = None
        if with_surroundings:
            surroundings = Inpainting(self._encoded(grey_where_masked(shown, mask)), cells)
        return InpaintTask(area, Inpainting(latent, cells), surroundings)

    def _from_picture(self, picture: Pixels, denoise: float, *, tiled: bool) -> Start:
        if denoise < LEAST_DENOISE:
            return _finished(picture)
        latent = self._encoded(_tensor(picture), tiled=tiled)
        width, height = self._pixels_of(latent)
        return Start(width=width, height=height, latent=latent, denoise=denoise, tiled=tiled)

    def _encoded(self, pixels: Tensor, *, tiled: bool = False) -> Tensor:
        """The latent of pixels (1, 3, H, W), always sampled with the seed's first noise.

        In tiles too where the device has no memory for the image whole.
        """
        if not tiled:
            try:
                return self._vae.encode(pixels, seeded_generator(self._seed))
            except torch.OutOfMemoryError:
                pass  # tiles come outside the except block: its traceback keeps tensors alive
        return self._vae.encode_tiled(pixels, seeded_generator(self._seed))

    def _scaled(self, pixels: int) -> int:
        """A number of pixels at SDXL's native side, in proportion for this model."""
        return pixels * self._native_side // NATIVE_SIDE

    @property
    def _step(self) -> int:
        """Pixels in which sizes are counted: whole latent cells."""
        factor = self._vae.factor
        return max(factor, self._scaled(STEP) // factor * factor)

    def _pixels_of(self, latent: Tensor) -> tuple[int, int]:
        """Width and height of a latent's image."""
        height, width = (side * self._vae.factor for side in latent.shape[-2:])
        return width, height


def painted_somewhere(painted: Pixels) -> None:
    """Raise NothingToPaint for a mask without white."""
    if not (painted > MIDDLE).any():
        raise NothingToPaint(
            ("inpaint_mask_image_upload",),
            "there is nothing to paint: send a mask that is white somewhere, also after"
            " inpaint_erode_or_dilate and invert_mask_checkbox, or sides to outpaint",
        )


def outpainted(goal: Inpaint, picture: Pixels, mask: Image.Image | None) -> tuple[Pixels, Pixels]:
    """Image and mask: the mask grown and inverted as asked, then both extended to outpaint."""
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


def _finished(picture: Pixels) -> Start:
    height, width = picture.shape[:2]
    return Start(width=width, height=height, finished=Image.fromarray(picture))


def check_room(width: int, height: int, factor: float) -> None:
    """Raise InvalidParameter where enlarging would take more memory than any image may."""
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
