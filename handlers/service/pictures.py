"""Pictures that a request brings along or points at, as bytes."""

import asyncio
from typing import Final
from urllib.parse import SplitResult, urlsplit

from aiohttp import web

from handlers.http.access import is_loopback
from handlers.http.base64_text import decode_base64
from handlers.http.errors import RequestRefused
from handlers.http.respond import base_url
from handlers.keys import CLIENT, INPUTS, OUTPUTS, SETTINGS
from pipeline.errors import InvalidParameter
from pipeline.request.images import Place
from storage.fetch import FetchFailed, FetchTooLarge, UrlRefused

_STORED: Final = ("/outputs/", "/inputs/")
_WEB: Final = ("http://", "https://")
_DATA: Final = "data:"


async def fetch_picture(request: web.Request, place: Place, value: str) -> bytes:
    """The bytes behind ``value``: a data URL, base64, an http(s) URL, or a path of this server.

    Whether they are a picture is not looked at. A URL of this server is read from disk, any other
    is fetched by the guarded client. Raises InvalidParameter, and RequestRefused: 404 for a
    picture that is not here, 413 for one that is too large to fetch.
    """
    if value in ("", "None"):
        raise InvalidParameter(place, "an image is required")
    path = own_path(request, place, value)
    if path is not None:
        return await asyncio.to_thread(_from_store, request, place, path)
    if value[:8].lower().startswith(_WEB):
        return await _from_web(request, place, value)
    return await asyncio.to_thread(_from_text, place, value)


def own_path(request: web.Request, place: Place, value: str) -> str | None:
    """The path of a picture that lies on this server; None if ``value`` points elsewhere.

    Raises InvalidParameter for a URL that is none.
    """
    if value.startswith(_STORED):
        return value.partition("?")[0]
    if not value[:8].lower().startswith(_WEB):
        return None
    try:
        asked, own = urlsplit(value), urlsplit(base_url(request))
        here = urlsplit(f"{request.scheme}://{request.host}")
        if _same_server(asked, own):
            return asked.path.removeprefix(own.path)
        return asked.path if _same_server(asked, here) else None
    except ValueError:  # such as a port that is no number
        raise InvalidParameter(place, "Expected a whole URL") from None


async def _from_web(request: web.Request, place: Place, url: str) -> bytes:
    limit = request.app[SETTINGS].body_limit_bytes
    try:
        return await request.app[CLIENT].fetch_bytes(url, limit)
    except FetchTooLarge as error:
        raise RequestRefused(413, FetchTooLarge.code, f"{place_name(place)}: {error}") from error
    except (UrlRefused, FetchFailed) as error:
        raise InvalidParameter(place, str(error)) from error


def _from_text(place: Place, value: str) -> bytes:
    """A data URL or base64: megabytes, so not on the loop."""
    content = value
    if value[:8].lower().startswith(_DATA):
        head, _, content = value.partition(",")
        if not head.lower().endswith(";base64"):
            raise InvalidParameter(place, "Expected data:image/…;base64,… in a data URL")
    try:
        return decode_base64(content)
    except ValueError:
        message = "Expected a data URL, base64, a URL, or a path of this server's pictures"
        raise InvalidParameter(place, message) from None


def _from_store(request: web.Request, place: Place, path: str) -> bytes:
    match path.split("/"):
        case ["", "outputs", date, file]:
            found = request.app[OUTPUTS].resolve(date, file)
        case ["", "inputs", file]:
            found = request.app[INPUTS].resolve(file)
        case _:
            found = None
    if found is None:
        raise RequestRefused(
            404, "not_found", f"{place_name(place)}: there is no such picture here"
        )
    return found.read_bytes()


def _same_server(one: SplitResult, other: SplitResult) -> bool:
    """Same host and port. All of loopback's names are one host."""
    hosts = [(url.hostname or "").rstrip(".") for url in (one, other)]
    same_host = hosts[0] == hosts[1] or all(map(is_loopback, hosts))
    return same_host and _port(one) == _port(other)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def place_name(place: Place) -> str:
    """``controlnet_image[0].cn_img``, as a person would write it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return "".join(parts).removeprefix(".")
