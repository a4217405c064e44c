"""Lists a request's image fields, checks the required ones and replaces their values."""

from collections.abc import Iterator, Mapping

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.schema import IMAGE_FIELDS, GenerateParams
from pipeline.request.tools import MaskOptions

FieldPath = tuple[str | int, ...]
"""Path of a field in the request body, such as ``("controlnet_image", 0, "cn_img")``."""

_CONTROLS = "controlnet_image"


def image_fields(params: GenerateParams) -> Iterator[tuple[FieldPath, str]]:
    """Path and value of every input image of the request, in the order of its fields."""
    for field in IMAGE_FIELDS:
        if value := getattr(params, field):
            yield (field,), value
    for i, control in enumerate(params.controlnet_image):
        if control.cn_img:
            yield (_CONTROLS, i, "cn_img"), control.cn_img


def with_images(params: GenerateParams, values: Mapping[FieldPath, str]) -> GenerateParams:
    """The parameters with these values at their paths."""
    fields: dict[str, object] = {
        str(place[0]): value for place, value in values.items() if len(place) == 1
    }
    fields[_CONTROLS] = tuple(
        msgspec.structs.replace(
            control, cn_img=values.get((_CONTROLS, i, "cn_img"), control.cn_img)
        )
        for i, control in enumerate(params.controlnet_image)
    )
    return msgspec.structs.replace(params, **fields)


def check_images(request: ResolvedRequest) -> None:
    """Raise InvalidParameter for the first image that the request needs and does not have."""
    params = request.params
    if params.uov_method != "Disabled" and not params.uov_input_image:
        raise _missing("uov_input_image", f"{params.uov_method} needs a picture")
    outpaints = bool(params.outpaint_selections) or any(params.outpaint_distance)
    if not params.inpaint_input_image:
        if params.inpaint_mask_image_upload:
            raise _missing("inpaint_input_image", "the mask needs a picture to paint in")
        if outpaints:
            raise _missing("inpaint_input_image", "outpainting needs a picture to go on from")
    elif not params.inpaint_mask_image_upload and not outpaints:
        message = "send a mask, white where to paint, or outpaint_selections"
        raise _missing("inpaint_mask_image_upload", message)
    _check_enhancement(request)


def _check_enhancement(request: ResolvedRequest) -> None:
    params, stages = request.params, request.stages
    if params.enhance_input_image and not stages:
        message = "nothing is to be enhanced: enable one of these, or choose enhance_uov_method"
        raise _missing("enhance_ctrls", message)
    for i, control in enumerate(params.enhance_ctrls):
        if control.enhance_enabled and stages:
            field = ("enhance_ctrls", i, "enhance_mask_dino_prompt")
            MaskOptions.of_enhancement(control, params).check(field)


def _missing(field: str, message: str) -> InvalidParameter:
    return InvalidParameter((field,), message)
