"""From the family's requests to ours: the same settings under other names, pictures included."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from handlers.fooocus_api.bodies import CONTROL_FIELDS, DISTANCES, ENHANCE_SLOTS, SLOTS
from handlers.fooocus_api.schemas import JobType
from handlers.http.form_fields import NO_PICTURE
from handlers.http.refusal import wrong_field
from pipeline.request.images import FieldPath
from pipeline.request.schema_parts import EnhanceControl

_RENAMED: Final = {
    "save_meta": "save_metadata_to_images",
    "meta_scheme": "metadata_scheme",
    "save_extension": "output_format",
}
_OWN_NAMES: Final = frozenset(  # handled one by one below
    {
        "advanced_params",
        "input_image",
        "input_mask",
        "image_prompts",
        "upscale_value",
        "enhance_ctrlnets",
        "enhance_input_image",
        *DISTANCES,
        *(f"{name}{number}" for number in SLOTS for name in CONTROL_FIELDS),
        *(
            f"{name}_{number}"
            for number in ENHANCE_SLOTS
            for name in EnhanceControl.__struct_fields__
        ),
    }
)
_CUSTOM: Final = "Upscale (Custom)"
_BY_FACTOR: Final = ("Upscale (1.5x)", "Upscale (2x)", _CUSTOM)
_FAST: Final = "Upscale (Fast 2x)"


class Wanted(msgspec.Struct):
    """A request in our terms while it is put together.

    ``fields`` are those of the generate endpoint, ``uploads`` the files of a form.
    """

    fields: dict[str, object]
    uploads: dict[FieldPath, bytes]

    def place(self, field: str, value: object, upload: bytes) -> bool:
        """Put a picture, uploaded or named by a text, into an image field; whether there is one."""
        if upload:
            self.uploads[field,] = upload
        elif isinstance(value, str) and value not in NO_PICTURE:
            self.fields[field] = value
        else:
            return False
        return True


Fill = Callable[[Mapping[str, Any], Mapping[str, bytes], Wanted], None]
"""Adds what one kind of job has beside the common settings: body, files, request."""


def to_params(body: Mapping[str, Any], files: Mapping[str, bytes], fill: Fill) -> Wanted:
    """The request in our terms. Raises RequestRefused."""
    fields = {_RENAMED.get(name, name): body[name] for name in body if name not in _OWN_NAMES}
    wanted = Wanted(fields | dict(body.get("advanced_params") or {}), {})
    fill(body, files, wanted)
    return wanted


def text_to_image(body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted) -> None:
    """A prompt, with image prompts where there are some."""
    _image_prompts(body, files, wanted)


def upscale_or_vary(body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted) -> None:
    """A picture to vary or upscale. A factor of its own makes the method the custom one."""
    method, factor = body["uov_method"], body.get("upscale_value")
    if factor is not None and method in _BY_FACTOR:
        wanted.fields.update(uov_method=_CUSTOM, upscale_multiple=factor)
    elif factor not in (None, 2) and method == _FAST:
        raise wrong_field("upscale_value", f"{_FAST} has the factor 2")
    _picture(body, files, wanted, "input_image", "uov_input_image")
    if _image_prompts(body, files, wanted):
        wanted.fields["mixing_image_prompt_and_vary_upscale"] = True


def inpaint_or_outpaint(
    body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted
) -> None:
    """A picture to paint in or beyond; distances of -1 and 0 leave the sides' own 30 %."""
    if not _painted(body, files, wanted):
        raise wrong_field("input_image", "an image is required")
    if _image_prompts(body, files, wanted):
        wanted.fields["mixing_image_prompt_and_inpaint"] = True


def image_prompts(body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted) -> None:
    """Image prompts, and perhaps a picture to paint in with them."""
    if not _image_prompts(body, files, wanted):
        raise wrong_field("image_prompts", "an image is required")
    if _painted(body, files, wanted):
        wanted.fields["mixing_image_prompt_and_inpaint"] = True


def enhancement(body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted) -> None:
    """A picture to enhance. The family's defaults: it is varied, and faces are looked for."""
    _picture(body, files, wanted, "enhance_input_image", "enhance_input_image")
    wanted.fields.setdefault("enhance_checkbox", True)
    wanted.fields.setdefault("enhance_uov_method", "Vary (Strong)")
    controls = [
        {"enhance_mask_dino_prompt": "face", **control}
        for control in body.get("enhance_ctrlnets", ())
    ]
    if controls := controls or list(_form_controls(body)):
        wanted.fields["enhance_ctrls"] = controls
    _image_prompts(body, files, wanted)


def job_type(params: Mapping[str, object]) -> JobType:
    """The family's name for what a record's request asks for."""
    if params.get("enhance_input_image"):
        return "Image Enhancement"
    if params.get("uov_input_image") and params.get("uov_method") != "Disabled":
        return "Image Upscale or Variation"
    if params.get("inpaint_input_image"):
        return "Image Inpaint or Outpaint"
    controls = params.get("controlnet_image")
    has_prompts = isinstance(controls, list | tuple) and bool(controls)
    return "Image Prompt" if has_prompts else "Text to Image"


def _picture(
    body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted, name: str, ours: str
) -> None:
    """A picture that must be there. Raises RequestRefused."""
    if not wanted.place(ours, body.get(name), files.get(name, b"")):
        raise wrong_field(name, "an image is required")


def _painted(body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted) -> bool:
    """The picture to paint in, its mask and the distances; whether there is such a picture."""
    names = (("input_image", "inpaint_input_image"), ("input_mask", "inpaint_mask_image_upload"))
    placed = [wanted.place(o, body.get(name), files.get(name, b"")) for name, o in names]
    distances = [max(0, body.get(name, 0)) for name in DISTANCES]
    if any(distances):
        wanted.fields["outpaint_distance"] = distances
    return placed[0]


def _image_prompts(
    body: Mapping[str, Any], files: Mapping[str, bytes], wanted: Wanted
) -> list[dict[str, object]]:
    """The image prompts that have a picture, in a list or in the numbered fields of a form."""
    controls: list[dict[str, object]] = []
    for prompt in (*body.get("image_prompts", ()), *_form_prompts(body, files)):
        picture = prompt.get("cn_img")
        if isinstance(picture, bytes):
            wanted.uploads["controlnet_image", len(controls), "cn_img"] = picture
        elif picture is None or picture in NO_PICTURE:
            continue
        is_upload = isinstance(picture, bytes)
        controls.append({**prompt, "cn_img": ""} if is_upload else _with_defaults(prompt))
    if controls:
        wanted.fields["controlnet_image"] = controls
    return controls


def _form_prompts(
    body: Mapping[str, Any], files: Mapping[str, bytes]
) -> Iterable[dict[str, object]]:
    for number in SLOTS:
        if picture := files.get(f"cn_img{number}"):
            settings = {name: body.get(f"{name}{number}") for name in CONTROL_FIELDS[1:]}
            told = {name: value for name, value in settings.items() if value is not None}
            yield {**told, "cn_img": picture}


def _with_defaults(prompt: Mapping[str, object]) -> dict[str, object]:
    """An image prompt of a list, where 0 leaves stop or weight to the type."""
    return {name: value for name, value in prompt.items() if value}


def _form_controls(body: Mapping[str, Any]) -> Iterable[dict[str, object]]:
    for number in ENHANCE_SLOTS:
        named = {name: f"{name}_{number}" for name in EnhanceControl.__struct_fields__}
        if control := {name: body[slot] for name, slot in named.items() if slot in body}:
            yield control
