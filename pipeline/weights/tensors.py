"""Model files on disk to named tensors, memory-mapped. Decides by content, not by suffix."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.weights.layout import UNUSED_SUFFIXES
from pipeline.weights.mapped import map_tensors
from pipeline.weights.pickled import is_pickled, reason_of

_NAMED: Final = 3  # how many disagreeing tensors a refusal names


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as views of the mapped file. Raises InvalidModelFile."""
    try:
        tensors = map_tensors(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidModelFile(f"{path.name} {_what_is(path)} ({reason_of(error)})") from error
    return tensors


def read_component(folder: Path, half: bool) -> dict[str, Tensor]:
    """The weights of one component of a diffusers folder, sharded or not.

    ``half`` prefers the fp16 variant where both are there.
    """
    files = sorted(folder.glob("*.safetensors"))
    variants = [file for file in files if ".fp16" in file.name]
    plain = [file for file in files if ".fp16" not in file.name]
    chosen = (variants or plain) if half else (plain or variants)
    if not chosen:
        raise InvalidModelFile(f"{folder.parent.name}/{folder.name} holds no safetensors file")
    tensors: dict[str, Tensor] = {}
    for file in chosen:
        tensors.update(read_tensors(file))
    return tensors


def read_config(path: Path) -> dict[str, Any]:
    """A component's JSON configuration. Raises InvalidModelFile."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        name = "/".join(path.parts[-3:])
        told = f"{name} is no readable configuration ({reason_of(error)})"
        raise InvalidModelFile(told) from error
    if not isinstance(config, dict):
        raise InvalidModelFile(f"{path.name} is no JSON object")
    return config


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], part: str, dtype: torch.dtype | None
) -> nn.Module:
    """Give a module made on the meta device its weights, one tensor at a time.

    Tensors that have ``dtype`` already stay views of the mapped file; with None all do. ``part``
    names the module in errors. Raises InvalidModelFile if a tensor is missing, unknown or of
    another shape.
    """
    used = {name: t for name, t in tensors.items() if not name.endswith(UNUSED_SUFFIXES)}
    _check_fit(module, used, part)
    module.requires_grad_(requires_grad=False)
    state = {name: tensor if dtype is None else tensor.to(dtype) for name, tensor in used.items()}
    module.load_state_dict(state, assign=True)
    return module.eval()


def _check_fit(module: nn.Module, tensors: Mapping[str, Tensor], part: str) -> None:
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unknown = [name for name in tensors if name not in wanted]
    shapes = [
        f"{name} is {list(tensors[name].shape)}, not {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
    told = [f"{len(names)} {kind}: {'; '.join(names[:_NAMED])}" for kind, names in faults if names]
    if told:
        raise InvalidModelFile(f"the {part} does not fit; tensors {' | '.join(told)}")


def _what_is(path: Path) -> str:
    if is_pickled(path):
        return "is a pickle file; only safetensors files are loaded, so convert it first"
    return "is no whole safetensors file"
