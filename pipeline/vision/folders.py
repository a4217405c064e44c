"""Folders in transformers' layout to models on a device. Knows no particular model."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from pipeline.errors import InvalidModelFile

_BROKEN: Final = (
    SafetensorError,
    UnpicklingError,
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
)
_NAMED: Final = 3  # how many missing tensors a refusal names


def load_folder(kind: Any, folder: Path, device: torch.device) -> Any:
    """A model of class ``kind`` in float32, ready to be asked. Raises InvalidModelFile.

    A file that lacks tensors is refused: transformers would fill them with random numbers.
    """
    disable_progress_bar()
    try:
        model, facts = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except _BROKEN as error:
        raise _unreadable(folder, error) from error
    missing = sorted(facts["missing_keys"]) + sorted(str(key) for key in facts["mismatched_keys"])
    if missing:
        named = ", ".join(missing[:_NAMED])
        raise InvalidModelFile(
            f"{folder.name} does not fit {kind.__name__}; it lacks {len(missing)} tensors: {named}"
        )
    model.requires_grad_(False)
    return model.eval().to(device)


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer. Raises InvalidModelFile."""
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except _BROKEN as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> InvalidModelFile:
    first = str(error).partition("\n")[0][:200]
    return InvalidModelFile(f"{folder.name} is no whole model folder ({first})")
