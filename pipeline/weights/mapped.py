"""Safetensors files as views of the mapped file. Knows no model."""

import json
import struct
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from torch import Tensor

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


def map_tensors(path: Path) -> dict[str, Tensor]:
    """What ``safetensors.torch.load_file`` gives, which the library checks but does not read.

    Up to its version 0.8.0 the library keeps two small objects for ever of each tensor that it
    maps, so that a server that goes back and forth between models would grow without end.
    Raises SafetensorError, OSError; ValueError for a number format that torch has not.
    """
    with safe_open(path, framework="pt"):
        pass  # the header is sound: offsets lie in the file and follow each other
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    begin = 8 + length
    storage = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    tensors = {}
    for name, told in header.items():
        if told["dtype"] not in _DTYPES:
            raise ValueError(f"{name} is of the unknown number format {told['dtype']}")
        first, end = (begin + offset for offset in told["data_offsets"])
        flat = torch.asarray(storage[first:end], dtype=torch.uint8)
        tensors[name] = _as(flat, _DTYPES[told["dtype"]]).reshape(told["shape"])
    return tensors


def _as(flat: Tensor, dtype: torch.dtype) -> Tensor:
    """The bytes as numbers; copied where old files put them at an uneven place."""
    return (flat if flat.data_ptr() % dtype.itemsize == 0 else flat.clone()).view(dtype)
