"""The format of a model file, told by its content whatever its name says. Reads no tensors.

Every loader asks ``require_format`` first, so that a web page, a Git LFS pointer or a cut download
is called what it is, in the same words everywhere and without a path of this machine.
"""

import enum
import json
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pipeline.errors import InvalidModelFile

_HEAD_BYTES: Final = 4096
_MAX_HEADER_BYTES: Final = 100_000_000  # of a safetensors file; the library's own limit
_AGAIN: Final = "download it again"
_UNPACK: Final = "unpack it and use the model file inside"
_CONVERT: Final = "convert it to safetensors first, or use the model's safetensors file"
_OTHER_FORMAT: Final = "use the model's safetensors file"
_PICTURE: Final = "it may be the model's preview; use the model file"


class FileFormat(enum.Enum):
    """A format that some loader reads. The value is its name in messages."""

    SAFETENSORS = "whole safetensors file"
    TORCH = "file in torch's own format"
    ONNX = "ONNX model"
    JSON = "JSON text"


class _Sample(NamedTuple):
    """A file that is being looked at."""

    file: BinaryIO
    head: bytes
    size: int


class _Content(NamedTuple):
    """``format`` is None where no loader reads it; ``cut`` says what is missing of it."""

    what: str
    remedy: str
    format: FileFormat | None = None
    cut: str = ""


