"""The images that a request carries or points at: read, checked, and named for storing.

Nothing is written here, so a request that is refused later leaves no file.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from handlers.service.base64_text import decode_base64
from handlers.service.decoding import COPIES, Decoding
from handlers.service.errors import NotFound
from pipeline.errors import InvalidParameter
from pipeline.images.mask_check import check_mask
from pipeline.images.read import ImageTooLarge, UnreadableImage, check_readable, look_at
from pipeline.request.images import FieldPath, image_fields, with_images
from pipeline.request.schema import GenerateParams
from storage.addresses import is_loopback
from storage.fetch import FetchFailed, FetchTooLarge, GuardedClient, UrlRefused
from storage.inputs import InputStore
from storage.outputs import OutputStore

MAX_SHAPE: Final = 16  # longer side to shorter one
UPLOAD: Final = "upload:"  # stands in an image field whose bytes are in ``RequestImages.uploads``
_STORED: Final = ("/outputs/", "/inputs/")
_WEB: Final = ("http://", "https://")
_DATA: Final = "data:"


class RequestImages(msgspec.Struct, frozen=True, kw_only=True):
    """Where the values of a request's image fields are looked up.

    ``own_urls`` are the prefixes of this server's URLs as the client may write them; ``uploads``
    are files that came beside the request, by field.
    """

    own_urls: tuple[str, ...] = ()
    uploads: Mapping[FieldPath, bytes] = {}

    def applied_to(self, params: GenerateParams) -> GenerateParams:
        """The parameters with ``UPLOAD`` in the fields of the uploads."""
        return with_images(params, dict.fromkeys(self.uploads, UPLOAD)) if self.uploads else params


class NewInput(msgspec.Struct, frozen=True):
    """An image to store: ``/inputs/<sha256 of data>.<extension>``."""

    data: bytes
    extension: str


class ResolvedImages(msgspec.Struct, frozen=True):
    """Parameters whose image fields hold paths below ``/inputs/``, and the files to store there."""

    params: GenerateParams
    new: tuple[NewInput, ...] = ()


class StoredImage(msgspec.Struct, frozen=True):
    """An image below ``/inputs/``: path, size in pixels, format."""

    path: str
    width: int
    height: int
    format: str


class _Found(msgspec.Struct, frozen=True):
    """An image's bytes and its path below ``/inputs/``, where it lies or will lie."""

    data: bytes
    extension: str
    path: str
    is_new: bool


