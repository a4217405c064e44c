"""From a request's image prompts to what a network is steered by. Device thread only."""

from functools import partial
from typing import Final

from PIL import Image

from pipeline.adapters.control import Control, hint_tensor
from pipeline.adapters.control_lora import load_control
from pipeline.adapters.ip_adapter import load_adapter
from pipeline.adapters.ip_attention import ImagePrompt
from pipeline.engine.conditioned import ImageConditions
from pipeline.engine.task_context import TaskContext
from pipeline.files.registry import (
    CANNY_CONTROL,
    CPDS_CONTROL,
    FACE_ADAPTER,
    FACE_DETECTOR,
    IMAGE_ENCODER,
    IMAGE_PROMPT_ADAPTER,
)
from pipeline.images.faces import FaceDetector, crop_face
from pipeline.images.preprocessors import canny_hint, cpds_hint, hint_source
from pipeline.models.image_encoder import load_image_encoder
from pipeline.request.decode import ControlNetImage, GenerateParams

CONTROL_FILES: Final = {"PyraCanny": CANNY_CONTROL, "CPDS": CPDS_CONTROL}
_ENCODER: Final = "image encoder"
_ORDER: Final = ("PyraCanny", "CPDS", "ImagePrompt", "FaceSwap")


def load_image_conditions(
    params: GenerateParams, size: tuple[int, int], context: TaskContext
) -> ImageConditions:
    """Controls and image prompts for pictures made at ``size`` (width, height).

    Raises what loading model files does.
    """
    used = _in_order(params)
    conditions = ImageConditions(
        controls=tuple(
            _control(each, params, size, context) for each in used if each.cn_type in CONTROL_FILES
        ),
        prompts=tuple(
            _prompt(each, params, context) for each in used if each.cn_type not in CONTROL_FILES
        ),
        softness=params.controlnet_softness,
    )
    if conditions.prompts:
        context.done_with(_ENCODER, IMAGE_ENCODER)
    return conditions


def preprocessed(
    params: GenerateParams, size: tuple[int, int], context: TaskContext
) -> list[Image.Image]:
    """What is taken from each image: the hint of a control, the face, or the picture itself.

    In Fooocus's order: Canny hints, CPDS hints, image prompts, faces.
    """
    made = []
    for each in _in_order(params):
        if each.cn_type in CONTROL_FILES:
            made.append(_hint(each, params, size, context))
        else:
            made.append(_looked_at(each, params, context))
    return made


def _in_order(params: GenerateParams) -> list[ControlNetImage]:
    used = (each for each in params.controlnet_image if each.cn_img)
    return sorted(used, key=lambda each: _ORDER.index(each.cn_type))


def _control(
    each: ControlNetImage, params: GenerateParams, size: tuple[int, int], context: TaskContext
) -> Control:
    load = partial(load_control, base=context.checkpoint.unet, device=context.device)
    network = context.auxiliary("control", CONTROL_FILES[each.cn_type], load, bound=True)
    hint = hint_tensor(_hint(each, params, size, context))
    return Control(network, hint, each.cn_weight, each.cn_stop)


def _hint(
    each: ControlNetImage, params: GenerateParams, size: tuple[int, int], context: TaskContext
) -> Image.Image:
    source = hint_source(context.picture(each.cn_img), *size)
    if params.skipping_cn_preprocessor:
        return source
    if each.cn_type == "CPDS":
        return cpds_hint(source)
    return canny_hint(source, params.canny_low_threshold, params.canny_high_threshold)


def _prompt(each: ControlNetImage, params: GenerateParams, context: TaskContext) -> ImagePrompt:
    load = partial(load_image_encoder, device=context.device)
    encoder = context.auxiliary(_ENCODER, IMAGE_ENCODER, load)
    file = FACE_ADAPTER if each.cn_type == "FaceSwap" else IMAGE_PROMPT_ADAPTER
    module = context.checkpoint.unet.module
    adapter = context.auxiliary(
        "image prompt", file, partial(load_adapter, unet=module, device=context.device), bound=True
    )
    tokens = adapter.tokens(_looked_at(each, params, context), encoder)
    return ImagePrompt(adapter, tokens.positive, tokens.negative, each.cn_weight, each.cn_stop)


def _looked_at(each: ControlNetImage, params: GenerateParams, context: TaskContext) -> Image.Image:
    """The picture that the image encoder sees: of a face swap the face alone."""
    picture = context.picture(each.cn_img)
    if each.cn_type != "FaceSwap" or params.skipping_cn_preprocessor:
        return picture
    detector = context.auxiliary("face detector", FACE_DETECTOR, FaceDetector)
    crop = crop_face(picture, detector)
    if not crop.found:
        context.reporter.note("face", "no face was found, so the whole picture was taken")
    return crop.image
