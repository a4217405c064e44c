"""A refused request: what a handler raises, and the body that tells the client."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from aiohttp import web

from pipeline.errors import InvalidParameter

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Location = tuple[str | int, ...]


class FieldError(msgspec.Struct, frozen=True):
    """One wrong field: its location, what is wrong, and a name for the kind of error."""

    loc: Location
    msg: str
    type: str


class ErrorBody(msgspec.Struct, frozen=True):
    """The body of every refused or failed request. ``code`` is stable."""

    detail: str | list[FieldError]
    code: str


class RequestRefused(Exception):
    """A request that is not carried out: status, stable code, detail, and headers of the reply."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | list[FieldError],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers: Mapping[str, str] = headers or {}

    @property
    def text(self) -> str:
        """The detail as one line, for families whose errors have no list of fields."""
        if isinstance(self.detail, str):
            return self.detail
        return "; ".join(f"{_place(fault.loc)}: {fault.msg}" for fault in self.detail)


def renamed(faults: Iterable[FieldError], names: Mapping[str, str]) -> list[FieldError]:
    """The faults with our fields under the names that another API has for them."""
    return [
        msgspec.structs.replace(each, loc=tuple(names.get(str(part), part) for part in each.loc))
        for each in faults
    ]


def _place(loc: Location) -> str:
    """A field by its path below ``body`` or ``query``; that name itself for the whole of it."""
    return ".".join(map(str, loc[1:] or loc))


def wrong_field(
    name: str, message: str, kind: str = "value_error", *, of: str = "body"
) -> RequestRefused:
    """422 for one field of the body or, by ``of``, of the query; to be raised."""
    fault = FieldError(loc=(of, name), msg=message, type=kind)
    return RequestRefused(422, InvalidParameter.code, [fault])


ErrorBodyOf = Callable[[RequestRefused], web.Response]
"""An API family's own form of an error reply; the refusal's headers are added to it."""
