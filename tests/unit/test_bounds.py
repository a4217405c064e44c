"""Texts and tags in picture files: bounded before Pillow unpacks them."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from pipeline.images import read
from pipeline.images.bounds import MetadataLimits, TooMuchMetadata, check_metadata
from pipeline.images.encode import encode_image
from pipeline.images.read import UnreadableImage, decoded_bytes, look_at

SMALL = MetadataLimits(chunks=10, unpacked=1000, tags=10, numbers=64)


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "teal").save(buffer, kind, **options)
    return buffer.getvalue()


def png(*texts: str, packed: bool = False, international: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    for number, text in enumerate(texts):
        add = info.add_itxt if international else info.add_text
        add(f"key {number}", text, zip=packed)
    return saved("PNG", pnginfo=info)


def exif(text: str = "", tags: int = 0) -> Image.Exif:
    made = Image.Exif()
    if text:
        made.get_ifd(ExifTags.IFD.Exif)[0x9286] = text.encode()
    for tag in range(tags):
        made[0xC000 + tag] = 7
    return made


def repeated(count: int, kind: int, length: int) -> bytes:
    """EXIF whose tags all name the same bytes."""
    entries = [struct.pack("<HHII", 0xC000 + tag, kind, length, 8) for tag in range(count)]
    directory = struct.pack("<H", count) + b"".join(entries) + bytes(4)
    values = bytes(length * 8)
    return b"II*\0" + struct.pack("<I", 8 + len(values)) + values + directory


def webp_with(exif_bytes: bytes) -> bytes:
    return saved("WEBP", exif=b"Exif\0\0" + exif_bytes)


def png_with(kind: bytes, body: bytes) -> bytes:
    data = saved("PNG")
    chunk = kind + body
    whole = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + whole + data[33:]


def gif(blocks: int) -> bytes:
    data = saved("GIF")
    start = 13 + (3 << ((data[10] & 7) + 1))
    return data[:start] + b"\x21\xfe" + b"\x01a" * blocks + b"\0" + data[start:]


def jpeg(segments: int, size: int = 2) -> bytes:
    data = saved("JPEG")
    return (
        data[:2] + (b"\xff\xfe" + struct.pack(">H", size + 2) + b"a" * size) * segments + data[2:]
    )


PROFILE = "\nexif\n" + "  8\n" + repeated(20, 2, 100).hex()


@pytest.mark.parametrize(
    ("make", "within", "beyond"),
    [
        (lambda n: png("a" * n), 900, 1100),
        (lambda n: png("a" * n, packed=True), 900, 1100),
        (lambda n: png("a" * n, international=True), 990, 1100),
        (lambda n: png("a" * n, packed=True, international=True), 990, 1100),
        (lambda n: png(*(["a"] * n)), 7, 11),
        (lambda n: png_with(b"prIv", bytes(n)), 5000, None),
        (lambda n: png_with(b"iCCP", b"name\0\0" + zlib.compress(bytes(n))), 900, 1100),
        (lambda n: png_with(b"eXIf", repeated(n, 2, 40)), 5, 11),
        (lambda n: saved("PNG", exif=exif(tags=n)), 9, 11),
        (lambda n: saved("JPEG", exif=exif("a" * n)), 200, 1100),
        (lambda n: saved("JPEG", exif=exif(tags=n)), 9, 11),
        (jpeg, 2, 11),
        (lambda n: jpeg(1, n), 100, 1100),
        (lambda n: saved("WEBP", exif=exif("a" * n)), 200, 1100),
        (lambda n: webp_with(repeated(n, 2, 100)), 1, 9),
        (lambda n: webp_with(repeated(1, 3, n)), 30, 40),
        (gif, 9, 11),
    ],
)
def test_a_file_just_over_a_bound_is_refused_and_one_within_it_is_not(
    make: Callable[[int], bytes], within: int, beyond: int | None
) -> None:
    check_metadata(make(within), SMALL)
    if beyond is not None:
        with pytest.raises(TooMuchMetadata):
            check_metadata(make(beyond), SMALL)


def test_exif_within_a_text_is_found() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", PROFILE, zip=True)
    with pytest.raises(TooMuchMetadata):
        check_metadata(saved("PNG", pnginfo=info), MetadataLimits(tags=10))


def test_a_directory_that_names_itself_is_read_once() -> None:
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    looped = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)
    check_metadata(webp_with(looped), SMALL)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_longest_texts_that_are_written_here_are_within_the_bounds(kind: str) -> None:
    text = '{"prompt": "' + "\u4e2d" * 6000 + '"}'
    data = encode_image(Image.new("RGB", (64, 64)), kind, text, "fooocus")
    check_metadata(data)
    assert look_at(data).format == kind


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP",
        b"GIF89a",
        saved("PNG")[:40],
        saved("JPEG")[:30],
        saved("WEBP")[:20],
        saved("GIF")[:20],
        webp_with(b"II*\0\xff\xff\xff\xff"),
    ],
)
def test_a_damaged_file_is_left_to_the_decoder(data: bytes) -> None:
    check_metadata(data, SMALL)


def test_a_picture_beyond_the_bounds_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        read, "check_metadata", lambda data: check_metadata(data, MetadataLimits(unpacked=10))
    )
    with pytest.raises(UnreadableImage, match="10 unpacked"):
        look_at(png("a" * 100))


@pytest.mark.parametrize(("mode", "size"), [("L", 1), ("RGB", 4), ("RGBA", 4), ("I;16", 1)])
def test_the_memory_of_a_picture_is_told_from_its_head(mode: str, size: int) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (30, 20)).save(buffer, "PNG")
    cut = buffer.getvalue()[:60]  # no pixel is read
    assert decoded_bytes(cut) in (30 * 20 * size, 30 * 20 * 4)
