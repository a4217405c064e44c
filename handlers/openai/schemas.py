"""Bodies of the family's requests, and its replies.

Beside the family's fields a request may hold ``seed``, ``steps`` and any setting of the generate
endpoint by its own name; clients send those as extra fields (``extra_body``).
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pipeline.request.choices import UovMethod
from pipeline.request.optional_fields import Field, fields_like, fields_of, optional
from pipeline.request.schema import IMAGE_FIELDS, GenerateParams
from pipeline.request.schema_parts import Name, Text

Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
MAX_PICTURES: Final = 5  # of an edit: one that is edited, and the image prompts of a request

# Settings of ours that the family says in its own way, or not at all.
_NOT_EXTRA: Final = frozenset(
    {
        *IMAGE_FIELDS,
        "prompt",
        "output_format",
        "image_number",
        "controlnet_image",
        "input_image_checkbox",
        "current_tab",
    }
)
_LISTS_OF_OBJECTS: Final = frozenset({"loras", "enhance_ctrls"})  # no form can hold them
_EXTRA: Final = [name for name in GenerateParams.__struct_fields__ if name not in _NOT_EXTRA]
_HINTS: Final = GenerateParams.__annotations__

_COMMON: Final[list[Field]] = [
    ("model", optional(Name | None), UNSET),
    (
        "n",
        optional(Annotated[int, Meta(ge=1, le=10, description="Pictures to make.")] | None),
        UNSET,
    ),
    (
        "size",
        optional(
            Annotated[str, Meta(max_length=32, description="`auto`, or width x height in pixels.")]
            | None
        ),
        UNSET,
    ),
    (
        "response_format",
        optional(
            Annotated[
                Literal["b64_json", "url"], Meta(description="`b64_json` unless asked otherwise.")
            ]
            | None
        ),
        UNSET,
    ),
    ("user", optional(str | None), UNSET),
    ("seed", optional(_HINTS["image_seed"] | None), UNSET),
    ("steps", optional(_HINTS["overwrite_step"] | None), UNSET),
    ("num_inference_steps", optional(_HINTS["overwrite_step"] | None), UNSET),
]
_DRAWN: Final[list[Field]] = [
    (
        "quality",
        optional(
            Annotated[Quality, Meta(description="low: Lightning, medium: Speed, high: Quality.")]
            | None
        ),
        UNSET,
    ),
    ("output_format", optional(Literal["png", "jpeg", "webp"] | None), UNSET),
    (
        "output_compression",
        optional(Annotated[int, Meta(ge=0, le=100, description="Only 100 can be had.")] | None),
        UNSET,
    ),
    (
        "background",
        optional(
            Annotated[
                Literal["auto", "opaque", "transparent"],
                Meta(description="Pictures are opaque."),
            ]
            | None
        ),
        UNSET,
    ),
    (
        "partial_images",
        optional(
            Annotated[int, Meta(ge=0, le=3, description="Previews in a stream, at most.")] | None
        ),
        UNSET,
    ),
    (
        "stream",
        optional(Annotated[bool, Meta(description="Answer with a stream of events.")] | None),
        UNSET,
    ),
]
File = Annotated[bytes, Meta(description="A picture.", extra_json_schema={"format": "binary"})]


def _body(name: str, doc: str, fields: Iterable[Field], *, is_form: bool) -> type[msgspec.Struct]:
    """The struct of a body; a form has no lists of objects."""
    own = [*_COMMON, *fields]
    named = {field[0] for field in own}
    extra = [
        each for each in _EXTRA if each not in named and not (is_form and each in _LISTS_OF_OBJECTS)
    ]
    return msgspec.defstruct(
        name,
        [*own, *fields_of(GenerateParams, extra)],
        kw_only=True,
        frozen=True,
        module=__name__,
        namespace={"__doc__": doc},
    )


_PROMPT: Final[list[Field]] = [("prompt", Text, msgspec.NODEFAULT)]
CreateImage: Final = _body(
    "CreateImage",
    "A prompt to draw. Settings of the generate endpoint may stand beside its fields.",
    [*_PROMPT, *_DRAWN, *fields_like(("style", "moderation"), str | None)],
    is_form=False,
)
EditImage: Final = _body(
    "EditImage",
    "A picture to paint in where the mask is transparent, or to redraw as a whole.",
    [
        *_PROMPT,
        *_DRAWN,
        ("image", optional(File), UNSET),
        ("mask", optional(File), UNSET),
        *fields_like(("input_fidelity",), str | None),
    ],
    is_form=True,
)
VaryImage: Final = _body(
    "VaryImage",
    "A picture to vary.",
    [("image", optional(File), UNSET), ("uov_method", optional(UovMethod), UNSET)],
    is_form=True,
)
OWN_FIELDS: Final = frozenset(
    {
        "model",
        "n",
        "size",
        "response_format",
        "user",
        "seed",
        "steps",
        "num_inference_steps",
        "quality",
        "output_compression",
        "background",
        "partial_images",
        "stream",
        "style",
        "moderation",
        "input_fidelity",
    }
)
UNUSED: Final = ("user", "style", "moderation", "input_fidelity")  # named as ignored


class ImageData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One picture; ``seed`` makes it again."""

    b64_json: str | UnsetType = UNSET
    url: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET


class Images(msgspec.Struct, frozen=True, kw_only=True):
    """The pictures of a request."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: str = "png"
    size: Annotated[str, Meta(description="Of the pictures as they are.")] = ""
    quality: str | UnsetType = UNSET


class PartialEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A preview in a stream. ``output_format`` is that of the preview."""

    type: str
    b64_json: str
    partial_image_index: int
    created_at: int
    size: str
    quality: str
    background: Literal["opaque"] = "opaque"
    output_format: str = "png"


class CompletedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A finished picture in a stream."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: str
    seed: int | UnsetType = UNSET
    background: Literal["opaque"] = "opaque"
    output_format: str = "png"
