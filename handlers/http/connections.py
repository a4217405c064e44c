"""How many connections there may be, so that clients never take the descriptors of the tasks."""

import logging
import resource
from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec
from aiohttp import web

from handlers.http.connection import Connection
from handlers.http.refusal import ErrorBody

log = logging.getLogger(__name__)

BACKLOG: Final = 128  # accepted at once, before any of them is seen here
OWN_FILES: Final = 64  # databases, images, model files, webhooks
KEEPALIVE_S: Final = 75.0  # above the 60 s after which proxies close theirs
_WARN_EVERY_S: Final = 60.0
_BUSY: Final = msgspec.json.encode(ErrorBody("every connection is in use", "too_many_connections"))
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(_BUSY)
) + _BUSY


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """``total``: of all connections. The other limits count those idle for ``grace_s`` seconds."""

    total: int = 4096
    idle: int = 1024
    idle_per_address: int = 128
    grace_s: float = 5.0

    @classmethod
    def of_descriptors(cls, descriptors: int) -> Self:
        """The limits of a process that may have so many descriptors open."""
        default = cls()
        total = max(16, min(default.total, descriptors - BACKLOG - OWN_FILES))
        return cls(total=total)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one; the limit then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):  # macOS takes no "unlimited" here
        return soft
    return hard if hard != resource.RLIM_INFINITY else 2**20


class Connections(web.Server):
    """aiohttp's server with limits: where one is reached, the longest idle connection is closed.

    Of several addresses the one with most connections gives way. With none idle, the newest
    connection is refused.
    """

    def __init__(self, server: web.Server, limits: ConnectionLimits, **options: Any) -> None:
        """Takes the place of ``server``; ``options`` are those of its connections."""
        super().__init__(server.request_handler, request_factory=server.request_factory, **options)
        self._limits = limits
        self._options = options
        self._by_address: dict[str, dict[Connection, None]] = {}
        self._count = 0
        self._warn_at = 0.0

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: Any) -> None:
        """Count it, and close one if that is too many."""
        super().connection_made(handler, transport)
        if not isinstance(handler, Connection):
            raise TypeError(handler)
        peer = transport.get_extra_info("peername")
        handler.address = str(peer[0]) if peer else ""
        handler.idle_since = self._loop.time()
        self._by_address.setdefault(handler.address, {})[handler] = None
        self._count += 1
        self._make_room(handler, transport)

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Count it no more."""
        super().connection_lost(handler, exc)
        if isinstance(handler, Connection):
            self._forget(handler)

    def _forget(self, connection: Connection) -> None:
        held = self._by_address.get(connection.address, {})
        if connection in held:
            del held[connection]
            self._count -= 1
            if not held:
                del self._by_address[connection.address]

    def _make_room(self, newest: Connection, transport: Any) -> None:
        limits = self._limits
        of_address = self._by_address[newest.address]
        if len(of_address) > limits.idle_per_address:
            self._close_surplus(of_address, limits.idle_per_address)
        if self._count > limits.idle:
            self._close_surplus(self._all(), limits.idle)
        if self._count > limits.total and not self._close_one(newest):
            self._warn(newest.address)
            transport.write(_REFUSAL)
            self._close(newest)

    def _close_surplus(self, connections: Iterable[Connection], limit: int) -> None:
        """Close the longest idle one if more than ``limit`` are idle beyond the grace period."""
        latest = self._loop.time() - self._limits.grace_s
        idle = [each for each in connections if each.is_idle and each.idle_since <= latest]
        if len(idle) > limit:
            self._close(min(idle, key=_idle_since))

    def _close_one(self, newest: Connection) -> bool:
        """Close an idle connection other than ``newest``. False if there is none."""
        for held in sorted(self._by_address.values(), key=len, reverse=True):
            idle = [each for each in held if each.is_idle and each is not newest]
            if idle:
                self._close(min(idle, key=_idle_since))
                return True
        return False

    def _close(self, connection: Connection) -> None:
        self._forget(connection)
        connection.force_close()

    def _all(self) -> Iterable[Connection]:
        return (each for held in self._by_address.values() for each in held)

    def _warn(self, address: str) -> None:
        now = self._loop.time()
        if now >= self._warn_at:
            self._warn_at = now + _WARN_EVERY_S
            log.warning(
                "all %d connections are in use; one from %s is refused", self._count, address
            )


class Runner(web.AppRunner):
    """aiohttp's runner of an application, with ``Connections`` as its server."""

    __slots__ = ("_limits",)

    def __init__(
        self,
        app: web.Application,
        limits: ConnectionLimits | None = None,
        shutdown_timeout: float = 60.0,
    ) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._limits = limits or ConnectionLimits()

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        options = {"access_log": None, "keepalive_timeout": KEEPALIVE_S}
        return Connections(server, self._limits, **options)


def _idle_since(connection: Connection) -> float:
    return connection.idle_since
