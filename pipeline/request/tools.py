"""Options of the image tools: masks and descriptions."""

from typing import Final, Literal

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.request.choices import ClothCategory, MaskModel, SamModel
from pipeline.request.schema import GenerateParams
from pipeline.request.schema_parts import EnhanceControl

ImageType = Literal["Photo", "Anime"]

SAM: Final = "sam"


class MaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a mask is made. ``mask_model`` "sam" segments ``prompt``, the others the foreground.

    ``max_detections`` 0 uses all detections; ``grow`` enlarges a box by pixels on each side.
    """

    mask_model: MaskModel = "isnet-general-use"
    cloth_category: ClothCategory = "full"
    prompt: str = ""
    sam_model: SamModel = "vit_b"
    box_threshold: float = 0.3
    text_threshold: float = 0.25
    max_detections: int = 0
    grow: int = 0
    only_boxes: bool = False

    @classmethod
    def of_enhancement(cls, control: EnhanceControl, params: GenerateParams) -> "MaskOptions":
        """The mask of one enhancement of a request."""
        return cls(
            mask_model=control.enhance_mask_model,
            cloth_category=control.enhance_mask_cloth_category,
            prompt=control.enhance_mask_dino_prompt,
            sam_model=control.enhance_mask_sam_model,
            box_threshold=control.enhance_mask_box_threshold,
            text_threshold=control.enhance_mask_text_threshold,
            max_detections=control.enhance_mask_sam_max_detections,
            grow=params.dino_erode_or_dilate,
            only_boxes=params.debugging_dino,
        )

    def check(self, prompt_field: tuple[str | int, ...]) -> None:
        """Raise InvalidParameter for ``prompt_field`` if "sam" has no prompt to detect."""
        if self.mask_model == SAM and not self.prompt.strip():
            raise InvalidParameter(prompt_field, "the model sam wants to be told what to look for")
