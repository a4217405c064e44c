"""Takes the words out of a picture file and leaves every pixel's bytes as they are. Torch-free.

Formats: PNG (third edition) section 5.3, JPEG ITU-T T.81 annex B, WebP RFC 9649.
"""

import struct
from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_WORDS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"})
_WEBP_WORDS: Final = frozenset({b"EXIF", b"XMP "})
_WEBP_FLAGS: Final = 0x08 | 0x04  # of VP8X: there is EXIF, there is XMP
_JPEG_START: Final = b"\xff\xd8"
_JPEG_WORDS: Final = frozenset({0xE1, 0xED, 0xFE})  # EXIF and XMP, Photoshop, comment
_JPEG_SCAN: Final = 0xDA


def without_metadata(data: bytes) -> bytes:
    """The same picture without its parameters, EXIF, XMP and comments.

    What is none of PNG, JPEG and WebP, or is damaged, is returned as it is.
    """
    try:
        if data.startswith(_PNG):
            return _strip_png(data)
        if data.startswith(_JPEG_START):
            return _strip_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _strip_webp(data)
    except (struct.error, IndexError):
        pass
    return data


def _strip_png(data: bytes) -> bytes:
    kept = [_PNG]
    at = len(_PNG)
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if kind not in _PNG_WORDS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _strip_jpeg(data: bytes) -> bytes:
    kept = [_JPEG_START]
    at = len(_JPEG_START)
    while data[at + 1] != _JPEG_SCAN:
        (size,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + size
        if data[at + 1] not in _JPEG_WORDS:
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])


def _strip_webp(data: bytes) -> bytes:
    kept: list[bytes] = []
    at = 12
    while at < len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size + size % 2
        chunk = data[at:end]
        if kind == b"VP8X":
            chunk = chunk[:8] + bytes((chunk[8] & ~_WEBP_FLAGS,)) + chunk[9:]
        if kind not in _WEBP_WORDS:
            kept.append(chunk)
        at = end
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body
