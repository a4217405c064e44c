"""What runs begin from in the cases of whole requests that bring pictures."""

import re
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.engine.start import InitialLatents, InpaintTask, Start
from pipeline.images.inpaint_area import Box
from pipeline.request.decode import GenerateParams
from pipeline.request.goals import Inpaint, read_goals
from pipeline.request.plan import ImagePlan
from pipeline.request.sizes import LATENT_FACTOR
from tools.parity_cases.inpaint import enlarge, sha256

# The reference's name of a setting -> the request's field.
_FIELDS: Final[Mapping[str, str]] = {
    "uov": "uov_method",
    "outpaint": "outpaint_selections",
    "inp_add": "inpaint_additional_prompt",
    "ovary": "overwrite_vary_strength",
    "oup": "overwrite_upscale_strength",
    "mix_uov": "mixing_image_prompt_and_vary_upscale",
    "mix_inp": "mixing_image_prompt_and_inpaint",
    "inp_nolat": "inpaint_disable_initial_latent",
    "engine": "inpaint_engine",
    "inp_str": "inpaint_strength",
    "inp_field": "inpaint_respective_field",
    "inv": "invert_mask_checkbox",
    "ero": "inpaint_erode_or_dilate",
}
# The recorded inpaint cases tell their picture's size and a hash of their mask, which is this box.
_INPAINT_SIZE: Final = (700, 900)
_MASKED: Final = Box(300, 500, 200, 420)
_PATCH: Final = "patch.fooocus.patch"  # the figures' stand-in for an engine's file
_SHAPE: Final = re.compile(r"ndarray \((\d+), (\d+), 3\)")


class EmptyVae:
    """The figures' stand-in for a VAE: latents of the right size, and nothing in them."""

    factor = LATENT_FACTOR

    def encode(self, pixels: Tensor, _generator: torch.Generator) -> Tensor:
        height, width = (side // LATENT_FACTOR for side in pixels.shape[-2:])
        return torch.zeros(1, 4, height, width)

    def encode_tiled(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return self.encode(pixels, generator)


def picture_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The request's fields for a case's pictures; a picture is there as its kind and size."""
    pictures = {"uov_input_image": settings["uov_img"], "inpaint_input_image": settings["inp"]}
    fields = {field: settings[name] for name, field in _FIELDS.items()}
    return fields | {field: str(picture or "") for field, picture in pictures.items()}


def read_start(settings: Mapping[str, Any], params: GenerateParams, seed: int) -> Start | None:
    """What the case's runs begin from; None without pictures."""
    goal = read_goals(params).start
    if not settings["input"] or goal is None:
        return None
    latents = InitialLatents(EmptyVae(), seed, enlarge=enlarge)
    if isinstance(goal, Inpaint):
        picture, mask = Image.new("RGB", _INPAINT_SIZE), np.zeros(_INPAINT_SIZE[::-1], np.uint8)
        _MASKED.cut(mask)[:] = 255
        return latents.start(goal, picture, Image.fromarray(mask))
    shape = _SHAPE.fullmatch(settings["uov_img"])
    if shape is None:
        raise NotImplementedError(f"a picture of unknown size: {settings['uov_img']}")
    return latents.start(goal, Image.new("RGB", (int(shape[2]), int(shape[1]))))


def call_facts(plan: ImagePlan, start: Start) -> dict[str, Any]:
    """The facts of a recorded call that its pictures decide."""
    patched = plan.inpaint_engine != "None"
    loras = [*plan.loras, (_PATCH, 1.0)] if patched else plan.loras
    return {
        "width": start.width,
        "height": start.height,
        "tiled": start.tiled,
        "latent_shape": None if start.latent is None else list(start.latent.shape),
        "refiner": "same model as base" if plan.refines_itself else None,
        "unet_patches": ["input_block_patch"] if _has_head(start) else [],
        "base_loras": str(list(loras)),
        "inpaint_task": None if start.inpaint is None else _task_facts(start.inpaint),
    }


def _has_head(start: Start) -> bool:
    return start.inpaint is not None and start.inpaint.surroundings is not None


def _task_facts(task: InpaintTask) -> dict[str, Any]:
    area = task.area
    return {
        "area": list(area.box),
        "interested": list(area.shown.shape),
        "latent": list(task.inpainting.latent.shape),
        "latent_mask_sum": float(task.inpainting.mask.sum()),
        "image": list(area.picture.shape),
        "mask_sha": sha256(area.soft_mask),
    }
