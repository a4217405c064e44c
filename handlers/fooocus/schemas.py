"""Bodies and replies of the catalog, the image tools and the metadata endpoint."""

from typing import Annotated

import msgspec
from msgspec import Meta

from pipeline.request.choices import ClothCategory, MaskModel, MetadataScheme, SamModel
from pipeline.request.schema_parts import Grow, Image, Text, Unit
from pipeline.request.tools import ImageType


class AllModels(msgspec.Struct, frozen=True, kw_only=True):
    """Model files on disk now; the built-in model is "embedded"."""

    model_filenames: list[str]
    lora_filenames: list[str]


class DescribeImage(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the describe tool."""

    image: Image = ""
    image_type: Annotated[
        ImageType, Meta(description="Photo: a sentence. Anime: tags, joined by commas.")
    ] = "Photo"


class DescribeQuery(msgspec.Struct, kw_only=True):
    """The query of the describe tool, for a form. ``type`` is the older name of ``image_type``."""

    image_type: Annotated[ImageType | None, Meta(description="Of a form: Photo or Anime.")] = None
    type: Annotated[ImageType | None, Meta(description="The older name of image_type.")] = None


class Description(msgspec.Struct, frozen=True):
    """A prompt that describes the picture."""

    describe: str


class GenerateMask(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the mask tool."""

    image: Image = ""
    mask_model: Annotated[MaskModel, Meta(description="Model that draws the mask.")] = (
        "isnet-general-use"
    )
    cloth_category: Annotated[
        ClothCategory, Meta(description="Part of the clothes, for u2net_cloth_seg.")
    ] = "full"
    dino_prompt_text: Annotated[Text, Meta(description="What to look for, for sam.")] = ""
    sam_model: Annotated[SamModel, Meta(description="Size of the SAM model.")] = "vit_b"
    box_threshold: Annotated[Unit, Meta(description="Least match of a box, for sam.")] = 0.3
    text_threshold: Annotated[
        Unit, Meta(description="Least match of one of the words, for sam.")
    ] = 0.25
    sam_max_detections: Annotated[
        int, Meta(ge=0, le=100, description="How many finds are used; 0 is all.")
    ] = 0
    dino_erode_or_dilate: Annotated[
        Grow, Meta(description="Pixels to grow (or, below 0, shrink) the boxes.")
    ] = 0
    dino_debug: Annotated[bool, Meta(description="Return the boxes found, not what they hold.")] = (
        False
    )


class ReadMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the metadata tool."""

    image: Annotated[
        str, Meta(description="Data URL, base64, or a path or URL of this server's pictures.")
    ] = ""


class PictureMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a picture says of its making; no scheme and no parameters if it says nothing known."""

    scheme: Annotated[
        MetadataScheme | None,
        Meta(description="How the text is written; null too for forms of other programs."),
    ]
    parameters: Annotated[
        dict[str, object],
        Meta(description="A body for the generate endpoint that makes this picture again."),
    ]
    text: Annotated[str, Meta(description='The text as it stands in the file; "" without one.')]
    width: Annotated[int, Meta(description="Pixels, as stored.")]
    height: Annotated[int, Meta(description="Pixels, as stored.")]
    format: Annotated[str, Meta(description="png, jpeg, webp, bmp or gif.")]
    program: Annotated[str, Meta(description="That wrote the text, where the text tells.")] = ""
    program_version: Annotated[str, Meta(description="Its version, where the text tells.")] = ""
    unread: Annotated[
        tuple[str, ...],
        Meta(description="What the text says and a request cannot, or not with this value."),
    ] = ()
