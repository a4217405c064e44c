"""Query strings, decoded from the msgspec structs that document them."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from handlers.http.refusal import RequestRefused, wrong_field

Q = TypeVar("Q", bound=msgspec.Struct)

_LOST_PLUS: Final = re.compile(r" (\d{2}:?\d{2})$")  # "+08:00" decoded as " 08:00"
_DATE_CHARS: Final = len("2024-07-03")


class StartTime(int):
    """Unix ms of an ISO 8601 time, local where it names no zone. A date alone begins its day."""


class EndTime(int):
    """As ``StartTime``, but a date alone ends its day."""


class QueryDecoder(Generic[Q]):
    """Decodes query strings into one struct. Built once per operation.

    Of a name given twice the first value counts, unknown names are ignored, and an empty value
    of a field that may be None counts as left out.
    """

    def __init__(self, kind: type[Q]) -> None:
        self._kind = kind
        self._fields = msgspec.structs.fields(kind)

    def __call__(self, query: Mapping[str, str]) -> Q:
        """Raises RequestRefused: 422 that names the parameter."""
        values: dict[str, object] = {}
        for field in self._fields:
            text = query.get(field.encode_name)
            if text == "" and type(None) in get_args(field.type):
                text = None
            if text is not None:
                values[field.name] = _decoded(field.encode_name, text, field.type)
            elif field.required:
                raise wrong_query(field.encode_name, f"Required. {_expected(field.type)}".strip())
        return self._kind(**values)


def wrong_query(name: str, message: str, kind: str = "value_error") -> RequestRefused:
    """422 for a query parameter, to be raised."""
    return wrong_field(name, message, kind, of="query")


def _decoded(name: str, text: str, kind: Any) -> object:
    try:
        return msgspec.convert(text, kind, strict=False, dec_hook=_time)
    except msgspec.ValidationError as error:
        is_choice = str(error).startswith("Invalid enum value")
        message = _expected(kind) or str(error)
        raise wrong_query(name, message, "unknown_value" if is_choice else "value_error") from None


def _expected(kind: Any) -> str:
    """What a parameter of this type may be; "" where msgspec's own message is clear."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"Expected one of {', '.join(str(value) for value in arguments)}"
    if origin is Annotated:
        metas = [meta for meta in kind.__metadata__ if isinstance(meta, Meta)]
        return _expected(arguments[0]) + (_bounds(metas) if arguments[0] is int else "")
    if type(None) in arguments:
        return _expected(arguments[0])
    return _WORDS.get(kind, "")


def _bounds(metas: list[Meta]) -> str:
    low = next((meta.ge for meta in metas if meta.ge is not None), None)
    high = next((meta.le for meta in metas if meta.le is not None), None)
    return (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


_WORDS: Final[Mapping[Any, str]] = {
    int: "Expected a whole number",
    bool: "Expected true or false, 1 or 0",
    StartTime: "Expected a time such as 2024-07-03T12:22:30",
    EndTime: "Expected a time such as 2024-07-03T12:22:30",
}


def _time(kind: Callable[[int], object], text: str) -> object:
    """``msgspec.convert``'s hook for the types it does not know."""
    text = _LOST_PLUS.sub(r"+\1", text.strip())
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= _DATE_CHARS and kind is EndTime:
            moment = datetime.combine(moment, time.max)
        return kind(int(moment.astimezone(UTC).timestamp() * 1000))
    except (OverflowError, OSError) as error:  # a year that the system's clock cannot express
        raise ValueError(str(error)) from None
