"""JSON bodies as clients write them: encodings, whole numbers written 1.0, null for left out."""

import json
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

_UTF8: Final = ("utf-8", "utf-8-sig")
_LARGEST_WHOLE: Final = 2.0**64  # beyond it a float stays one: no field takes such a number


def as_utf8(body: bytes) -> bytes:
    """The body in UTF-8 without a byte order mark, from any encoding that ``json.loads`` reads.

    UTF-16 and UTF-32 are recognised with and without a mark (RFC 4627, section 3). Raises
    msgspec.DecodeError if the bytes are not of the encoding that they begin like.
    """
    encoding = json.detect_encoding(body)
    if encoding in _UTF8:
        return body.removeprefix(b"\xef\xbb\xbf")
    try:
        return body.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(
            f"it begins like {encoding} and is not ({error.reason}) (byte {error.start})"
        ) from None


def in_form(raw: object, kind: type[msgspec.Struct]) -> object:
    """Decoded JSON as ``msgspec.convert`` takes it for ``kind``; unknown keys stay as they are.

    Left out: fields that are null and have a default, unless null is a value of theirs. Numbers
    without a fraction become int where an int is expected. Anything else is for msgspec to refuse.
    """
    return _in_form(raw, kind)


class _Shape(msgspec.Struct, frozen=True):
    """What may be changed of a field's value."""

    kind: Any
    may_be_left_out: bool


@cache
def _shapes(kind: type[msgspec.Struct]) -> Mapping[str, _Shape]:
    return {
        field.encode_name: _Shape(
            field.type, not field.required and not _takes(field.type, NoneType)
        )
        for field in msgspec.structs.fields(kind)
    }


def _in_form(value: object, kind: Any) -> object:
    if isinstance(value, float):
        is_whole = value.is_integer() and abs(value) < _LARGEST_WHOLE
        return int(value) if is_whole and _takes(kind, int) else value
    if isinstance(value, dict):
        struct = _struct_in(kind)
        return value if struct is None else _fields_in_form(value, _shapes(struct))
    if isinstance(value, list):
        parts = _element_kinds(kind, len(value))
        if parts is None:
            return value  # however deep it is: the depth of this walk is the schema's
        return [_in_form(item, part) for item, part in zip(value, parts, strict=True)]
    return value


def _fields_in_form(raw: Mapping[str, object], shapes: Mapping[str, _Shape]) -> dict[str, object]:
    return {
        name: value if name not in shapes else _in_form(value, shapes[name].kind)
        for name, value in raw.items()
        if value is not None or name not in shapes or not shapes[name].may_be_left_out
    }


@cache
def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a field's annotation allows, without the annotations."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _members(get_args(kind)[0])
    if origin in (Union, UnionType):
        return tuple(member for part in get_args(kind) for member in _members(part))
    return (kind,)


def _takes(kind: Any, plain: type) -> bool:
    return plain in _members(kind)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    for member in _members(kind):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member
    return None


def _element_kinds(kind: Any, length: int) -> tuple[Any, ...] | None:
    """The type of each element of a list of that length; None where no list is expected."""
    for member in _members(kind):
        arguments = get_args(member)
        if get_origin(member) is list or arguments[1:] == (...,):
            return (arguments[0],) * length
        if get_origin(member) is tuple and len(arguments) == length:
            return arguments
    return None
