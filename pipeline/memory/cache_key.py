"""A model that is to be loaded: by what it is told from others, and how large it is.

Knows no budgets and loads nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec
from torch import nn

from pipeline.errors import ModelNotInstalled


@runtime_checkable
class HasParts(Protocol):
    """A model that is no module itself but made of some."""

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Everything in it that lies on the device."""


@runtime_checkable
class FollowsBase(Protocol):
    """A model that shares weights with the one beside it."""

    def follow_base(self) -> None:
        """Share them as they are now."""


class Wanted(NamedTuple):
    """What to load, and by what it is told from others of its kind."""

    kind: str
    name: str
    path: Path
    variant: str = ""
    beside: object = None  # a model that this one holds on to: it goes when that goes


def parts_of(value: object) -> tuple[nn.Module, ...]:
    """The modules of a model; none of one that can be dropped, not moved."""
    if isinstance(value, nn.Module):
        return (value,)
    return value.parts if isinstance(value, HasParts) else ()


def key_of(wanted: Wanted) -> tuple[str, str, int, str]:
    """By what it is told apart, its file's age included.

    Raises ModelNotInstalled: mostly a path is there, so it can only be the embedded one.
    """
    if not wanted.path.exists():
        raise ModelNotInstalled(f"the files of {wanted.name} are missing; fetch the project again")
    return wanted.kind, wanted.name, wanted.path.stat().st_mtime_ns, wanted.variant


def file_bytes(path: Path) -> int:
    """About what a model takes: the size of its file, or of a folder's files in float16 or not."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def variant_of(config: Mapping[str, Any]) -> str:
    """Tells VAEs of one file apart that were made for checkpoints of different structure."""
    return msgspec.json.encode(dict(config), order="sorted").decode()
