"""Model files to named tensors, and those to modules."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.files.file_format import FileFormat, require_format
from pipeline.files.stamp import stamp_of
from pipeline.weights.pickled import read_pickled, reason_of
from pipeline.weights.scaled import find_scaled
from pipeline.weights.stored import Chosen, stored_tensors

log = logging.getLogger(__name__)

_NAMED: Final = 3  # how many disagreeing tensors a message names
_UNUSED: Final = ("embeddings.position_ids", "logit_scale")  # stored by some, used by no module


def read_values(path: Path, kind: str, chosen: Chosen = lambda _name: True) -> Mapping[str, Any]:
    """Named values of a file in either format: tensors, of torch's own format plain values too.

    ``kind`` says in errors what the file is to serve as; of a safetensors file only ``chosen``
    tensors are read. Raises InvalidModelFile.
    """
    found = require_format(path, kind, FileFormat.SAFETENSORS, FileFormat.TORCH)
    if found is FileFormat.SAFETENSORS:
        return read_tensors(path, kind, chosen)
    with _unchanged(path, kind):
        return read_pickled(path, kind)


def read_tensors(
    path: Path, kind: str = "model file", chosen: Chosen = lambda _name: True
) -> dict[str, Tensor]:
    """The chosen tensors of a safetensors file. Raises InvalidModelFile."""
    require_format(path, kind, FileFormat.SAFETENSORS)
    try:
        with _unchanged(path, kind):
            return stored_tensors(path, chosen)
    except (SafetensorError, OSError) as error:
        raise InvalidModelFile(
            f"the {kind} {path.name} is no whole safetensors file ({reason_of(error)});"
            " download it again"
        ) from error


@contextmanager
def _unchanged(path: Path, kind: str) -> Iterator[None]:
    """Raise InvalidModelFile if the file is written to or replaced within the block."""
    before = stamp_of(path)
    try:
        yield
    finally:
        if stamp_of(path) != before:
            raise InvalidModelFile(
                f"the {kind} {path.name} changed while it was read; try again when it is whole"
            )


def read_component(folder: Path, half: bool) -> dict[str, Tensor]:
    """The weights of one component of a diffusers folder, sharded or not.

    ``half`` prefers the fp16 variant where both are there. Raises InvalidModelFile.
    """
    component = f"{folder.parent.name}/{folder.name}"
    files = sorted(folder.glob("*.safetensors"))
    variants = [file for file in files if ".fp16" in file.name]
    plain = [file for file in files if ".fp16" not in file.name]
    chosen = (variants or plain) if half else (plain or variants)
    if not chosen:
        raise InvalidModelFile(
            f"{component} holds no safetensors file; put the component's weights there"
        )
    tensors: dict[str, Tensor] = {}
    for file in chosen:
        tensors.update(read_tensors(file, f"weights file of {component},"))
    return tensors


def read_config(path: Path) -> dict[str, Any]:
    """A component's JSON configuration. Raises InvalidModelFile."""
    name = "/".join(path.parts[-3:])
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        told = f"{name} is no readable configuration ({reason_of(error)})"
        raise InvalidModelFile(told) from error
    except ValueError as error:
        require_format(path, "configuration", FileFormat.JSON)  # a web page is called one
        told = f"{name} is no readable configuration ({reason_of(error)}); download it again"
        raise InvalidModelFile(told) from error
    if not isinstance(config, dict):
        raise InvalidModelFile(f"{name} is no JSON object; download it again")
    return config


def fill(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    part: str,
    dtype: torch.dtype | None,
    *,
    lenient: bool = False,
) -> nn.Module:
    """Give a module made on the meta device its weights, one tensor at a time.

    Tensors that have ``dtype`` already stay as they were read; with None all do, except
    scaled ones (``pipeline.weights.scaled``). ``part`` names the module in errors. ``lenient``
    leaves out tensors that the module has no place for. Raises InvalidModelFile if a tensor is
    missing or of another shape, or unknown without ``lenient``.
    """
    scaled = find_scaled(tensors, part)
    used = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in scaled.consumed and not name.endswith(_UNUSED)
    }
    _check_fit(module, used, part, lenient=lenient)
    module.requires_grad_(requires_grad=False)
    state = {name: scaled.value(name, used[name], dtype) for name in module.state_dict()}
    module.load_state_dict(state, assign=True)
    return module.eval()


def _check_fit(
    module: nn.Module, tensors: Mapping[str, Tensor], part: str, *, lenient: bool
) -> None:
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
    if missing or shapes or (unknown and not lenient):
        raise InvalidModelFile(f"the {part} does not fit; tensors {' | '.join(told)}")
    if unknown:
        log.info(
            "the %s leaves out %d tensors that it does not use: %s",
            part,
            len(unknown),
            ", ".join(unknown[:_NAMED]),
        )
