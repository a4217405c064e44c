"""The one HTTP client for addresses that strangers name: image URLs and webhooks."""

import asyncio
import re
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver
from yarl import URL

from pipeline.errors import PipelineError
from storage.addresses import is_loopback, is_public

_REDIRECTS: Final = 5
_REDIRECT_STATUS: Final = frozenset({301, 302, 303, 307, 308})
_HOST: Final = re.compile(r"[^\s/\\?#@]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CHUNK_BYTES: Final = 64 * 1024


class UrlRefused(PipelineError):
    """The URL leads where this server does not go, or is none."""

    code = "url_refused"


class FetchFailed(PipelineError):
    """The other server could not be reached, was too slow, or sent what cannot be used."""

    code = "fetch_failed"


class FetchTooLarge(FetchFailed):
    """The other server sends more than is taken."""

    code = "fetch_too_large"


class Posted(msgspec.Struct, frozen=True):
    """The answer to a post: its status, and the seconds that Retry-After asks for."""

    status: int
    retry_after_s: float = 0.0


class GuardedClient:
    """Fetches and posts within bounds of place, size and time. Event loop only; open for a block.

    The place is checked on every address at the moment its socket is made, so neither a literal
    address, nor a redirect, nor a name that changes its answer gets around it. ``seconds`` bounds
    each fetch or post as a whole.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        seconds: float = 20.0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._open_socket = _open_socket if allow_private else _open_public_socket
        self._seconds = seconds
        self._resolver = resolver

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            socket_factory=self._open_socket,
            happy_eyeballs_delay=None,  # in turn, in this task: the first one refused ends it
            use_dns_cache=False,
            force_close=True,  # no connection outlives the check that let it through
            resolver=self._resolver,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The bytes as they come: nothing is unpacked, so nothing can swell past the limit.
            headers={"Accept-Encoding": "identity", "User-Agent": "Focal"},
            auto_decompress=False,
            trust_env=False,  # a proxy would make the connection out of our sight
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def fetch_bytes(self, url: str, limit_bytes: int) -> bytes:
        """The body of ``url``, redirects followed. Raises UrlRefused or FetchFailed."""
        target = checked_url(url)
        try:
            # One clock over all redirects and the whole body: a trickle does not reset it.
            async with asyncio.timeout(self._seconds):
                for _ in range(_REDIRECTS + 1):
                    answer = await self._get(target, limit_bytes)
                    if isinstance(answer, bytes):
                        return answer
                    target = answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _failure(target, error) from error
        raise FetchFailed(f"{_shown(target)} redirects more than {_REDIRECTS} times")

    def check(self, url: str) -> None:
        """Raise UrlRefused for a URL that this client would not follow, as far as it says itself.

        Names are looked up when the connection is made, and their addresses checked then.
        """
        host = checked_url(url).host or ""
        if self._allow_private:
            return
        try:
            is_allowed = is_public(host)
        except ValueError:  # a name
            is_allowed = not is_loopback(host.rstrip("."))
        if not is_allowed:
            raise _private()

    async def post_json(self, url: str, body: bytes, headers: Mapping[str, str]) -> Posted:
        """Post; the answer's body is not read and no redirect is followed.

        Raises UrlRefused or FetchFailed.
        """
        target = checked_url(url)
        sent = {**headers, "Content-Type": "application/json"}
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._session.post(
                    target, data=body, headers=sent, allow_redirects=False
                ) as response,
            ):
                wait = _retry_after_s(response.headers.get("Retry-After", ""))
                return Posted(response.status, wait)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _failure(target, error) from error

    async def _get(self, target: URL, limit_bytes: int) -> bytes | URL:
        async with self._session.get(target, allow_redirects=False) as response:
            if response.status in _REDIRECT_STATUS and "Location" in response.headers:
                return checked_url(str(target.join(URL(response.headers["Location"]))))
            if response.status != 200:
                raise FetchFailed(f"{_shown(target)} answered with status {response.status}")
            if (response.content_length or 0) > limit_bytes:
                raise _too_large(target, limit_bytes)
            received = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                received += chunk
                if len(received) > limit_bytes:
                    raise _too_large(target, limit_bytes)
            return bytes(received)


def checked_url(url: str) -> URL:
    """Parse an absolute http or https URL. Raises UrlRefused."""
    try:
        parsed = URL(url)
        usable = (
            parsed.scheme in ("http", "https")
            and _HOST.fullmatch(parsed.host or "") is not None
            and parsed.port != 0
            and _CONTROL.search(url) is None  # the parser takes some of them out
        )
    except ValueError:
        usable = False
    if not usable:
        raise UrlRefused("only complete http:// and https:// URLs can be used here")
    return parsed


def _open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    return socket.socket(family, kind, protocol)


def _open_public_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    # UrlRefused is no OSError: it passes the connector's own retries and reaches the caller.
    if not is_public(str(info[4][0])):
        raise _private()
    return _open_socket(info)


def _private() -> UrlRefused:
    return UrlRefused(
        "the URL leads to a private, local or reserved address; "
        "the server's operator may allow these with --allow-private-urls"
    )


def _retry_after_s(value: str) -> float:
    """Seconds from now, from either form of the header; 0 for none."""
    if value.strip().isdecimal():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _too_large(target: URL, limit_bytes: int) -> FetchTooLarge:
    return FetchTooLarge(f"{_shown(target)} is larger than {limit_bytes} bytes")


def _failure(target: URL, error: Exception) -> FetchFailed:
    if isinstance(error, TimeoutError):
        return FetchFailed(f"{_shown(target)} took too long")
    return FetchFailed(f"{_shown(target)} could not be reached ({type(error).__name__})")


def _shown(url: URL) -> str:
    """The URL as messages and logs may show it: passwords and tokens left out."""
    return str(url.with_user(None).with_query(None).with_fragment(None))
