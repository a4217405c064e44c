"""The sizes an SDXL network is told beside the prompt ("ADM"), as plain numbers."""

from typing import ClassVar

import msgspec

from pipeline.request.sampling import Guidance
from pipeline.sampling.parametrisation import MAX_T

TARGET_GRID = 64
AESTHETIC_POSITIVE = 6.0
AESTHETIC_NEGATIVE = 2.5

SizeIds = tuple[float, ...]


def _to_grid(pixels: int) -> int:
    return round(pixels / TARGET_GRID) * TARGET_GRID


class SdxlSizes(msgspec.Struct, frozen=True):
    """Original size, crop and target size; the original is exaggerated for the first steps.

    Width and height are those of the latent times 8.
    """

    count: ClassVar[int] = 6  # numbers told
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
        """Is the exaggerated size still told at this time?"""
        return timestep > MAX_T * (1.0 - self.guidance.adm_scaler_end)


class RefinerSizes(msgspec.Struct, frozen=True):
    """Size, crop and aesthetic score: what the SDXL refiner is told, the same at every step."""

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