def require_format(path: Path, kind: str, *formats: FileFormat) -> FileFormat:
    """The file's format, one of ``formats``.

    ``kind`` says what the file is to serve as ("upscaler"). Raises InvalidModelFile where it has
    another format, is empty, cut short or unreadable; the message names the file, its kind, what
    it holds and what to do.
    """
    try:
        content = _content_of(path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidModelFile(f"the {kind} {path.name} cannot be read ({reason})") from error
    if content.format in formats and not content.cut:
        return content.format
    wanted = " or ".join(each.value for each in formats)
    found = content.cut if content.format in formats else f"it is {content.what}"
    told = f"the {kind} {path.name} is no {wanted}: {found}; {content.remedy}"
    raise InvalidModelFile(told)


def _content_of(path: Path) -> _Content:
    """Raises OSError."""
    with path.open("rb") as file:
        sample = _Sample(file, file.read(_HEAD_BYTES), path.stat().st_size)
        for recognise in _RECOGNISERS:
            if content := recognise(sample):
                return content
    return _Content("of an unknown format", _AGAIN)


def _nothing(sample: _Sample) -> _Content | None:
    if not sample.size:
        return _Content("empty", f"its download failed: {_AGAIN}")
    if not sample.head.strip(b"\0"):
        return _Content("full of zeros", f"its download did not finish: {_AGAIN}")
    return None


def _safetensors(sample: _Sample) -> _Content | None:
    """Eight bytes of length, then a header in JSON whose offsets say how long the file is."""
    if sample.head[8:9] != b"{":
        return None
    (length,) = struct.unpack("<Q", sample.head[:8])
    if length > _MAX_HEADER_BYTES:
        return None
    sample.file.seek(8)
    try:
        header = json.loads(sample.file.read(length))
        ends = [each["data_offsets"][1] for name, each in header.items() if name[:2] != "__"]
        whole = 8 + length + max(ends, default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        cut = "it ends within its header" if 8 + length > sample.size else "its header is damaged"
    else:
        cut = _missing(sample.size, whole)
    remedy = _AGAIN if cut else "use the model's ONNX file"
    return _Content("a safetensors file", remedy, FileFormat.SAFETENSORS, cut)


def _torch(sample: _Sample) -> _Content | None:
    """A ZIP archive with a pickle in it, or the bare pickle that torch wrote before 1.6."""
    if re.match(rb"\x80[\x00-\x05]", sample.head):  # a pickle's first operation and its protocol
        return _Content("a pickle file", _CONVERT, FileFormat.TORCH)
    if not sample.head.startswith(b"PK\x03\x04"):
        return None
    try:
        with zipfile.ZipFile(sample.file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _Content("a cut ZIP archive", _AGAIN, FileFormat.TORCH, "its archive has no end")
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return _Content("a pickle file in torch's own format", _CONVERT, FileFormat.TORCH)
    return _Content("a ZIP archive", _UNPACK)


# onnx.proto's ModelProto: number of a field → its wire type (0: a number, 2: bytes with a length).
_MODEL_FIELDS: Final = {
    1: 0,  # ir_version
    2: 2,
    3: 2,
    4: 2,
    5: 0,
    6: 2,
    7: 2,  # graph
    8: 2,
    14: 2,
    20: 2,
    25: 2,
    26: 2,
}
_VERSION: Final = 1
_GRAPH: Final = 7


def _onnx(sample: _Sample) -> _Content | None:
    """The fields of a ModelProto, outermost only; a version stands among them."""
    seen, whole = set(), 0
    for number, wire, whole in _protobuf_fields(sample.file):
        if _MODEL_FIELDS.get(number) != wire:
            return None
        seen.add(number)
        if whole > sample.size:
            break
    if _VERSION not in seen or len(seen) < 2:
        return None
    cut = _missing(sample.size, whole)
    if not cut and _GRAPH not in seen:
        cut = "it holds no graph"
    return _Content("an ONNX model", _AGAIN if cut else _OTHER_FORMAT, FileFormat.ONNX, cut)


def _protobuf_fields(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """(number, wire type, where it ends) of each outermost field, as far as they can be read."""
    file.seek(0)
    while (tag := _varint(file)) is not None:
        value = _varint(file)  # of the wire types here, a number or a length comes first
        if value is None:
            return
        end = file.tell() + (value if tag & 7 == 2 else 0)
        yield tag >> 3, tag & 7, end
        file.seek(end)


def _varint(file: BinaryIO) -> int | None:
    """None at the end of the file, and for what is longer than 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        (byte,) = file.read(1) or (None,)
        if byte is None:
            return None
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    return None


_LFS_POINTER: Final = re.compile(rb"version https://git-lfs.*?(?:^size (\d+)$|\Z)", re.M | re.S)
_WEB_PAGE: Final = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S
)
_XML: Final = re.compile(rb"\s*<(?:\?xml|error)\b", re.I)
_BOM: Final = b"\xef\xbb\xbf"


def _text(sample: _Sample) -> _Content | None:
    """What was saved in a model's place: a pointer, a page, a message."""
    text = sample.head.removeprefix(_BOM)
    if pointer := _LFS_POINTER.match(text):
        size = f" to a file of {int(pointer[1]):,} bytes" if pointer[1] else ""
        remedy = "fetch the file itself (git lfs pull, or the download link of its page)"
        return _Content(f"a Git LFS pointer{size}", remedy)
    if _WEB_PAGE.match(text):
        remedy = "download the file itself; its address may want a login or another link"
        return _Content("a web page", remedy)
    if _XML.match(text):
        return _Content("an XML document", f"it may tell why a download failed: {_AGAIN}")
    if not _is_printable(text):
        return None
    if text.lstrip()[:1] in (b"{", b"["):
        return _Content("a JSON text", f"use the model file, or {_AGAIN}", FileFormat.JSON)
    return _Content(f"a text of {sample.size:,} bytes", f"use the model file, or {_AGAIN}")


def _is_printable(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if error.start < len(data) - 3:
            return False
        text = data[: error.start].decode()  # the last character was cut by the size of the sample
    return all(sign.isprintable() or sign.isspace() for sign in text)


_MAGIC: Final[dict[bytes, tuple[str, str]]] = {
    b"GGUF": ("a GGUF file", _OTHER_FORMAT),
    b"\x89HDF\r\n": ("an HDF5 file", _OTHER_FORMAT),
    b"\x1f\x8b": ("a gzip archive", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    b"\x89PNG\r\n": ("a PNG picture", _PICTURE),
    b"\xff\xd8\xff": ("a JPEG picture", _PICTURE),
    b"%PDF": ("a PDF document", "use the model file"),
}


def _other(sample: _Sample) -> _Content | None:
    for start, (what, remedy) in _MAGIC.items():
        if sample.head.startswith(start):
            return _Content(what, remedy)
    return None


def _missing(size: int, whole: int) -> str:
    return f"{size:,} of its {whole:,} bytes are there" if whole > size else ""


_RECOGNISERS: Final[tuple[Callable[[_Sample], _Content | None], ...]] = (
    _nothing,
    _safetensors,
    _torch,
    _text,
    _other,
    _onnx,
)
