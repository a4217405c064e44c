"""Image files to decoded images: bounded in pixels and metadata, upright, in RGB."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NamedTuple

from PIL import Image, ImageOps

from pipeline.errors import PipelineError
from pipeline.images.bounds import TooMuchMetadata, check_metadata
from pipeline.images.embedded_text import EmbeddedText, read_text
from pipeline.images.flatten import eight_bit, flatten

READABLE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
READABLE_MIME_TYPES: Final[Mapping[str, str]] = {  # by file ending
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
}
PIXEL_LIMIT: Final = 64 * 1024 * 1024  # 8192x8192; an image of that size takes 192 MiB decoded


class UnreadableImage(PipelineError):
    """The bytes are damaged, or in no image format that is read here."""

    code = "unreadable_image"


class ImageTooLarge(PipelineError):
    """The image has more pixels than the limit; it was not decoded."""

    code = "image_too_large"


class PictureFacts(NamedTuple):
    """An image's size as stored, its format (``png``, ``jpeg``, ``webp`` …) and embedded text."""

    width: int
    height: int
    format: str
    text: EmbeddedText | None


def open_image(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """Decode the first frame. The size is checked before any pixel is decoded.

    Raises UnreadableImage, ImageTooLarge.
    """
    with _decoding(pixel_limit):
        image = _opened(data, pixel_limit)
        image.load()
        return image


def open_upright(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """``open_image`` with its EXIF orientation applied, in RGB; alpha is composited on white."""
    return flatten(ImageOps.exif_transpose(open_image(data, pixel_limit)))


def open_mask(data: bytes) -> Image.Image:
    """A mask in RGB, EXIF orientation applied; transparent pixels become black (kept).

    ``masks.read_mask`` averages the three channels after resizing to the image, as in Fooocus.
    Raises UnreadableImage, ImageTooLarge.
    """
    drawn = eight_bit(ImageOps.exif_transpose(open_image(data)))
    if not drawn.has_transparency_data:
        return drawn.convert("RGB")
    layered = drawn.convert("RGBA")
    black = Image.new("RGB", layered.size, "black")
    black.paste(layered, mask=layered.getchannel("A"))
    return black


def check_readable(data: bytes) -> str:
    """The file ending for these bytes, once the whole first frame has been decoded.

    Raises UnreadableImage, ImageTooLarge.
    """
    with open_image(data) as image:
        return _extension(image)


def look_at(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> PictureFacts:
    """Size, format and embedded text of an image file. Raises UnreadableImage, ImageTooLarge."""
    with open_image(data, pixel_limit) as image:
        text = read_text(image)
        return PictureFacts(image.width, image.height, _extension(image), text)


def size_of(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> tuple[int, int]:
    """Width and height as stored, from the header. Raises UnreadableImage, ImageTooLarge."""
    with _decoding(pixel_limit), _opened(data, pixel_limit) as image:
        return image.size


def decoded_bytes(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> int:
    """Bytes of memory the decoded image takes; only its header is read.

    Raises UnreadableImage, ImageTooLarge.
    """
    with _decoding(pixel_limit), _opened(data, pixel_limit) as image:
        sample = 4 if image.mode in ("I", "F") else 1
        # Pillow stores colour pixels in four bytes, with or without alpha.
        return image.width * image.height * (sample if len(image.getbands()) == 1 else 4)


def _opened(data: bytes, pixel_limit: int) -> Image.Image:
    check_metadata(data)
    image = Image.open(io.BytesIO(data), formats=READABLE_FORMATS)
    if image.width * image.height > pixel_limit:
        raise ImageTooLarge(
            f"the picture is {image.width}x{image.height}; the limit is {pixel_limit} pixels"
        )
    return image


@contextmanager
def _decoding(pixel_limit: int) -> Iterator[None]:
    """Turns Pillow's exceptions into UnreadableImage or ImageTooLarge."""
    try:
        yield
    except PipelineError:
        raise
    except TooMuchMetadata as error:
        raise UnreadableImage(str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"at most {pixel_limit} pixels are read") from error
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError) as error:
        # Pillow's decoders raise all of these for damaged files.
        names = ", ".join(READABLE_FORMATS)
        raise UnreadableImage(f"this is no whole picture of a kind read here ({names})") from error


def _extension(image: Image.Image) -> str:
    return "jpeg" if image.format == "MPO" else str(image.format).lower()
