"""Forms decoded into structs: texts into their fields' types, files by the fields' names.

Lists are repeated fields, with or without ``[]`` behind the name, or texts with commas. Some
clients write "None" or an empty text for what they leave out.
"""

from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import UnsetType

from handlers.http.form import Form
from handlers.http.refusal import wrong_field

NO_PICTURE: Final = frozenset({"", "None", "none", "null", "string"})
"""What clients write into an image field for none; "string" is what interactive docs fill in."""

_LEFT_OUT: Final = frozenset({"", "none", "null"})
_PLAIN_TEXTS: Final = frozenset({"prompt", "negative_prompt"})  # may be empty on purpose


class FormBody(msgspec.Struct, frozen=True):
    """The values of a form, its files by their fields, and the fields that are not known."""

    values: dict[str, Any]
    files: dict[str, list[bytes]]
    unknown: list[str]

    def file(self, name: str) -> bytes:
        """The first file of a field; empty for none."""
        return next(iter(self.files.get(name, ())), b"")


def decode_form(form: Form, kind: type[msgspec.Struct]) -> FormBody:
    """Decode a form; fields of type bytes are files. Raises ValidationError, RequestRefused."""
    types = {field.name: _plain(field.type) for field in msgspec.structs.fields(kind)}
    texts, files = _by_name(form.fields), _by_name(form.files)
    found = {
        name: pictures
        for name, type_ in types.items()
        if type_ is bytes and (pictures := _pictures(name, texts, files))
    }
    given = {
        name: value
        for name, type_ in types.items()
        if type_ is not bytes and (value := _text(name, texts, type_)) is not None
    }
    values = msgspec.to_builtins(msgspec.convert(given, kind, strict=False))
    return FormBody(values, found, [name for name in (*texts, *files) if name not in types])


def _by_name(fields: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The values of each field, those of ``name`` and ``name[]`` together."""
    named: dict[str, list[Any]] = {}
    for name, values in fields.items():
        named.setdefault(name.removesuffix("[]"), []).extend(values)
    return named


def _plain(hint: object) -> object:
    """The type of a field that may be left out or null: ``bytes``, ``str``, ``tuple`` or another.

    Of ``Annotated`` types the plain one.
    """
    origin = get_origin(hint)
    if origin is Annotated:
        return _plain(get_args(hint)[0])
    if origin in (Union, UnionType):
        given = (part for part in get_args(hint) if part not in (UnsetType, NoneType))
        return _plain(next(given))
    return origin or hint


def _pictures(name: str, texts: dict[str, list[str]], files: dict[str, list[bytes]]) -> list[bytes]:
    """The files of a field, without empty ones. Raises RequestRefused: 422 for another text."""
    if found := [data for data in files.get(name, ()) if data]:
        return found
    if any(text not in NO_PICTURE for text in texts.get(name, ())):
        raise wrong_field(name, "Expected a file")
    return []


def _text(name: str, texts: dict[str, list[str]], type_: object) -> str | list[str] | None:
    """The text of a field, or its parts; None where it is left out."""
    if name not in texts:
        return None
    if type_ is tuple:
        parts = (part.strip() for value in texts[name] for part in value.split(","))
        return [part for part in parts if part]
    text = texts[name][0]
    is_empty = text == "" if type_ is str else text.lower() in _LEFT_OUT
    return None if is_empty and name not in _PLAIN_TEXTS else text
