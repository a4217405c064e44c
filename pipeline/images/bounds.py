"""What a picture file may carry beside its pixels, checked before Pillow sees the file.

Pillow unpacks texts and EXIF whole, and copies some of it once per chunk: a small file can take
seconds and a gigabyte. Formats: PNG (third edition) section 5, JPEG ITU-T T.81 annex B, RFC 9649
(WebP), GIF89a, TIFF 6.0 section 2 (EXIF).
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS: Final = frozenset({b"IDAT", b"fdAT", b"fcTL"})
_PNG_PACKED: Final = frozenset({b"zTXt", b"iCCP"})
_PNG_PLAIN: Final = frozenset({b"tEXt", b"eXIf"})
_RAW_EXIF: Final = b"Raw profile type exif"
_JPEG: Final = b"\xff\xd8"
_JPEG_SCAN: Final = 0xDA
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_JPEG_TEXTS: Final = frozenset({0xFE, *range(0xE0, 0xF0)})  # comments, applications' data
_EXIF_HEAD: Final = b"Exif\0\0"
_IFD_TAGS: Final = frozenset({0x8769, 0x8825, 0xA005})  # Exif, GPS, interoperability
_BYTES: Final = frozenset({1, 2, 6, 7})  # TIFF types that stay bytes or text
# Bytes of a value of each TIFF type, from 1 on; 13 is an offset, 16 to 18 are BigTIFF's.
_TYPE_BYTES: Final = (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 1, 1, 8, 8, 8)


class TooMuchMetadata(Exception):
    """The file carries more texts or tags than are read."""


class MetadataLimits(msgspec.Struct, frozen=True, kw_only=True):
    """``chunks`` and ``tags`` are counts; ``unpacked`` and ``numbers`` bytes in all."""

    chunks: int = 2000  # without those that hold pixels
    unpacked: int = 8 * 2**20
    tags: int = 2000
    numbers: int = 64 * 2**10  # of tags whose values become Python numbers, one by one


LIMITS: Final = MetadataLimits()


def check_metadata(data: bytes, limits: MetadataLimits = LIMITS) -> None:
    """Raise TooMuchMetadata for a file beyond the limits. Takes time linear in them and the file.

    A damaged file passes up to its damage, which is for the decoder to tell.
    """
    counter = _Counter(limits)
    try:
        if data.startswith(_PNG):
            _check_png(data, counter)
        elif data.startswith(_JPEG):
            _check_jpeg(data, counter)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            _check_webp(data, counter)
        elif data[:4] == b"GIF8":
            _check_gif(data, counter)
    except (struct.error, IndexError, ValueError, zlib.error):
        return


class _Counter:
    """Counts towards the limits; raises TooMuchMetadata beyond one."""

    def __init__(self, limits: MetadataLimits) -> None:
        self.limits = limits
        self._used = dict.fromkeys(("chunks", "unpacked", "tags", "numbers"), 0)

    def add(self, kind: str, amount: int = 1) -> None:
        self._used[kind] += amount
        limit = getattr(self.limits, kind)
        if self._used[kind] > limit:
            raise TooMuchMetadata(f"the picture carries too much beside its pixels: {limit} {kind}")

    def unpack(self, packed: bytes) -> bytes:
        """Deflated data, as far as the limit lets it; counts it."""
        left = self.limits.unpacked - self._used["unpacked"]
        text = zlib.decompressobj().decompress(packed, left + 1)
        self.add("unpacked", len(text))
        return text


def _check_png(data: bytes, counter: _Counter) -> None:
    at = len(_PNG)
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if kind not in _PNG_PIXELS:
            counter.add("chunks")
            _check_png_chunk(kind, data[at + 8 : at + 8 + size], counter)
        at += 12 + size


def _check_png_chunk(kind: bytes, body: bytes, counter: _Counter) -> None:
    keyword, _, rest = body.partition(b"\0")
    if kind in _PNG_PACKED:
        text = counter.unpack(rest[1:])
    elif kind == b"iTXt":
        is_packed, text = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[2]
        if is_packed:
            text = counter.unpack(text)
        else:
            counter.add("unpacked", len(text))
    elif kind in _PNG_PLAIN:
        text = rest
        counter.add("unpacked", len(body))
    else:
        return
    if kind == b"eXIf":
        _check_exif(body, counter)
    elif keyword == _RAW_EXIF:
        _check_exif(bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:])), counter)


def _check_jpeg(data: bytes, counter: _Counter) -> None:
    exif: list[bytes] = []
    for marker, segment in _jpeg_segments(data):
        counter.add("chunks")
        if marker in _JPEG_TEXTS:
            counter.add("unpacked", len(segment))
        if marker == 0xE1 and segment.startswith(_EXIF_HEAD):
            exif.append(segment if not exif else segment[len(_EXIF_HEAD) :])  # as Pillow joins them
    _check_exif(b"".join(exif), counter)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan."""
    at = len(_JPEG)
    while True:
        at = data.index(b"\xff", at)
        while data[at] == 0xFF:  # may be repeated
            at += 1
        marker = data[at]
        at += 1
        if marker == _JPEG_SCAN:
            return
        if marker == 0 or marker in _JPEG_BARE:
            continue
        (size,) = struct.unpack_from(">H", data, at)
        yield marker, data[at + 2 : at + size]
        at += max(size, 2)


def _check_webp(data: bytes, counter: _Counter) -> None:
    at = 12
    while at < len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        counter.add("chunks")
        if kind in (b"EXIF", b"XMP ", b"ICCP"):
            counter.add("unpacked", size)
        if kind == b"EXIF":
            _check_exif(data[at + 8 : at + 8 + size], counter)
        at += 8 + size + size % 2


def _check_gif(data: bytes, counter: _Counter) -> None:
    """The extensions before the first frame."""
    flags = data[10]
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    while data[at] == 0x21:
        at += 2
        while size := data[at]:
            counter.add("chunks")
            at += size + 1
        at += 1


def _check_exif(data: bytes, counter: _Counter) -> None:
    """Every directory that Pillow reads, however often its tags name the same bytes."""
    for _ in range(2):
        data = data.removeprefix(_EXIF_HEAD)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return
    (first,) = struct.unpack_from(order + "I", data, 4)
    pending, seen = [first], set[int]()
    while pending:
        at = pending.pop()
        if at not in seen:
            seen.add(at)
            pending += _check_directory(data, at, order, counter)


def _check_directory(data: bytes, at: int, order: str, counter: _Counter) -> list[int]:
    """Count a directory's tags; the offsets of the directories that it names."""
    (tags,) = struct.unpack_from(order + "H", data, at)
    found = []
    for start in range(at + 2, at + 2 + 12 * tags, 12):
        tag, kind, count, value = struct.unpack_from(order + "HHII", data, start)
        counter.add("tags")
        size = count * (_TYPE_BYTES[kind - 1] if 1 <= kind <= len(_TYPE_BYTES) else 1)
        if size > 4 and size <= len(data):  # Pillow leaves out what is longer than the file
            counter.add("unpacked" if kind in _BYTES else "numbers", size)
        if tag in _IFD_TAGS:
            found.append(value)
    return found
