"""The family's forms, in which lists of objects and ``advanced_params`` are JSON texts."""

from collections.abc import Iterator
from typing import Final

import msgspec

from handlers.fooocus_api.bodies import AdvancedParams
from handlers.http.form import Form
from handlers.http.form_fields import FormBody, decode_form
from handlers.http.refusal import wrong_field
from pipeline.request.json_body import in_form

_ADVANCED: Final = "advanced_params"


def form_body(form: Form, kind: type[msgspec.Struct]) -> FormBody:
    """Decode a form. Raises msgspec.ValidationError, RequestRefused."""
    body = decode_form(form, kind)
    if (text := body.values.pop("loras", None)) is not None:
        body.values["loras"] = _json(text, "loras")
    if (text := body.values.pop(_ADVANCED, None)) is not None:
        body.values.update(_advanced(text, body.unknown))
    return body


def unknown_advanced(raw: object) -> Iterator[str]:
    """The names in ``advanced_params`` that mean nothing here, with their place."""
    known = frozenset(AdvancedParams.__struct_fields__)
    for name in raw if isinstance(raw, dict) else ():
        if name not in known:
            yield f"{_ADVANCED}.{name}"


def _json(text: str, name: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise wrong_field(name, "Expected JSON") from None


def _advanced(text: str, unknown: list[str]) -> dict[str, object]:
    """As the family does, what cannot be read is left to the defaults; it is named as ignored."""
    try:
        raw = in_form(msgspec.json.decode(text), AdvancedParams)
        values: dict[str, object] = msgspec.to_builtins(msgspec.convert(raw, AdvancedParams))
    except (msgspec.DecodeError, RecursionError):  # ValidationError included
        unknown.append(_ADVANCED)
        return {}
    unknown += unknown_advanced(raw)
    return values
