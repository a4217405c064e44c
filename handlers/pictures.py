"""Pictures that a request brings along or points at, as bytes."""

import base64
import binascii
from typing import Final
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from handlers.access import is_loopback
from handlers.errors import RequestRefused
from handlers.keys import INPUTS, OUTPUTS
from handlers.respond import base_url
from pipeline.errors import InvalidParameter, UnsupportedFeature

_STORED: Final = ("/outputs/", "/inputs/")
_WEB: Final = ("http://", "https://")
_DATA: Final = "data:"


def read_picture(request: web.Request, field: str, value: str) -> bytes:
    """The bytes behind ``value``: a data URL, base64, or a path or URL of this server.

    Whether they are a picture is not looked at. Reads files and decodes megabytes: not on the
    loop. Raises InvalidParameter, UnsupportedFeature for another server's URL, and RequestRefused
    (404) for a picture that is not here.
    """
    if value in ("", "None"):
        raise InvalidParameter((field,), "an image is required")
    start = value[:8].lower()
    if start.startswith(_DATA):
        return _from_data_url(field, value)
    if start.startswith(_WEB):
        return _from_store(request, field, _own_path(request, field, value))
    if value.startswith(_STORED):
        return _from_store(request, field, value)
    return _from_base64(field, value)


def _from_data_url(field: str, value: str) -> bytes:
    head, _, content = value.partition(",")
    if not head.lower().endswith(";base64"):
        raise InvalidParameter((field,), "Expected data:image/…;base64,… in a data URL")
    return _from_base64(field, content)


def _from_base64(field: str, value: str) -> bytes:
    compact = "".join(value.split())
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        message = "Expected a data URL, base64, or a path or URL of this server's pictures"
        raise InvalidParameter((field,), message) from None


def _own_path(request: web.Request, field: str, value: str) -> str:
    """The path on this server of a URL of this server."""
    try:
        asked, own = urlsplit(value), urlsplit(base_url(request))
        here = urlsplit(f"{request.scheme}://{request.host}")
        if _same_server(asked, own):
            return asked.path.removeprefix(own.path)
        if _same_server(asked, here):
            return asked.path
    except ValueError:  # such as a port that is no number
        raise InvalidParameter((field,), "Expected a whole URL") from None
    what = "pictures of other servers are not fetched in this version; send the picture itself"
    raise UnsupportedFeature(field, f"{field}: {what}")


def _same_server(one: SplitResult, other: SplitResult) -> bool:
    """Same host and port. All of loopback's names are one host."""
    hosts = [(url.hostname or "").rstrip(".") for url in (one, other)]
    same_host = hosts[0] == hosts[1] or all(map(is_loopback, hosts))
    return same_host and _port(one) == _port(other)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _from_store(request: web.Request, field: str, path: str) -> bytes:
    match path.partition("?")[0].split("/"):
        case ["", "outputs", date, file]:
            found = request.app[OUTPUTS].resolve(date, file)
        case ["", "inputs", file]:
            found = request.app[INPUTS].resolve(file)
        case _:
            found = None
    if found is None:
        raise RequestRefused(404, "not_found", f"{field}: there is no such picture here")
    return found.read_bytes()
