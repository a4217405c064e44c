"""The image tools on one device: what the endpoints ask for, and what tasks need of the same."""

import logging
from collections.abc import Callable
from typing import TypeVar

import torch
from PIL import Image

from pipeline.errors import DeviceOutOfMemory
from pipeline.files.locate import ModelFiles
from pipeline.files.vision import VisionFiles
from pipeline.images.encode import encode_image
from pipeline.images.read import open_upright
from pipeline.memory.device import is_out_of_memory
from pipeline.models.manager import ModelManager
from pipeline.request.tools import ImageType, MaskOptions
from pipeline.scheduling.task import Reporter
from pipeline.vision.loading import VisionModels
from pipeline.vision.masks import make_mask
from pipeline.vision.safety import Censor

log = logging.getLogger(__name__)

T = TypeVar("T")


class Toolbox:
    """Looks into pictures. Device thread only.

    ``describe`` and ``generate_mask`` take a turn of their own between two tasks; the others serve
    a task that runs. All raise ModelNotInstalled, DownloadFailed, InvalidModelFile.
    """

    def __init__(self, manager: ModelManager, files: ModelFiles, device: torch.device) -> None:
        self._manager = manager
        self._files = VisionFiles(files)
        self._device = device

    def describe(self, picture: bytes, image_type: ImageType) -> str:
        """Words for a picture file: a sentence, or tags of a drawing.

        Raises UnreadableImage, ImageTooLarge, DeviceOutOfMemory, too.
        """
        image = open_upright(picture)
        if image_type == "Anime":
            return self._take_turn(lambda models: models.tagger().describe(image))
        return self._take_turn(lambda models: models.captioner().describe(image))

    def generate_mask(self, picture: bytes, options: MaskOptions) -> bytes:
        """A mask of something in a picture file, as a grey PNG file of its size.

        Raises UnreadableImage, ImageTooLarge, DeviceOutOfMemory, too.
        """
        image = open_upright(picture)
        mask = self._take_turn(lambda models: make_mask(image, options, models))
        return encode_image(mask, "png")

    @torch.inference_mode()
    def mask(self, image: Image.Image, options: MaskOptions, reporter: Reporter) -> Image.Image:
        """As ``pipeline.vision.masks.make_mask``, for the task of ``reporter``."""
        return make_mask(image, options, self._models(reporter))

    @torch.inference_mode()
    def censor(self, reporter: Reporter) -> Censor:
        """What blacks out pictures of the task of ``reporter``."""
        return Censor(self._models(reporter).safety_checker(), reporter)

    def _models(self, reporter: Reporter | None) -> VisionModels:
        return VisionModels(self._manager, self._files, self._device, reporter)

    @torch.inference_mode()
    def _take_turn(self, use: Callable[[VisionModels], T]) -> T:
        self._manager.begin_task()  # what the last task used may leave
        try:
            return use(self._models(None))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            lack = str(error)[:200] or type(error).__name__
        # Past the handler: its traceback held the tensors that did not fit.
        log.warning("a tool ran out of memory: %s", lack)
        self._manager.release()
        raise DeviceOutOfMemory(f"{self._device} has no memory for this picture or model")
