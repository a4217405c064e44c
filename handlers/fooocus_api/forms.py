"""Multipart forms as the family's clients send them.

Lists are repeated fields or texts with commas, objects are JSON texts, and some clients write
"None" or an empty text for what they leave out.
"""

from collections.abc import Iterator
from typing import Final, get_args

import msgspec
from msgspec import UnsetType

from handlers.fooocus_api.schemas import AdvancedParams
from handlers.http.form import Form
from handlers.http.refusal import wrong_field
from pipeline.request.json_body import in_form

NO_PICTURE: Final = frozenset({"", "None", "none", "null", "string"})
"""What clients write into an image field for none; "string" is what interactive docs fill in."""

_LEFT_OUT: Final = frozenset({"", "none", "null"})
_PLAIN_TEXTS: Final = frozenset({"prompt", "negative_prompt"})  # may be empty on purpose
_ADVANCED: Final = "advanced_params"


class FormBody(msgspec.Struct, frozen=True):
    """The values of a form, the pictures by their fields, and the fields that are not used."""

    values: dict[str, object]
    files: dict[str, bytes]
    ignored: tuple[str, ...]


def form_body(form: Form, kind: type[msgspec.Struct]) -> FormBody:
    """Decode a form. Raises msgspec.ValidationError, RequestRefused."""
    fields = {field.name: _member(field.type) for field in msgspec.structs.fields(kind)}
    files = {name: data for name in fields if (data := _file(form, name, fields[name]))}
    texts = {
        name: value
        for name, type_ in fields.items()
        if type_ is not bytes and (value := _text(form, name, type_)) is not None
    }
    values = msgspec.to_builtins(msgspec.convert(texts, kind, strict=False))
    ignored = [name for name in (*form.fields, *form.files) if name not in fields]
    if (text := values.pop("loras", None)) is not None:
        values["loras"] = _json(text, "loras")
    if (text := values.pop(_ADVANCED, None)) is not None:
        values |= _advanced(text, ignored)
    return FormBody(values, files, tuple(ignored))


def unknown_advanced(raw: object) -> Iterator[str]:
    """The names in ``advanced_params`` that mean nothing here, with their place."""
    known = frozenset(AdvancedParams.__struct_fields__)
    for name in raw if isinstance(raw, dict) else ():
        if name not in known:
            yield f"{_ADVANCED}.{name}"


def _member(hint: object) -> object:
    """The type of a field that may be left out or null: ``bytes``, ``str``, ``tuple`` or another.

    Of ``Annotated`` types the plain one.
    """
    for part in get_args(hint):
        if part in (UnsetType, type(None)):
            continue
        return _member(part) if hasattr(part, "__metadata__") else getattr(part, "__origin__", part)
    return hint


def _file(form: Form, name: str, type_: object) -> bytes:
    """The picture in a field; empty for none. Raises RequestRefused: 422 for another text."""
    if type_ is not bytes:
        return b""
    if name in form.files:
        return form.files[name][0]
    if form.value(name) not in NO_PICTURE:
        raise wrong_field(name, "Expected a file")
    return b""


def _text(form: Form, name: str, type_: object) -> str | list[str] | None:
    """The text of a field, or its parts; None where it is left out."""
    if name not in form.fields:
        return None
    if type_ is tuple:
        parts = (part.strip() for value in form.fields[name] for part in value.split(","))
        return [part for part in parts if part]
    text = form.value(name)
    is_empty = text == "" if type_ is str else text.lower() in _LEFT_OUT
    return None if is_empty and name not in _PLAIN_TEXTS else text


def _json(text: str, name: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise wrong_field(name, "Expected JSON") from None


def _advanced(text: str, ignored: list[str]) -> dict[str, object]:
    """As the family does, what cannot be read is left to the defaults; it is named as ignored."""
    try:
        raw = in_form(msgspec.json.decode(text), AdvancedParams)
        values: dict[str, object] = msgspec.to_builtins(msgspec.convert(raw, AdvancedParams))
    except (msgspec.DecodeError, RecursionError):  # ValidationError included
        ignored.append(_ADVANCED)
        return {}
    ignored += unknown_advanced(raw)
    return values
