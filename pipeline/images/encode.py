"""Pictures to bytes and back, with the parameters that made them. Torch-free; knows no files."""

import io
import logging
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from PIL import ExifTags, Image, ImageMath, ImageOps, PngImagePlugin

from pipeline.errors import InvalidParameter, PipelineError
from pipeline.images.bounds import TooMuchMetadata, check_metadata
from pipeline.metadata.record import SOFTWARE

log = logging.getLogger(__name__)

READABLE_FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
PIXEL_LIMIT: Final = 64 * 1024 * 1024  # 8192x8192; a picture of that size takes 192 MiB decoded
MIME_TYPES: Final[Mapping[str, str]] = {  # of what is written here
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
READABLE_MIME_TYPES: Final[Mapping[str, str]] = {
    **MIME_TYPES,
    "gif": "image/gif",
    "bmp": "image/bmp",
}

_PILLOW_FORMATS: Final[Mapping[str, str]] = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "webp": "WEBP",
}
_LONGEST_SIDE: Final[Mapping[str, int]] = {"JPEG": 65_500, "WEBP": 16_383}  # pixels
_SOFTWARE: Final = 0x0131
_USER_COMMENT: Final = 0x9286
_MAKER_NOTE: Final = 0x927C
_JPEG_EXIF_BYTES: Final = 65_000  # one JPEG segment holds 65,533
TEXT_BYTES: Final = 1_000_000  # of a text in UTF-8; below what is read (bounds, MAX_CHARS)
_SIXTEEN_BIT: Final = 257  # levels of 16 bits to one of 8
_STRIP_ROWS: Final = 64
# Where programs put their texts: A1111, Fooocus and most others; NovelAI and forks of Fooocus;
# InvokeAI, the newest first; ComfyUI.
_TEXT_CHUNKS: Final = (
    "parameters",
    "Comment",
    "invokeai_metadata",
    "sd-metadata",
    "prompt",
    "workflow",
)
_COMFYUI_TAGS: Final = ((0x0110, "prompt:"), (0x010F, "workflow:"))
_ASCII: Final = b"ASCII\x00\x00\x00"
_UNICODE: Final = b"UNICODE\x00"


class UnreadableImage(PipelineError):
    """The bytes are no picture of a kind that is read here, or a damaged one."""

    code = "unreadable_image"


class ImageTooLarge(PipelineError):
    """The picture has more pixels than is allowed; it was not decoded."""

    code = "image_too_large"


class EmbeddedText(NamedTuple):
    """The text about a picture's making. ``scheme`` is "" where the file does not name it."""

    parameters: str
    scheme: str


class PictureFacts(NamedTuple):
    """A picture's size as stored, its format (``png``, ``jpeg``, ``webp`` …) and its text."""

    width: int
    height: int
    format: str
    text: EmbeddedText | None


def encode_image(
    image: Image.Image, output_format: str, parameters: str | None = None, scheme: str | None = None
) -> bytes:
    """Encode as ``png``, ``jpeg``, ``jpg`` or ``webp``; the last three lay alpha on white.

    Raises InvalidParameter for a picture that is longer than the format can hold.
    """
    pillow_format = _PILLOW_FORMATS[output_format]
    longest = _LONGEST_SIDE.get(pillow_format, max(image.size))
    if max(image.size) > longest:
        message = f"{output_format} holds {longest} pixels a side at most; ask for png"
        raise InvalidParameter(("output_format",), f"{image.width}x{image.height}: {message}")
    buffer = io.BytesIO()
    if pillow_format == "PNG":
        _with_modes(image, ("RGB", "RGBA", "L")).save(
            buffer, "PNG", compress_level=4, pnginfo=_png_text(parameters, scheme)
        )
    else:
        limit = _JPEG_EXIF_BYTES if pillow_format == "JPEG" else None
        exif = _exif(parameters, scheme, limit)
        _flatten(image).save(buffer, pillow_format, quality=95, exif=exif)
    return buffer.getvalue()


def holds_text(output_format: str, parameters: str, scheme: str) -> bool:
    """Whether a file of that format has room for a parameters text."""
    if len(parameters.encode()) > TEXT_BYTES:
        return False
    if _PILLOW_FORMATS[output_format] != "JPEG":
        return True
    return bool(_exif(parameters, scheme, _JPEG_EXIF_BYTES))


def convert(data: bytes, output_format: str) -> bytes:
    """The same picture in another format, metadata kept. Raises UnreadableImage, ImageTooLarge."""
    with open_image(data) as image:
        if image.format == _PILLOW_FORMATS[output_format]:
            return data
        text = read_text(image)
        return encode_image(image, output_format, *(text or (None, None)))


