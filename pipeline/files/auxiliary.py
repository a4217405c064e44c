"""Auxiliary model files of a request: upscaler, control networks, adapters, inpaint patches.

SDXL models use the published files; the embedded model has small ones of its own in their place.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.errors import ModelNotInstalled
from pipeline.files.catalog import COMPANIONS, UPSCALERS
from pipeline.files.locate import ModelFiles
from pipeline.files.registry import (
    CANNY_CONTROL,
    CPDS_CONTROL,
    FACE_ADAPTER,
    FACE_DETECTOR,
    IMAGE_ENCODER,
    IMAGE_PROMPT_ADAPTER,
    INPAINT_HEAD,
    INPAINT_PATCHES,
    UPSCALER,
)
from pipeline.files.vision import VisionFiles
from pipeline.request.choices import DEFAULT_UPSCALER, EMBEDDED, NO_MODEL
from pipeline.request.decode import ControlNetImage, GenerateParams
from pipeline.request.goals import Inpaint, Upscale
from pipeline.request.model_file import ModelFile
from pipeline.request.resolved import ResolvedRequest
from pipeline.request.tools import SAM
from pipeline.scheduling.task import Reporter

# Published file → the embedded model's own.
_STAND_INS: Final = {
    CANNY_CONTROL: "control_lora_canny.safetensors",
    CPDS_CONTROL: "control_lora_cpds.safetensors",
    IMAGE_PROMPT_ADAPTER: "ip_adapter_plus.safetensors",
    IMAGE_ENCODER: "clip_vision",
    INPAINT_HEAD: "inpaint_head.pth",
    **dict.fromkeys(INPAINT_PATCHES.values(), "inpaint.fooocus.patch"),
    UPSCALER: "upscaler_x2.safetensors",
}
# Later releases of a file that do as well.
_OTHER_NAMES: Final = {FACE_DETECTOR: ("face_detection_yunet_2026may.onnx",)}
# Files that any model can use, the embedded one too where they are installed; the record's note.
_OF_ANY_MODEL: Final = {UPSCALER: "upscaler", FACE_DETECTOR: "face_detector"}
_OF_CONTROL: Final = {
    "ImagePrompt": (IMAGE_ENCODER, IMAGE_PROMPT_ADAPTER),
    "FaceSwap": (FACE_DETECTOR, IMAGE_ENCODER, FACE_ADAPTER),
    "PyraCanny": (CANNY_CONTROL,),
    "CPDS": (CPDS_CONTROL,),
}


class AuxiliaryFiles:
    """Finds auxiliary files for a model. Any thread may call."""

    def __init__(self, files: ModelFiles, companions: Path = COMPANIONS) -> None:
        self._files = files
        self._companions = companions

    def require(self, part: ModelFile, model: str, reporter: Reporter | None = None) -> Path:
        """The path of a file for this model; a missing published file is fetched if allowed.

        Raises ModelNotInstalled, DownloadFailed, TaskAborted.
        """
        installed = self._installed(part)
        if model != EMBEDDED or _is_named(part):
            return installed or self._files.require(part, reporter)
        if installed is None or part not in _OF_ANY_MODEL:
            return self._stand_in(part)
        if reporter is not None:
            reporter.note(_OF_ANY_MODEL[part], f"{installed.name} of models/{part.folder}")
        return installed

    def check(self, part: ModelFile, model: str) -> None:
        """Raise ModelNotInstalled if the file is missing and cannot be fetched."""
        installed = self._installed(part)
        if model == EMBEDDED and not _is_named(part):
            if installed is None or part not in _OF_ANY_MODEL:
                self._stand_in(part)
        elif not self._files.allowed and installed is None:
            raise self._files.not_installed(part)

    def _installed(self, part: ModelFile) -> Path | None:
        """The file under any of its published names; None where it is not there."""
        folder = self._files.models_dir / part.folder
        paths = (folder / name for name in (part.name, *_OTHER_NAMES.get(part, ())))
        return next((path for path in paths if path.is_file()), None)

    def _stand_in(self, part: ModelFile) -> Path:
        path = self._companions / _STAND_INS.get(part, "no stand-in")
        if not path.exists():
            raise ModelNotInstalled(
                f"the embedded model has no counterpart of {part.name};"
                " use an SDXL checkpoint (base_model_name) for this"
            )
        return path


def upscaler_of(params: GenerateParams) -> ModelFile:
    """The upscaler that the request names, or the published one."""
    if params.upscale_model in (DEFAULT_UPSCALER, NO_MODEL):
        return UPSCALER
    return ModelFile(UPSCALERS, params.upscale_model)


def _is_named(part: ModelFile) -> bool:
    """Whether a request names the file, which then serves any model."""
    return part.folder == UPSCALERS and part != UPSCALER


def check_parts(request: ResolvedRequest, files: ModelFiles) -> None:
    """Raise ModelNotInstalled for the first file that is needed, missing and not to be fetched.

    Uses no network: where downloads are allowed, the task fetches a missing published file.
    """
    parts = AuxiliaryFiles(files)
    for part in needed_parts(request):
        parts.check(part, request.params.base_model_name)
    if not files.allowed:
        _check_vision(request, VisionFiles(files))


def needed_parts(request: ResolvedRequest) -> Iterator[ModelFile]:
    """The auxiliary files that the request needs."""
    params, goals = request.params, request.goals
    for goal in (goals.start, *(stage.goal for stage in request.stages)):
        if isinstance(goal, Upscale):
            yield upscaler_of(params)
        if isinstance(goal, Inpaint) and goal.patched:
            yield INPAINT_HEAD
            yield INPAINT_PATCHES[goal.engine]
    for control in params.controlnet_image if goals.image_prompts else ():
        if control.cn_img:
            yield from _parts_of(control, params)


def _parts_of(control: ControlNetImage, params: GenerateParams) -> Iterator[ModelFile]:
    """A preview of the preprocessor needs the detector, not the adapter."""
    for part in _OF_CONTROL[control.cn_type]:
        if part == FACE_DETECTOR and params.skipping_cn_preprocessor:
            continue
        if part == FACE_DETECTOR or not params.debugging_cn_preprocessor:
            yield part


def _check_vision(request: ResolvedRequest, vision: VisionFiles) -> None:
    """The vision models. Without downloads, asking for a path only checks that it is there."""
    if request.params.black_out_nsfw:
        vision.safety_checker()
    for stage in request.stages:
        if stage.control is None:
            continue
        if stage.control.enhance_mask_model == SAM:
            vision.detector()
            vision.sam(stage.control.enhance_mask_sam_model)
        else:
            vision.background(stage.control.enhance_mask_model)
