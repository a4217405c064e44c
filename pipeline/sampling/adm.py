"""Size conditioning ("ADM", ``time_ids``): the sizes that SDXL networks get with the prompt."""

from typing import ClassVar, Protocol

import msgspec

from pipeline.request.sampling import Guidance
from pipeline.sampling.noise_levels import MAX_T

TARGET_GRID = 64
AESTHETIC_POSITIVE = 6.0
AESTHETIC_NEGATIVE = 2.5

SizeIds = tuple[float, ...]


def _to_grid(pixels: int) -> int:
    return round(pixels / TARGET_GRID) * TARGET_GRID


class SizeConditioning(Protocol):
    """The numbers that a network gets beside one prompt, for an image of one size in pixels."""

    @property
    def width(self) -> int:
        """The latent's width in pixels."""

    @property
    def height(self) -> int:
        """The latent's height in pixels."""

    def ids(self, *, positive: bool, scaled: bool) -> SizeIds:
        """The numbers for the positive or the negative prompt."""

    def scaled_at(self, timestep: float) -> bool:
        """Whether they are the ``scaled`` ones at this timestep."""


class SdxlSizes(msgspec.Struct, frozen=True):
    """SDXL's: original size, crop and target size. Fooocus exaggerates the original size early on.

    Width and height are the latent's in pixels.
    """

    count: ClassVar[int] = 6  # numbers a prompt
    width: int
    height: int
    guidance: Guidance

    def ids(self, *, positive: bool, scaled: bool) -> SizeIds:
        """(height, width, crop top, crop left, target height, target width)."""
        target = (_to_grid(self.height), _to_grid(self.width))
        if not scaled:
            return (*target, 0, 0, *target)
        settings = self.guidance
        scale = settings.adm_scaler_positive if positive else settings.adm_scaler_negative
        return (int(self.height * scale), int(self.width * scale), 0, 0, *target)

    def scaled_at(self, timestep: float) -> bool:
        """Whether the size is still exaggerated at this timestep."""
        return timestep > MAX_T * (1.0 - self.guidance.adm_scaler_end)


class RefinerSizes(msgspec.Struct, frozen=True):
    """SDXL's refiner's: size, crop and aesthetic score, the same at every step."""

    count: ClassVar[int] = 5
    width: int
    height: int

    def ids(self, *, positive: bool, scaled: bool) -> SizeIds:  # noqa: ARG002 - same as SdxlSizes
        """(height, width, crop top, crop left, aesthetic score)."""
        score = AESTHETIC_POSITIVE if positive else AESTHETIC_NEGATIVE
        return (self.height, self.width, 0, 0, score)

    def scaled_at(self, timestep: float) -> bool:  # noqa: ARG002 - same as SdxlSizes
        """Never."""
        return False