def open_image(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """Decode a picture's first frame; its size is looked at before a pixel is decoded.

    Raises UnreadableImage, ImageTooLarge.
    """
    with _decoding(pixel_limit):
        image = _opened(data, pixel_limit)
        image.load()
        return image


def decoded_bytes(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> int:
    """Memory of the picture once it is decoded; only its head is read.

    Raises UnreadableImage, ImageTooLarge.
    """
    with _decoding(pixel_limit), _opened(data, pixel_limit) as image:
        sample = 4 if image.mode in ("I", "F") else 1
        # Pillow keeps colours in four bytes, whether or not there is an alpha channel.
        return image.width * image.height * (sample if len(image.getbands()) == 1 else 4)


def size_of(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> tuple[int, int]:
    """Width and height as stored; only the head is read. Raises UnreadableImage, ImageTooLarge."""
    with _decoding(pixel_limit), _opened(data, pixel_limit) as image:
        return image.size


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
    """What Pillow raises becomes UnreadableImage or ImageTooLarge."""
    try:
        yield
    except PipelineError:
        raise
    except TooMuchMetadata as error:
        raise UnreadableImage(str(error)) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageTooLarge(f"at most {pixel_limit} pixels are read") from error
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError) as error:
        # Pillow's decoders tell of damage in all these ways.
        names = ", ".join(READABLE_FORMATS)
        raise UnreadableImage(f"this is no whole picture of a kind read here ({names})") from error


def open_upright(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:
    """``open_image`` with its EXIF orientation applied, in RGB; alpha is composited on white."""
    return _flatten(ImageOps.exif_transpose(open_image(data, pixel_limit)))


def check_readable(data: bytes) -> str:
    """The ending for a file of these bytes, once all of the first frame has been decoded.

    Raises UnreadableImage, ImageTooLarge.
    """
    with open_image(data) as image:
        return _extension(image)


def open_mask(data: bytes) -> Image.Image:
    """A mask in RGB, EXIF orientation applied; transparent pixels become black, so not painted.

    Its three channels are averaged after it has the picture's size (``masks.read_mask``), as in
    Fooocus. Raises UnreadableImage, ImageTooLarge.
    """
    drawn = _eight_bit(ImageOps.exif_transpose(open_image(data)))
    if not drawn.has_transparency_data:
        return drawn.convert("RGB")
    layered = drawn.convert("RGBA")
    black = Image.new("RGB", layered.size, "black")
    black.paste(layered, mask=layered.getchannel("A"))
    return black


def read_text(image: Image.Image) -> EmbeddedText | None:
    """The parameters text inside a picture, from PNG text chunks or EXIF; None if there is none."""
    for key in _TEXT_CHUNKS:
        text = image.info.get(key)
        if isinstance(text, str) and text:
            # Plain str: of iTXt Pillow makes a class of its own, which msgspec does not decode.
            return EmbeddedText(str(text), str(image.info.get("fooocus_scheme", "")))
    directories = _exif_directories(image)
    for tags in directories:
        if comment := tags.get(_USER_COMMENT):
            return EmbeddedText(
                _decode_comment(comment), _decode_comment(tags.get(_MAKER_NOTE, ""))
            )
    return _comfyui_text(directories)


def _comfyui_text(directories: tuple[Mapping[int, object], ...]) -> EmbeddedText | None:
    """ComfyUI's text in WebP: behind the word ``prompt:`` in a tag for cameras."""
    for tags in directories:
        for tag, kind in _COMFYUI_TAGS:
            text = str(tags.get(tag, ""))
            if text.startswith(kind):
                return EmbeddedText(text.removeprefix(kind), "")
    return None


def look_at(data: bytes, pixel_limit: int = PIXEL_LIMIT) -> PictureFacts:
    """What a picture is and says of itself. Raises UnreadableImage, ImageTooLarge."""
    with open_image(data, pixel_limit) as image:
        text = read_text(image)
        return PictureFacts(image.width, image.height, _extension(image), text)


def _extension(image: Image.Image) -> str:
    return "jpeg" if image.format == "MPO" else str(image.format).lower()


def _exif_directories(image: Image.Image) -> tuple[Mapping[int, object], ...]:
    """Where a text may stand: the standard's place, and the main directory, as Fooocus writes it.

    None of a picture whose EXIF is damaged.
    """
    try:
        exif = image.getexif()
        return (exif.get_ifd(ExifTags.IFD.Exif), dict(exif))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return ()  # Pillow's reader tells of damage in all these ways


def _png_text(parameters: str | None, scheme: str | None) -> PngImagePlugin.PngInfo | None:
    if parameters is None:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", parameters)
    info.add_text("fooocus_scheme", scheme or "")
    return info


def _exif(parameters: str | None, scheme: str | None, limit: int | None) -> bytes:
    """UserComment and MakerNote where the standard wants them, and where Fooocus looks for them.

    Of the two the one that fits into ``limit`` bytes; b"" if neither does.
    """
    if parameters is None:
        return b""
    exif = Image.Exif()
    exif.endian = ">"
    comment = _encode_comment(parameters)
    note = (scheme or "").encode()
    directory = exif.get_ifd(ExifTags.IFD.Exif)
    directory[_USER_COMMENT] = comment
    directory[_MAKER_NOTE] = note
    standard = exif.tobytes()
    _add_main_tags(exif, parameters, scheme)
    for data in (exif.tobytes(), standard, _main_tags(parameters, scheme)):
        if limit is None or len(data) <= limit:
            return data
    log.warning("the parameters text of %d bytes does not fit into EXIF", len(comment))
    return b""


def _main_tags(parameters: str, scheme: str | None) -> bytes:
    """The main directory alone, in UTF-8: half of UTF-16 for Latin letters."""
    exif = Image.Exif()
    exif.endian = ">"
    _add_main_tags(exif, parameters, scheme)
    return exif.tobytes()


def _add_main_tags(exif: Image.Exif, parameters: str, scheme: str | None) -> None:
    # Text, not bytes: Fooocus compares the scheme with its names of schemes.
    exif[_USER_COMMENT] = parameters if parameters.isascii() else parameters.encode()
    exif[_MAKER_NOTE] = scheme or ""
    exif[_SOFTWARE] = SOFTWARE


def _encode_comment(text: str) -> bytes:
    return _ASCII + text.encode() if text.isascii() else _UNICODE + text.encode("utf-16-be")


def _decode_comment(value: object) -> str:
    """Text of an EXIF comment: with its standard prefix, or bare as Fooocus writes it."""
    if not isinstance(value, bytes):
        return str(value)
    if value.startswith(_UNICODE):
        return _decode_utf16(value[len(_UNICODE) :])
    return value.removeprefix(_ASCII).decode("utf-8", "replace").rstrip("\x00")


def _decode_utf16(value: bytes) -> str:
    """Writers disagree on the byte order, and most leave the mark out.

    Words that such texts have tell it, else their Latin letters: these have a zero byte, which
    comes first in the big order.
    """
    if value[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return value.decode("utf-16", "replace")
    for order in ("utf-16-be", "utf-16-le"):
        if value.startswith("{".encode(order)) or _holds(value, "Steps: ".encode(order)):
            return value.decode(order, "replace")
    big = value[::2].count(0) >= value[1::2].count(0)
    return value.decode("utf-16-be" if big else "utf-16-le", "replace")


def _holds(value: bytes, word: bytes) -> bool:
    """Whether a word of two-byte signs is there: in the other byte order it is one byte off."""
    place = value.find(word)
    while place > 0 and place % 2:
        place = value.find(word, place + 1)
    return place >= 0


def _with_modes(image: Image.Image, modes: tuple[str, ...]) -> Image.Image:
    if image.mode in modes:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _flatten(image: Image.Image) -> Image.Image:
    image = _eight_bit(image)
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    return _on_white(image.convert("RGBA"))


def _on_white(layered: Image.Image) -> Image.Image:
    """RGBA composited on white as Fooocus does: float32 per pixel, truncated.

    Worked in strips, as floating-point bands take four times the memory of a picture's.
    """
    made = Image.new("RGB", layered.size)
    for top in range(0, layered.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, layered.height)
        *bands, alpha = layered.crop((0, top, layered.width, bottom)).split()
        blended = (ImageMath.lambda_eval(_blend_on_white, band=band, alpha=alpha) for band in bands)
        made.paste(Image.merge("RGB", list(blended)), (0, top))
    return made


def _blend_on_white(args: dict[str, Any]) -> Any:
    alpha = args["float"](args["alpha"]) / 255.0
    return args["convert"](args["band"] * alpha + 255.0 * (1.0 - alpha), "L")  # truncates


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled down: Pillow's own conversion would cut it off at 255."""
    if not image.mode.startswith("I"):
        return image
    return image.point(lambda level: level * (1 / _SIXTEEN_BIT) + 0.5).convert("L")
