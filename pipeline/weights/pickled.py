"""Files in torch's own format, of which nothing but tensors and plain values is loaded."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format

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


def read_pickled(path: Path, kind: str = "model file") -> dict[str, Any]:
    """The file's named values, on the CPU; those of ``state_dict`` where it has one.

    ``kind`` says in errors what the file is to serve as. Raises InvalidModelFile.
    """
    loaded = load_pickled(path, kind)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise InvalidModelFile(f"the {kind} {path.name} holds no named tensors")
    return {name: value for name, value in loaded.items() if isinstance(name, str)}


def load_pickled(path: Path, kind: str) -> object:
    """Whatever tensors and plain values the file holds. Code in it is never run.

    Raises InvalidModelFile.
    """
    require_format(path, kind, FileFormat.TORCH)
    try:
        with path.open("rb") as file, torch.serialization.safe_globals([nn.ParameterDict]):
            # An open file: given a name, torch would go by its ending. The first trainers of
            # textual inversions saved their vectors in a ParameterDict, which runs no code either.
            loaded: object = torch.load(file, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        raise InvalidModelFile(
            f"the {kind} {path.name} holds more than tensors, or is damaged; it was not loaded"
            f" ({reason_of(error)}). Use its safetensors file, or download it again"
        ) from error
    return loaded


def reason_of(error: Exception) -> str:
    """An error in one line without paths, which the system's errors hold, for clients to read."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error).partition("\n")[0][:200]
