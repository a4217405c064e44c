"""The pictures that a request carries or points at: read, checked, and named for storing.

Nothing is written here, so a request that is refused later leaves no file.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from aiohttp import web

from handlers.http.refusal import RequestRefused
from handlers.http.respond import base_url
from handlers.keys import CLIENT, DECODING, INPUTS, OUTPUTS, SETTINGS
from handlers.service.base64_text import decode_base64
from pipeline.errors import InvalidParameter
from pipeline.images.encode import ImageTooLarge, UnreadableImage, look_at
from pipeline.images.mask_check import check_mask
from pipeline.request.images import Place, image_places, with_images
from pipeline.request.schema import GenerateParams
from storage.addresses import is_loopback
from storage.fetch import FetchFailed, FetchTooLarge, UrlRefused

MAX_SHAPE: Final = 16  # longer side to shorter one
_STORED: Final = ("/outputs/", "/inputs/")
_WEB: Final = ("http://", "https://")
_DATA: Final = "data:"


class NewInput(msgspec.Struct, frozen=True):
    """A picture to store: ``/inputs/<sha256 of data>.<extension>``."""

    data: bytes
    extension: str


class ResolvedImages(msgspec.Struct, frozen=True):
    """A request whose picture fields hold paths below ``/inputs/``, and what is to be put there."""

    params: GenerateParams
    images: tuple[NewInput, ...]


async def resolve_images(request: web.Request, params: GenerateParams) -> ResolvedImages:
    """Read every picture of the request at once, those of other servers too.

    Raises InvalidParameter, RequestRefused, UnreadableImage (naming the field), ImageTooLarge.
    """
    places = list(image_places(params))
    if not places:
        return ResolvedImages(params, ())
    found = await asyncio.gather(*(_read_image(request, place, value) for place, value in places))
    by_place = dict(zip((place for place, _ in places), found, strict=True))
    await _check_mask(params, by_place)
    new = {each.path: NewInput(each.data, each.extension) for each in found if each.is_new}
    paths = {place: each.path for place, each in by_place.items()}
    return ResolvedImages(with_images(params, paths), tuple(new.values()))


class _Found(msgspec.Struct, frozen=True):
    """A picture's bytes, and its path below ``/inputs/``, where it lies or will lie."""

    data: bytes
    extension: str
    path: str
    is_new: bool


async def _read_image(request: web.Request, place: Place, value: str) -> _Found:
    data = await fetch_picture(request, place, value)
    try:
        async with request.app[DECODING]:
            facts = await asyncio.to_thread(look_at, data)
    except (UnreadableImage, ImageTooLarge) as error:
        raise type(error)(f"{place_name(place)}: {error}") from error
    _check_shape(place, facts.width, facts.height)
    extension = facts.format
    path = own_path(request, place, value)
    if path is not None and path.startswith("/inputs/"):
        return _Found(data, extension, path, is_new=False)
    name = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
    return _Found(data, extension, f"/inputs/{name}.{extension}", is_new=True)


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


def _check_shape(place: Place, width: int, height: int) -> None:
    """A model is shown pictures at about its own number of pixels: of a strip nothing is left to
    work on, and one that is to cover a square takes gigabytes.
    """
    if max(width, height) > MAX_SHAPE * min(width, height):
        message = (
            f"the picture is {width}x{height}; a side may be at most {MAX_SHAPE} times the other"
        )
        raise InvalidParameter(place, message)


async def _check_mask(params: GenerateParams, found: Mapping[Place, _Found]) -> None:
    picture = found.get(("inpaint_input_image",))
    mask = found.get(("inpaint_mask_image_upload",))
    if picture is not None and mask is not None:
        invert = params.invert_mask_checkbox
        await asyncio.to_thread(check_mask, picture.data, mask.data, invert=invert)
