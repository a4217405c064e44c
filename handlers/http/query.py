"""Values of a query string, checked. A wrong one is refused with 422 that names it."""

import re
from collections.abc import Mapping

from handlers.http.errors import FieldError, RequestRefused
from pipeline.errors import InvalidParameter


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


def wrong_query(name: str, message: str) -> RequestRefused:
    """422 for a query parameter, to be raised."""
    fault = FieldError(loc=("query", name), msg=message, type="value_error")
    return RequestRefused(422, InvalidParameter.code, [fault])
