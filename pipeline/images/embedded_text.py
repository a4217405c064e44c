"""The parameters text inside image files: PNG text chunks and EXIF, read and written."""

import logging
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from PIL import ExifTags, Image, PngImagePlugin

from pipeline.metadata.record import SOFTWARE

log = logging.getLogger(__name__)

_SOFTWARE: Final = 0x0131
_USER_COMMENT: Final = 0x9286
_MAKER_NOTE: Final = 0x927C
# PNG keywords by program: A1111, Fooocus and most others; NovelAI and forks of Fooocus;
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


class EmbeddedText(NamedTuple):
    """The parameters text of an image file. ``scheme`` is "" where the file names none."""

    parameters: str
    scheme: str


def read_text(image: Image.Image) -> EmbeddedText | None:
    """The embedded parameters text, from PNG text chunks or EXIF; None if there is none."""
    for key in _TEXT_CHUNKS:
        text = image.info.get(key)
        if isinstance(text, str) and text:
            # Plain str: Pillow's str subclass for iTXt is refused by msgspec.
            return EmbeddedText(str(text), str(image.info.get("fooocus_scheme", "")))
    directories = _exif_directories(image)
    for tags in directories:
        if comment := tags.get(_USER_COMMENT):
            return EmbeddedText(
                _decode_comment(comment), _decode_comment(tags.get(_MAKER_NOTE, ""))
            )
    return _comfyui_text(directories)


def png_text(parameters: str | None, scheme: str | None) -> PngImagePlugin.PngInfo | None:
    """The PNG text chunks of a parameters text and its scheme; None without a text."""
    if parameters is None:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", parameters)
    info.add_text("fooocus_scheme", scheme or "")
    return info


def exif_text(parameters: str | None, scheme: str | None, limit: int | None) -> bytes:
    """EXIF with UserComment and MakerNote in the standard's directory and in Fooocus's.

    If both exceed ``limit`` bytes, one of them alone; b"" if neither fits.
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


def _comfyui_text(directories: tuple[Mapping[int, object], ...]) -> EmbeddedText | None:
    """ComfyUI's text in WebP: after ``prompt:`` in the camera's Model tag, or in Make."""
    for tags in directories:
        for tag, kind in _COMFYUI_TAGS:
            text = str(tags.get(tag, ""))
            if text.startswith(kind):
                return EmbeddedText(text.removeprefix(kind), "")
    return None


def _exif_directories(image: Image.Image) -> tuple[Mapping[int, object], ...]:
    """The directories searched: Exif, as in the standard, then the main one, as Fooocus writes.

    Empty if the EXIF is damaged.
    """
    try:
        exif = image.getexif()
        return (exif.get_ifd(ExifTags.IFD.Exif), dict(exif))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, struct.error):
        return ()  # Pillow raises all of these for damaged EXIF


def _main_tags(parameters: str, scheme: str | None) -> bytes:
    """The main directory alone, in UTF-8: half the size of UTF-16 for Latin letters."""
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
    """Text of an EXIF comment: with the standard's prefix, or without, as Fooocus writes it."""
    if not isinstance(value, bytes):
        return str(value)
    if value.startswith(_UNICODE):
        return _decode_utf16(value[len(_UNICODE) :])
    return value.removeprefix(_ASCII).decode("utf-8", "replace").rstrip("\x00")


def _decode_utf16(value: bytes) -> str:
    """UTF-16 of unknown byte order: programs differ, and most write no byte order mark.

    The order is guessed from the strings that such texts contain, else from Latin letters, whose
    zero byte comes first in big endian.
    """
    if value[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return value.decode("utf-16", "replace")
    for order in ("utf-16-be", "utf-16-le"):
        if value.startswith("{".encode(order)) or _holds(value, "Steps: ".encode(order)):
            return value.decode(order, "replace")
    big = value[::2].count(0) >= value[1::2].count(0)
    return value.decode("utf-16-be" if big else "utf-16-le", "replace")


def _holds(value: bytes, word: bytes) -> bool:
    """Whether a word of 2-byte code units occurs at an even offset; an odd one is misaligned."""
    place = value.find(word)
    while place > 0 and place % 2:
        place = value.find(word, place + 1)
    return place >= 0
