"""Values of a query string, checked. A wrong one is refused with 422 that names it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Final

from handlers.http.errors import FieldError, RequestRefused
from pipeline.errors import InvalidParameter

_LOST_PLUS: Final = re.compile(r" (\d{2}:?\d{2})$")  # "+08:00" decoded as " 08:00"


def whole_number(
    query: Mapping[str, str], name: str, *, bounds: tuple[int, int], default: int | None = None
) -> int:
    """A whole number within ``bounds``; required where there is no default."""
    text = query.get(name)
    if text is None and default is not None:
        return default
    low, high = bounds
    if text is None or not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
        raise wrong_query(name, f"Expected a whole number from {low} to {high}")
    return int(text)


def switch(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """``1``/``true`` or ``0``/``false``."""
    text = query.get(name)
    if text is None:
        return default
    if text.lower() not in ("1", "true", "0", "false"):
        raise wrong_query(name, "Expected 1 or 0")
    return text.lower() in ("1", "true")


def text_value(query: Mapping[str, str], name: str, limit: int) -> str:
    """A text of at most ``limit`` characters, "" where it is left out."""
    text = query.get(name, "")
    if len(text) > limit:
        raise wrong_query(name, f"Expected at most {limit} characters")
    return text


def read_range(query: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``start_at`` and ``end_at`` in Unix milliseconds."""
    return _moment(query, "start_at"), _moment(query, "end_at")


def wrong_query(name: str, message: str) -> RequestRefused:
    """422 for a query parameter, to be raised."""
    fault = FieldError(loc=("query", name), msg=message, type="value_error")
    return RequestRefused(422, InvalidParameter.code, [fault])


def _moment(query: Mapping[str, str], name: str) -> int | None:
    """Unix milliseconds of an ISO 8601 time, local where it names no zone.

    A date alone begins its day as ``start_at`` and ends it as ``end_at``.
    """
    text = _LOST_PLUS.sub(r"+\1", query.get(name, "").strip())
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if len(text) <= len("2024-07-03") and name == "end_at":
            moment = datetime.combine(moment, time.max)
        return int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise wrong_query(name, "Expected a time such as 2024-07-03T12:22:30") from None
