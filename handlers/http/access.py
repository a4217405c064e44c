"""Access rules: the API key, sessions and tokens, and the accepted origins and hosts."""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import urlsplit

from aiohttp import web
from itsdangerous import BadSignature, TimestampSigner

from handlers.http.key_ring import KeyRing, load_keys
from handlers.http.wrong_keys import WrongKeys
from storage.addresses import is_loopback

KEY_NAME: Final = web.RequestKey("key_name", str)  # of the key that the request came with
GrantKind = Literal["session", "token"]

KEY_HEADER: Final = "X-API-KEY"
SECONDS: Final[Mapping[GrantKind, int]] = {"session": 7 * 24 * 3600, "token": 300}
_HOSTS_KEPT: Final = 64
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]@:]+)(:\d{0,5})?")


class AccessPolicy:
    """The rules of access. Immutable after construction, so any thread may ask.

    Sessions and tokens are signed with a secret drawn here, so a restart ends them, and a stolen
    one reveals nothing of the key. ``loopback_only`` is true while the server listens on loopback
    addresses only; ``clock`` gives Unix seconds. Raises ValueError for a malformed origin.
    """

    def __init__(
        self,
        api_key: str = "",
        allowed_origins: Iterable[str] = (),
        *,
        loopback_only: bool = True,
        base_url: str = "",
        clock: Callable[[], float] = time.time,
        keys: KeyRing | None = None,
    ) -> None:
        self.keys = KeyRing(load_keys(api_key, "")) if keys is None else keys
        self.wrong_keys = WrongKeys()
        self._revoked: dict[str, float] = {}  # sessions that were ended, until they expire
        self._clock = clock
        secret = secrets.token_bytes(32)
        self._signers = {kind: _Signer(secret, kind, clock) for kind in SECONDS}
        self._loopback_only = loopback_only
        self._origins = frozenset(_parse_origin(origin) for origin in allowed_origins)
        named = set(self._origins) | ({_parse_origin(_origin_of(base_url))} if base_url else set())
        self._hosts = frozenset(host for _, host, _ in named)
        self._own_origins = named
        # Each request asks, nearly always for the same few; the answer never changes.
        self._host_is_named = lru_cache(_HOSTS_KEPT)(self._names_this_server)

    @property
    def wants_key(self) -> bool:
        """Was the server started with an API key?"""
        return bool(self.keys)

    @property
    def is_exposed(self) -> bool:
        """Can other machines reach the server, and need no key?"""
        return not self._loopback_only and not self.wants_key

    def grant(self, kind: GrantKind, key: str = "") -> tuple[str, int]:
        """Sign a session or token for a key's name; it and the Unix second at which it expires."""
        signer = self._signers[kind]
        value = signer.sign(f"{secrets.token_urlsafe(9)}:{key}").decode()
        return value, signer.get_timestamp() + SECONDS[kind]

    def grantee(self, kind: GrantKind, value: str) -> str | None:
        """The key's name that this was signed for; None if not here, not for this, or ended."""
        number, _, name = self._signed(kind, value).partition(":")
        return name if number and number not in self._revoked else None

    def revoke(self, session: str) -> None:
        """End a session before it expires; no change for what is none."""
        # By its number: some changes of a signature's last letter leave it valid.
        number = self._signed("session", session).partition(":")[0]
        if number:
            now = self._clock()
            self._revoked = {each: end for each, end in self._revoked.items() if end > now}
            self._revoked[number] = now + SECONDS["session"]

    def _signed(self, kind: GrantKind, value: str) -> str:
        """The signed text, "" if it is not valid."""
        offered = value.encode("utf-8", "surrogateescape")
        try:
            return self._signers[kind].unsign(offered, max_age=SECONDS[kind] - 1).decode()
        except BadSignature:  # its subclass SignatureExpired included
            return ""

    def origin_is_listed(self, origin: str) -> bool:
        """Did the start option name this origin?"""
        try:
            return _parse_origin(origin) in self._origins
        except ValueError:
            return False

    def origin_is_own(self, origin: str, host: str) -> bool:
        """Does this origin name this server?

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
        """Against DNS rebinding: on loopback, only loopback's own names and configured ones."""
        return not self._loopback_only or self._host_is_named(host)

    def _names_this_server(self, host: str) -> bool:
        try:
            _, name, _ = _parse_origin(f"http://{host}")
        except ValueError:
            return False
        return name in self._hosts or is_loopback(name)


ACCESS: Final = web.AppKey("access", AccessPolicy)


class _Signer(TimestampSigner):
    """Signs with HMAC-SHA256, a key for each kind, and the time of a given clock."""

    def __init__(self, secret: bytes, kind: GrantKind, clock: Callable[[], float]) -> None:
        super().__init__(secret, salt=kind, digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return int(self._clock())


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _parse_origin(origin: str) -> tuple[str, str, int]:
    """Scheme, lower-case host and port. Raises ValueError unless it is exactly an origin."""
    parts = urlsplit(origin.removesuffix("/"))
    # urlsplit takes the host from between brackets, whatever stands behind them.
    if parts.scheme not in _DEFAULT_PORTS or not _AUTHORITY.fullmatch(parts.netloc):
        raise ValueError(f"{origin!r} is not an origin; write it like https://example.org:8443")
    if parts.path or parts.query or parts.fragment:
        raise ValueError(f"{origin!r} is not an origin; leave out everything after the port")
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, (parts.hostname or "").lower().rstrip("."), port
