"""Query strings, decoded from the msgspec structs that document them."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time
from typing import Annotated, Any, Final, Generic, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta
from multidict import MultiMapping

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

    Of a name given twice the first value counts, but a list takes the values of all, each with
    commas between several. Unknown names are ignored, and an empty value of a field that may be
    None counts as left out.
    """

    def __init__(self, kind: type[Q]) -> None:
        self._kind = kind
        self._fields = msgspec.structs.fields(kind)
        self._nullable = {f.encode_name: type(None) in get_args(f.type) for f in self._fields}
        self._lists = frozenset(f.encode_name for f in self._fields if _is_list(f.type))

    def __call__(self, query: MultiMapping[str]) -> Q:
        """Raises RequestRefused: 422 that names the parameter."""
        values: dict[str, str | list[str]] = {
            name: _parts(query.getall(name)) if name in self._lists else query[name]
            for name, may_be_none in self._nullable.items()
            if name in query and not (may_be_none and query[name] == "")
        }
        try:
            return msgspec.convert(values, self._kind, strict=False, dec_hook=_time)
        except msgspec.ValidationError as error:
            raise self._refusal(values, error) from None

    def _refusal(
        self, values: Mapping[str, object], error: msgspec.ValidationError
    ) -> RequestRefused:
        """What is wrong with the first wrong parameter, in terms of what it may be."""
        for field in self._fields:
            name, expected = field.encode_name, _expected(field.type)
            if name not in values:
                if field.required:
                    return wrong_query(name, f"Required. {expected}".strip())
            elif (message := _fault(values[name], field.type)) is not None:
                kind = (
                    "unknown_value" if message.startswith("Invalid enum value") else "value_error"
                )
                return wrong_query(name, expected or message, kind)
        raise error  # of a rule that concerns several fields


def wrong_query(name: str, message: str, kind: str = "value_error") -> RequestRefused:
    """422 for a query parameter, to be raised."""
    return wrong_field(name, message, kind, of="query")


def _is_list(kind: Any) -> bool:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_origin(plain) is tuple


def _parts(values: Iterable[str]) -> list[str]:
    """The parts between commas of all values, without empty ones."""
    parts = (part.strip() for value in values for part in value.split(","))
    return [part for part in parts if part]


def _fault(text: object, kind: Any) -> str | None:
    """Why ``text`` is no value of this type; None if it is one."""
    try:
        msgspec.convert(text, kind, strict=False, dec_hook=_time)
    except msgspec.ValidationError as error:
        return str(error)
    return None


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
