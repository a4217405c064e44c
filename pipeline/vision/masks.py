"""From what a mask is asked for with to the mask. Knows the models by what they do, not by file."""

import logging
from typing import Protocol

from PIL import Image

from pipeline.request.choices import MaskModel, SamModel
from pipeline.request.tools import SAM, MaskOptions
from pipeline.vision.background import foreground_mask
from pipeline.vision.detection import Detector, draw_boxes
from pipeline.vision.segment import Segmenter
from pipeline.vision.sessions import Session

log = logging.getLogger(__name__)


class MaskModels(Protocol):
    """Loads the models that masks are drawn with; each raises ModelNotInstalled."""

    def background(self, model: MaskModel) -> Session:
        """A foreground model."""

    def detector(self) -> Detector:
        """What finds things by words."""

    def segmenter(self, size: SamModel) -> Segmenter:
        """What draws the outline of a thing."""


def make_mask(image: Image.Image, options: MaskOptions, models: MaskModels) -> Image.Image:
    """An "L" mask of the size of an RGB picture; white is what was found.

    Black where sam finds nothing. Raises ModelNotInstalled, InvalidModelFile.
    """
    if options.mask_model != SAM:
        session = models.background(options.mask_model)
        return foreground_mask(session, options.mask_model, image, options.cloth_category)
    found = models.detector().find(
        image, options.prompt, options.box_threshold, options.text_threshold
    )
    log.debug("%d finds for %r", len(found), options.prompt)
    if options.max_detections:
        found = found[: options.max_detections]
    grown = [box.grown(options.grow, image.width, image.height) for box in found]
    boxes = [box for box in grown if box is not None]
    if options.only_boxes:
        return draw_boxes(boxes, image.width, image.height)
    return models.segmenter(options.sam_model).mask(image, boxes)
