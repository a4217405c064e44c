"""Cache keys of models, and what the cache has to know of a loaded one. Loads nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec
from torch import nn

from pipeline.errors import ModelNotInstalled
from pipeline.files.stamp import Stamp, stamp_of
from pipeline.weights.lease import ReadLease


@runtime_checkable
class HasParts(Protocol):
    """A model that is not a module itself but owns some, such as a text encoder pair."""

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Every module of it that occupies device memory."""


@runtime_checkable
class MeasuresItself(Protocol):
    """A model without modules whose memory grows when it runs, such as an ONNX session."""

    @property
    def size_bytes(self) -> int:
        """Bytes that it holds now."""


@runtime_checkable
class FollowsBase(Protocol):
    """A model that shares weights with the checkpoint it depends on, such as a control-LoRA."""

    def follow_base(self) -> None:
        """Rebind the shared weights, which LoRAs may have replaced."""


class CacheKey(NamedTuple):
    """Kind, name, files, variant: files that changed on disk are another model."""

    kind: str
    name: str
    stamp: Stamp
    variant: str = ""  # tells loads of one file apart, as a VAE for checkpoints of two structures


class MappedFiles(NamedTuple):
    """A model whose weights are what lies on disk: its file or folder, and the stamp at reading.

    ``lease`` was taken before the files were mapped.
    """

    path: Path
    stamp: Stamp
    lease: ReadLease

    @property
    def has_changed(self) -> bool:
        """Whether the files are no longer those that were read, or are about to be written to."""
        return self.lease.is_wanted or stamp_of(self.path) != self.stamp


class ModelSource(NamedTuple):
    """What to load: its cache key, its file or folder, and the model whose modules it uses."""

    key: CacheKey
    path: Path
    depends_on: object = None  # dropped from the cache, it takes this model with it


def model_source(
    kind: str, name: str, path: Path, variant: str = "", depends_on: object = None
) -> ModelSource:
    """The source at ``path``, with the stamp of its files as of now.

    Raises ModelNotInstalled if nothing is there. Paths mostly come from a listing, so that can only
    be the embedded model.
    """
    if not path.exists():
        raise ModelNotInstalled(f"the files of {name} are missing; fetch the project again")
    return ModelSource(CacheKey(kind, name, stamp_of(path), variant), path, depends_on)


def parts_of(value: object) -> tuple[nn.Module, ...]:
    """The modules of a model; empty for one that can only be dropped, not offloaded."""
    if isinstance(value, nn.Module):
        return (value,)
    return value.parts if isinstance(value, HasParts) else ()


def file_bytes(path: Path) -> int:
    """Bytes on disk of a file, or of a folder's safetensors files: an estimate before loading."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def variant_of(config: Mapping[str, Any]) -> str:
    """A configuration as the ``variant`` of a cache key."""
    return msgspec.json.encode(dict(config), order="sorted").decode()
