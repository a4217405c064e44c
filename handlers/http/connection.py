"""One client's connection: its state, and the replies that aiohttp gives before any middleware."""

import logging
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_request import BaseRequest

from handlers.http.errors import error_body, refusal_of_http
from handlers.http.refusal import RequestRefused

log = logging.getLogger(__name__)

_SHOWN_CHARS: Final = 200


class Connection(web.RequestHandler):
    """aiohttp's protocol with errors as JSON, and with what tells idle connections apart."""

    __slots__ = ("address", "idle_since")

    address: str
    """The client's IP address; set with the connection."""
    idle_since: float
    """The event loop's time at which it began to wait for a request."""

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered. A request that is not whole yet does not count."""
        return not self._request_in_progress and not self._messages

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the reply. Exceptions as replies come from before the middlewares, such as 417."""
        if isinstance(resp, web.HTTPException) and resp.status >= HTTPStatus.BAD_REQUEST:
            resp = error_body(refusal_of_http(resp))
        finished = await super().finish_response(request, resp, start_time)
        self.idle_since = self._loop.time()
        return finished

    def log_exception(self, *args: Any, **named: Any) -> None:
        """A line for a damaged body that nobody reads any more; all else as aiohttp does."""
        error = named.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            log.info("a damaged body from %s: %s", self.address, str(error).split("\n")[-1].strip())
        else:
            super().log_exception(*args, **named)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The reply to what is no HTTP request (400), or to an exception of aiohttp's own (500).

        Raises ConnectionError where a reply has been begun.
        """
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            detail = _first_line(message or "")
            log.info("a malformed request from %s: %s", request.remote, detail)
            refusal = RequestRefused(status, "bad_request", detail)
        else:
            log.error("a request from %s", request.remote, exc_info=exc)
            refusal = RequestRefused(500, "internal", "an internal error; see the server log")
        if request.writer.output_size > 0:
            raise ConnectionError("a reply was begun already")
        reply = error_body(refusal)
        reply.headers["X-Content-Type-Options"] = "nosniff"
        reply.force_close()
        return reply


def _first_line(message: str) -> str:
    """The parser's message without the excerpt below it, as printable text."""
    line = message.strip().partition("\n")[0].partition(": b")[0].rstrip(":")
    line = line or "the request cannot be read"
    return "".join(c if c.isprintable() else "?" for c in line)[:_SHOWN_CHARS]
