"""Files in torch's own format, of which nothing but tensors and plain values is loaded."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import torch

from pipeline.errors import InvalidModelFile

_HEADS: Final = (b"PK\x03\x04", b"\x80")  # a zip archive; a bare pickle, as torch < 1.6 wrote it
_BROKEN: Final = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
)


def is_pickled(path: Path) -> bool:
    """Does the file begin as torch's own files do, whatever its name says?"""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise InvalidModelFile(f"{path.name} cannot be read ({reason_of(error)})") from error
    # A safetensors file begins with a length, whose bytes may be anything, and then its JSON.
    return head.startswith(_HEADS) and not head.endswith(b"{")


def read_pickled(path: Path) -> dict[str, Any]:
    """The file's named values, on the CPU. Code in it is never run. Raises InvalidModelFile."""
    try:
        with path.open("rb") as file:  # given a name, torch would go by its ending
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise InvalidModelFile(
            f"{path.name} holds more than tensors, or is damaged; it was not loaded"
            f" ({reason_of(error)})"
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise InvalidModelFile(f"{path.name} holds no named tensors")
    return {name: value for name, value in loaded.items() if isinstance(name, str)}


def reason_of(error: Exception) -> str:
    """What went wrong in one line that a client may read: the system's errors tell whole paths."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).partition("\n")[0][:200]
