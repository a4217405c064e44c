"""Who may ask: the API key, signed grants, and the origins and hosts let in. Knows no request."""

import base64
import hmac
import secrets
import time
from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import urlsplit

from storage.addresses import is_loopback

Grant = Literal["session", "token"]

SESSION_SECONDS: Final = 7 * 24 * 3600
TOKEN_SECONDS: Final = 300
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class AccessPolicy:
    """The server's rules of entry. Immutable after construction, so any thread may ask.

    Sessions and tokens are signed with a secret drawn here: a restart ends them, and a
    stolen one says nothing about the key. ``loopback_only`` is true while the server
    listens on loopback addresses only. Raises ValueError for an origin that is none.
    """

    def __init__(
        self,
        api_key: str = "",
        allowed_origins: Iterable[str] = (),
        *,
        loopback_only: bool = True,
        base_url: str = "",
    ) -> None:
        self._key = api_key.encode()
        self._secret = secrets.token_bytes(32)
        self._loopback_only = loopback_only
        self._origins = frozenset(_parse_origin(origin) for origin in allowed_origins)
        named = set(self._origins) | ({_parse_origin(_origin_of(base_url))} if base_url else set())
        self._hosts = frozenset(host for _, host, _ in named)
        self._own_origins = named

    @property
    def wants_key(self) -> bool:
        """Was the server started with an API key?"""
        return bool(self._key)

    def key_matches(self, offered: str) -> bool:
        """Compare in constant time. True as well where no key is wanted."""
        if not self._key:
            return True
        return hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), self._key)

    def grant(self, kind: Grant, seconds: int) -> tuple[str, int]:
        """Sign a session or token; returns it and the Unix second at which it ends."""
        expires = int(time.time()) + seconds
        return f"{expires}.{self._sign(kind, expires)}", expires

    def grant_is_valid(self, kind: Grant, value: str) -> bool:
        """Was this signed here, for this use, and is it not over yet?"""
        expires, _, signature = value.partition(".")
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        wanted = self._sign(kind, int(expires)).encode()
        offered = signature.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(offered, wanted) and time.time() < int(expires)

    def origin_is_listed(self, origin: str) -> bool:
        """Did the start option name this origin?"""
        try:
            return _parse_origin(origin) in self._origins
        except ValueError:
            return False

    def origin_is_own(self, origin: str, host: str) -> bool:
        """Is a page of this origin one that this server sent?

        ``host`` is the request's Host header. Schemes are not compared: a proxy that ends
        TLS leaves https in the one and http in the other.
        """
        try:
            scheme, name, port = _parse_origin(origin)
            if (scheme, name, port) in self._own_origins:
                return True
            _, host_name, host_port = _parse_origin(f"{scheme}://{host}")
        except ValueError:
            return False
        return (name, port) == (host_name, host_port)

    def host_is_accepted(self, host: str) -> bool:
        """Stops DNS rebinding: on loopback, only loopback's own names and configured ones."""
        if not self._loopback_only:
            return True
        try:
            _, name, _ = _parse_origin(f"http://{host}")
        except ValueError:
            return False
        return name in self._hosts or is_loopback(name)

    def _sign(self, kind: Grant, expires: int) -> str:
        digest = hmac.digest(self._secret, f"{kind}.{expires}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _parse_origin(origin: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and port. Raises ValueError unless it is exactly an origin."""
    parts = urlsplit(origin.removesuffix("/"))
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{origin!r} is no origin; write it like https://example.org:8443")
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"{origin!r} is no origin; leave out everything after the port")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, parts.hostname.lower().rstrip("."), port