class ImageReader:
    """Reads images from data URLs, base64, other servers, this server's folders and uploads.

    Event loop only; decoding and files are left to threads.
    """

    def __init__(
        self,
        client: GuardedClient,
        inputs: InputStore,
        outputs: OutputStore,
        decoding: Decoding,
        fetch_limit_bytes: int,
    ) -> None:
        self._client = client
        self._inputs = inputs
        self._outputs = outputs
        self._decoding = decoding
        self._fetch_limit_bytes = fetch_limit_bytes

    async def resolve(self, params: GenerateParams, images: RequestImages) -> ResolvedImages:
        """Read every image of a request, those of other servers concurrently.

        Raises InvalidParameter, NotFound, FetchTooLarge, UnreadableImage and ImageTooLarge, with
        the field in their messages.
        """
        fields = list(image_fields(params))
        if not fields:
            return ResolvedImages(params)
        found = await asyncio.gather(*(self._find(*field, images) for field in fields))
        by_field = dict(zip((field for field, _ in fields), found, strict=True))
        await self._check_mask(params, by_field)
        new = {each.path: NewInput(each.data, each.extension) for each in found if each.is_new}
        paths = {field: each.path for field, each in by_field.items()}
        return ResolvedImages(with_images(params, paths), tuple(new.values()))

    async def read(self, field: FieldPath, value: str, images: RequestImages) -> bytes:
        """The bytes behind an image field's value, whether or not they are an image.

        A URL of this server is read from disk, any other is fetched by the guarded client. Raises
        InvalidParameter, NotFound, FetchTooLarge.
        """
        if value in ("", "None"):
            raise InvalidParameter(field, "an image is required")
        if value == UPLOAD and field in images.uploads:
            return images.uploads[field]
        path = _own_path(field, value, images.own_urls)
        if path is not None:
            return await asyncio.to_thread(self._from_store, field, path)
        if value[:8].lower().startswith(_WEB):
            return await self._from_web(field, value)
        return await self._decoding.run(partial(_from_text, field, value))

    async def read_image(self, field: FieldPath, value: str, images: RequestImages) -> bytes:
        """``read``, and check that the bytes are an image. Raises UnreadableImage as well."""
        data = await self.read(field, value, images)
        await self._decoding.run(partial(check_readable, data), data)
        return data

    async def store(self, field: FieldPath, data: bytes) -> StoredImage:
        """Store the bytes under their hash if they are an image that a request may name.

        Raises InvalidParameter, UnreadableImage, ImageTooLarge, SavingFailed.
        """
        facts = await self._decoding.run(partial(look_at, data), data)
        _check_shape(field, facts.width, facts.height)
        path = await asyncio.to_thread(self._keep, data, facts.format)
        return StoredImage(path, facts.width, facts.height, facts.format)

    def _keep(self, data: bytes, extension: str) -> str:
        self._outputs.check_room()
        return self._inputs.store(data, extension)

    async def _find(self, field: FieldPath, value: str, images: RequestImages) -> _Found:
        data = await self.read(field, value, images)
        try:
            facts = await self._decoding.run(partial(look_at, data), data)
        except (UnreadableImage, ImageTooLarge) as error:
            raise type(error)(f"{field_name(field)}: {error}") from error
        _check_shape(field, facts.width, facts.height)
        path = _own_path(field, value, images.own_urls)
        if path is not None and path.startswith("/inputs/"):
            return _Found(data, facts.format, path, is_new=False)
        name = await self._decoding.run(lambda: hashlib.sha256(data).hexdigest())
        return _Found(data, facts.format, f"/inputs/{name}.{facts.format}", is_new=True)

    async def _check_mask(self, params: GenerateParams, found: Mapping[FieldPath, _Found]) -> None:
        picture = found.get(("inpaint_input_image",))
        mask = found.get(("inpaint_mask_image_upload",))
        if picture is not None and mask is not None:
            invert = params.invert_mask_checkbox
            check = partial(check_mask, picture.data, mask.data, invert=invert)
            await self._decoding.run(check, picture.data, mask.data, copies=COPIES)

    async def _from_web(self, field: FieldPath, url: str) -> bytes:
        try:
            return await self._client.fetch_bytes(url, self._fetch_limit_bytes)
        except FetchTooLarge as error:
            raise FetchTooLarge(f"{field_name(field)}: {error}") from error
        except (UrlRefused, FetchFailed) as error:
            raise InvalidParameter(field, str(error)) from error

    def _from_store(self, field: FieldPath, path: str) -> bytes:
        match path.split("/"):
            case ["", "outputs", date, file]:
                found = self._outputs.resolve(date, file)
            case ["", "inputs", file]:
                found = self._inputs.resolve(file)
            case _:
                found = None
        if found is None:
            raise NotFound(f"{field_name(field)}: there is no such picture here")
        return found.read_bytes()


def field_name(field: FieldPath) -> str:
    """A field's path as a person would write it: ``controlnet_image[0].cn_img``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in field)
    return "".join(parts).removeprefix(".")


def _own_path(field: FieldPath, value: str, own_urls: tuple[str, ...]) -> str | None:
    """The path on this server that ``value`` names; None if it names none.

    Raises InvalidParameter for a malformed URL.
    """
    if value.startswith(_STORED):
        return value.partition("?")[0]
    if not value[:8].lower().startswith(_WEB):
        return None
    try:
        url = urlsplit(value)
        for own in map(urlsplit, own_urls):
            if _same_server(url, own):
                return url.path.removeprefix(own.path)
    except ValueError:  # such as a port that is no number
        raise InvalidParameter(field, "Expected a whole URL") from None
    return None


def _from_text(field: FieldPath, value: str) -> bytes:
    """Decode a data URL or base64. Takes a while for megabytes: not for the event loop."""
    content = value
    if value[:8].lower().startswith(_DATA):
        head, _, content = value.partition(",")
        if not head.lower().endswith(";base64"):
            raise InvalidParameter(field, "Expected data:image/…;base64,… in a data URL")
    try:
        return decode_base64(content)
    except ValueError:
        message = "Expected a data URL, base64, a URL, or a path of this server's pictures"
        raise InvalidParameter(field, message) from None


def _check_shape(field: FieldPath, width: int, height: int) -> None:
    """Refuse strips: scaled to the model's pixel count their short side vanishes, and covering a
    square with one takes gigabytes.
    """
    if max(width, height) > MAX_SHAPE * min(width, height):
        message = (
            f"the picture is {width}x{height}; a side may be at most {MAX_SHAPE} times the other"
        )
        raise InvalidParameter(field, message)


def _same_server(one: SplitResult, other: SplitResult) -> bool:
    """Same host and port; all loopback names are one host."""
    hosts = [(url.hostname or "").rstrip(".") for url in (one, other)]
    same_host = hosts[0] == hosts[1] or all(map(is_loopback, hosts))
    return same_host and _port(one) == _port(other)


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
