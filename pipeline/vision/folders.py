"""Folders in transformers' layout to models on a device. Knows no particular model."""

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from safetensors import SafetensorError

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format
from pipeline.weights.pickled import reason_of
from pipeline.weights.tensors import read_config

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
_NAMED: Final = 3  # how many missing tensors a message names
_CONFIG: Final = "config.json"
_WEIGHTS: Final = {
    "model*.safetensors": FileFormat.SAFETENSORS,
    "pytorch_model*.bin": FileFormat.TORCH,
}


def load_folder(model_class: Any, folder: Path, kind: str, device: torch.device) -> Any:
    """A model of ``model_class`` in float32, ready for inference; ``kind`` stands in errors.

    Raises InvalidModelFile, also for a folder of another model and for one that lacks tensors,
    which transformers would fill with random numbers.
    """
    _check_kind(model_class, folder, kind)
    for path, wanted in _weights(folder):
        require_format(path, f"{kind}'s", wanted)
    from transformers.utils.logging import disable_progress_bar  # noqa: PLC0415 - takes seconds

    disable_progress_bar()
    try:
        model, facts = model_class.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except _BROKEN as error:
        raise _unreadable(folder, kind, error) from error
    missing = sorted(facts["missing_keys"]) + sorted(str(key) for key in facts["mismatched_keys"])
    if missing:
        named = ", ".join(missing[:_NAMED])
        raise InvalidModelFile(
            f"{folder.name} is no {kind}: {len(missing)} tensors of {model_class.__name__} are"
            f" missing or of another shape ({named}); download its files again"
        )
    model.requires_grad_(False)
    return model.eval().to(device)


def load_tokenizer(folder: Path, kind: str, vocabulary: int) -> Any:
    """The folder's tokenizer, of at most ``vocabulary`` tokens. Raises InvalidModelFile."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except _BROKEN as error:
        raise _unreadable(folder, kind, error) from error
    if len(tokenizer) > vocabulary:
        raise InvalidModelFile(
            f"{folder.name} is no {kind}: its tokenizer knows {len(tokenizer)} tokens, its model"
            f" {vocabulary}; download its files again"
        )
    return tokenizer


def _check_kind(model_class: Any, folder: Path, kind: str) -> None:
    """Raise InvalidModelFile where the configuration is missing, or of another model."""
    path = folder / _CONFIG
    if not path.is_file():
        raise InvalidModelFile(
            f"{folder.name} is no whole model folder: it lacks {_CONFIG}; put the {kind}'s files"
            " there"
        )
    found, wanted = read_config(path).get("model_type"), model_class.config_class.model_type
    if found != wanted:
        raise InvalidModelFile(
            f"{folder.name} is no {kind}: its {_CONFIG} is that of {found!r}, not of {wanted!r};"
            f" put the {kind}'s files there"
        )


def _weights(folder: Path) -> Iterator[tuple[Path, FileFormat]]:
    """The files that transformers reads, and their format: safetensors go before pickles."""
    for pattern, wanted in _WEIGHTS.items():
        if files := sorted(folder.glob(pattern)):
            yield from ((file, wanted) for file in files)
            return


def _unreadable(folder: Path, kind: str, error: Exception) -> InvalidModelFile:
    reason = reason_of(error).replace(str(folder), folder.name)
    return InvalidModelFile(
        f"{folder.name} is no whole model folder of a {kind} ({reason}); download its files again"
    )
