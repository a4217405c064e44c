"""Fields of a request for the structs of other APIs: the same types, each to be left out."""

from collections.abc import Iterable
from typing import Any, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

Field = tuple[str, Any, Any]
"""Name, type and default, as ``msgspec.defstruct`` takes them."""


def optional(hint: Any) -> Any:
    """A type whose value may be left out."""
    return hint | UnsetType


def fields_of(owner: type[msgspec.Struct], names: Iterable[str], suffix: str = "") -> list[Field]:
    """These fields of another struct, each to be left out, with ``suffix`` to their names."""
    hints = get_type_hints(owner, include_extras=True)
    return [(name + suffix, optional(hints[name]), UNSET) for name in names]


def fields_like(names: Iterable[str], hint: Any) -> list[Field]:
    """Fields of one type, each to be left out."""
    return [(name, optional(hint), UNSET) for name in names]
