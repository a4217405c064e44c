"""A generate request's pictures: read, checked, and named as they will be stored.

Nothing is written here, so a request that is refused later leaves no file.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from handlers.keys import DECODING
from handlers.service.pictures import fetch_picture, own_path, place_name
from pipeline.errors import InvalidParameter
from pipeline.images.encode import ImageTooLarge, UnreadableImage, look_at
from pipeline.images.mask_check import check_mask
from pipeline.request.images import Place, image_places, with_images
from pipeline.request.schema import GenerateParams

MAX_SHAPE: Final = 16  # longer side to shorter one


class NewInput(msgspec.Struct, frozen=True):
    """A picture to store: ``/inputs/<sha256 of data>.<extension>``."""

    data: bytes
    extension: str


class Brought(msgspec.Struct, frozen=True):
    """A request whose picture fields hold paths below ``/inputs/``, and what is to be put there."""

    params: GenerateParams
    images: tuple[NewInput, ...]


async def bring_images(request: web.Request, params: GenerateParams) -> Brought:
    """Read every picture of the request at once, those of other servers too.

    Raises InvalidParameter, RequestRefused, UnreadableImage (naming the field), ImageTooLarge.
    """
    places = list(image_places(params))
    if not places:
        return Brought(params, ())
    found = await asyncio.gather(*(_bring(request, place, value) for place, value in places))
    by_place = dict(zip((place for place, _ in places), found, strict=True))
    await _check_mask(params, by_place)
    new = {each.path: NewInput(each.data, each.extension) for each in found if each.is_new}
    paths = {place: each.path for place, each in by_place.items()}
    return Brought(with_images(params, paths), tuple(new.values()))


class _Found(msgspec.Struct, frozen=True):
    """A picture's bytes, and its path below ``/inputs/``, where it lies or will lie."""

    data: bytes
    extension: str
    path: str
    is_new: bool


async def _bring(request: web.Request, place: Place, value: str) -> _Found:
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
