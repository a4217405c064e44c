"""Which events a client of ``/v1/events`` or ``/ws`` receives, and from which one on."""

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from bus.events import EVENT_TYPES
from bus.subscription import EventFilter
from handlers.http.query import wrong_query

MAX_SEQ: Final = 2**63 - 1
TYPE_NAMES: Final = frozenset(kind.type for kind in EVENT_TYPES)

_TypeName = Annotated[str, Meta(extra_json_schema={"enum": [kind.type for kind in EVENT_TYPES]})]


class EventsQuery(msgspec.Struct, kw_only=True):
    """The query of both event streams."""

    types: Annotated[
        tuple[_TypeName, ...],
        Meta(description="Event types, repeated or with commas; all if left out."),
    ] = ()
    task_id: Annotated[str, Meta(description="Only this task's events.")] = ""
    since: (
        Annotated[int, Meta(ge=0, description="Replay the events after this number first.")] | None
    ) = None


def filter_of(query: EventsQuery) -> EventFilter:
    """The filter of a new subscription. Raises 422 for a type that does not exist."""
    types = frozenset(query.types)
    if unknown := unknown_types(types):
        raise wrong_query("types", unknown)
    return EventFilter(types=types or None, task_id=query.task_id or None)


def unknown_types(types: Iterable[str]) -> str:
    """What to say of the types that do not exist; "" if all do."""
    unknown = sorted(set(types) - TYPE_NAMES)
    if not unknown:
        return ""
    return f"unknown: {', '.join(unknown)[:200]}; there are: {', '.join(sorted(TYPE_NAMES))}"


def since_of(request: web.Request, query: EventsQuery) -> int | None:
    """The last event that the client has received, None to begin now.

    A reconnecting EventSource sends the header, which is newer than the query of its URL. A
    header that is no number is ignored: browsers resend whatever they were given.
    """
    text = request.headers.get("Last-Event-ID", "")
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_SEQ)):
        return int(text)
    return query.since
