"""The tensors of a safetensors file, copied into memory. Knows no model.

A mapped file is not safe from what is done to it on disk: one that is cut while it is mapped kills
the process (SIGBUS), and one that is written over in place changes the weights of a model that is
in use. So files are read, tensor by tensor. Only a file that the memory of the machine has no room
for is mapped; ``is_mapped`` tells which, for whoever uses it to look after it.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.weights.main_memory import memory_bytes

_COPIED_SHARE: Final = 0.6  # of the machine's memory: the largest file that is copied
_MAX_HEADER_BYTES: Final = 100 * 2**20  # as the library has it
_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

Chosen = Callable[[str], bool]
"""Is the tensor of this name wanted?"""


class _Place(NamedTuple):
    """Where a tensor lies in its file, in bytes from the file's beginning."""

    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def is_mapped(path: Path) -> bool:
    """Is a file, or one in a folder, too large to be copied? Then tensors are views of the disk."""
    files = path.rglob("*.safetensors") if path.is_dir() else (path,)
    return any(file.stat().st_size > memory_bytes() * _COPIED_SHARE for file in files)


def stored_tensors(path: Path, chosen: Chosen = lambda _name: True) -> dict[str, Tensor]:
    """The chosen tensors of a file, as ``safetensors.torch.load_file`` gives them.

    The library maps the file, and up to its version 0.8.0 keeps two small objects for ever of each
    tensor. Raises SafetensorError, OSError.
    """
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        places = _places(file, size)
        wanted = {name: place for name, place in places.items() if chosen(name)}
        if is_mapped(path):
            return _mapped(path, size, wanted)
        return {name: _copied(file, place) for name, place in wanted.items()}


def _places(file: BinaryIO, size: int) -> dict[str, _Place]:
    """Where each tensor lies; checked, as the library does, to fill the file without a gap."""
    header, begin = _header(file, size)
    places: dict[str, _Place] = {}
    end = begin
    try:
        for name, told in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = (begin + int(offset) for offset in told["data_offsets"])
            if told["dtype"] not in _DTYPES:
                raise SafetensorError(f"{name} is of the unknown number format {told['dtype']}")
            dtype, shape = _DTYPES[told["dtype"]], [int(side) for side in told["shape"]]
            if first != end or last - first != math.prod(shape) * dtype.itemsize:
                raise SafetensorError(f"the place of {name} in the file is wrong")
            places[name], end = _Place(dtype, shape, first, last), last
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise SafetensorError("its header is damaged") from error
    if end != size:
        raise SafetensorError(f"it has {size:,} bytes, and its header tells of {end:,}")
    return places


def _header(file: BinaryIO, size: int) -> tuple[Mapping[str, Any], int]:
    """What the header tells of each tensor, and where the tensors begin."""
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise SafetensorError("it ends within its header")
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
    except (ValueError, AttributeError, RecursionError) as error:
        raise SafetensorError("its header is damaged") from error
    return header, 8 + length


def _copied(file: BinaryIO, place: _Place) -> Tensor:
    data = torch.empty(place.end - place.begin, dtype=torch.uint8)
    view = data.numpy().data
    file.seek(place.begin)
    while view:
        count = file.readinto(view)  # type: ignore[attr-defined]  # of a file without a buffer
        if not count:
            raise SafetensorError("it was cut while it was read")
        view = view[count:]
    return data.view(place.dtype).reshape(place.shape)


def _mapped(path: Path, size: int, places: Mapping[str, _Place]) -> dict[str, Tensor]:
    storage = torch.UntypedStorage.from_file(str(path), False, size)
    tensors = {}
    for name, place in places.items():
        flat = torch.asarray(storage[place.begin : place.end], dtype=torch.uint8)
        # Old files put numbers at uneven places, where they cannot be read as such.
        even = flat if flat.data_ptr() % place.dtype.itemsize == 0 else flat.clone()
        tensors[name] = even.view(place.dtype).reshape(place.shape)
    return tensors
