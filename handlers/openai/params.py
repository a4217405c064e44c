"""From the family's requests to the fields of the generate endpoint."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from handlers.http.refusal import wrong_field
from handlers.openai.schemas import MAX_PICTURES, OWN_FIELDS, UNUSED
from pipeline.request.images import FieldPath
from pipeline.request.schema import MAX_SIDE, MIN_SIDE

_QUALITY: Final = {
    "low": "Lightning",
    "medium": "Speed",
    "standard": "Speed",
    "high": "Quality",
    "hd": "Quality",
}
TOLD_QUALITY: Final = {"standard": "medium", "hd": "high"}
"""Older names of a quality → the names in replies."""
_SIZE: Final = re.compile(r"\s*([0-9]{1,5})\s*[xX*\u00d7]\s*([0-9]{1,5})\s*", re.ASCII)
_WHOLE: Final = "Vary (Strong)"  # how a picture without a mask is redrawn
_FULL_COMPRESSION: Final = 100


class Wanted(msgspec.Struct, frozen=True):
    """A request in our terms: fields of the generate endpoint, and the uploads of a form."""

    fields: dict[str, object]
    uploads: dict[FieldPath, bytes] = {}


def to_params(body: Mapping[str, Any]) -> Wanted:
    """The fields common to all requests. Raises RequestRefused."""
    fields = {name: value for name, value in body.items() if name not in OWN_FIELDS}
    named = {
        "base_model_name": body.get("model") or None,
        "image_number": body.get("n"),
        "image_seed": body.get("seed"),
        "overwrite_step": body.get("steps", body.get("num_inference_steps")),
        "performance_selection": _QUALITY.get(body.get("quality") or ""),
        "aspect_ratios_selection": nearest_size(body.get("size")),
    }
    if body.get("background") == "transparent":
        raise wrong_field("background", "pictures are opaque; ask for opaque or auto")
    if body.get("output_compression") not in (None, _FULL_COMPRESSION):
        raise wrong_field("output_compression", "Expected 100: files are written as they are")
    return Wanted(fields | {name: value for name, value in named.items() if value is not None})


def ignored_of(body: Mapping[str, Any]) -> list[str]:
    """The sent fields that have no effect on this server."""
    return [name for name in UNUSED if body.get(name)]


def nearest_size(size: str | None) -> str | None:
    """``1024x1536`` in our writing, brought within what can be made; None for ``auto``.

    A side above 2048 or below 64 pixels is scaled there, the other one with it. Raises
    RequestRefused.
    """
    if size is None or size.strip().lower() in ("", "auto"):
        return None
    match = _SIZE.fullmatch(size)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(sides):
        raise wrong_field("size", "Expected auto, or width and height such as 1024x1024")
    longest, shortest = max(sides), min(sides)
    scale = MAX_SIDE / longest if longest > MAX_SIDE else max(1.0, MIN_SIDE / shortest)
    width, height = (min(MAX_SIDE, max(MIN_SIDE, round(side * scale))) for side in sides)
    return f"{width}*{height}"


def edit(wanted: Wanted, pictures: Sequence[bytes], mask: bytes) -> Wanted:
    """Paint in the first picture where the mask is white; without one redraw it as a whole.

    Further pictures become image prompts. The picture decides the size. Raises RequestRefused.
    """
    if not pictures:
        raise wrong_field("image", "an image is required")
    if len(pictures) > MAX_PICTURES:
        raise wrong_field("image", f"at most {MAX_PICTURES} pictures can be used")
    first, *prompts = pictures
    fields = {k: v for k, v in wanted.fields.items() if k != "aspect_ratios_selection"}
    uploads: dict[FieldPath, bytes] = {
        ("controlnet_image", i, "cn_img"): prompt for i, prompt in enumerate(prompts)
    }
    if mask:
        uploads |= {("inpaint_input_image",): first, ("inpaint_mask_image_upload",): mask}
        mixing = "mixing_image_prompt_and_inpaint"
    else:
        uploads[("uov_input_image",)] = first
        fields.setdefault("uov_method", _WHOLE)
        mixing = "mixing_image_prompt_and_vary_upscale"
    if prompts:
        fields |= {"controlnet_image": [{"cn_img": ""} for _ in prompts], mixing: True}
    return Wanted(fields, uploads)


def vary(wanted: Wanted, picture: bytes) -> Wanted:
    """Make the picture anew. It decides the size. Raises RequestRefused."""
    if not picture:
        raise wrong_field("image", "an image is required")
    fields = {k: v for k, v in wanted.fields.items() if k != "aspect_ratios_selection"}
    fields.setdefault("uov_method", _WHOLE)
    return Wanted(fields, {("uov_input_image",): picture})
