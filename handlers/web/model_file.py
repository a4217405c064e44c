"""GET /v1/models/file: a model file, for workers on machines that lack it."""

import asyncio
import stat
from pathlib import Path
from typing import Annotated, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import Meta

from handlers.http.operation import Operation, Payload
from handlers.http.ranges import FILE_ERRORS, StoredFile
from handlers.keys import CATALOG, HASHES
from handlers.service.errors import NotFound
from handlers.web.model_source import Folder
from pipeline.files.catalog import CHECKPOINTS, ModelCatalog

HASH_WAIT_S: Final = 10.0  # for a file's hash; less than a client waits for the first byte
HASH_LOOK_S: Final = 0.2
_BINARY: Final = "application/octet-stream"


class FileQuery(msgspec.Struct, kw_only=True):
    """The query of a model file."""

    name: Annotated[str, Meta(max_length=512, description="As requests name the file.")]
    folder: Annotated[Folder, Meta(description="Below the models folder.")] = CHECKPOINTS


@Operation(
    name="model_file",
    tag="engine",
    summary="A model file, or a part of it, for workers on other machines",
    description="`X-Linked-Size` is its size and `X-Linked-Etag` its SHA-256, once that is known.",
    reply=Payload(media_types=(_BINARY,)),
    errors=(401, 403, *FILE_ERRORS, 422),
)
async def model_file(request: web.Request, query: FileQuery) -> web.StreamResponse:
    """An installed file, with the size and hash that the Hub's clients read as well."""
    catalog = request.app[CATALOG]
    path = catalog.models_dir / query.folder / query.name
    size = await asyncio.to_thread(_size, catalog, query, path)
    if size is None:
        raise NotFound("no such model file is installed")
    headers = {hdrs.CONTENT_TYPE: _BINARY, "X-Linked-Size": str(size)}
    if sha256 := await _sha256(request, query):
        headers["X-Linked-Etag"] = f'"{sha256}"'
    return StoredFile(path, headers=headers)


def _size(catalog: ModelCatalog, query: FileQuery, path: Path) -> int | None:
    """Bytes of a file; None for a folder and for what the catalog does not list.

    Only what it lists is sent, so no name leads out of the models folder.
    """
    if not catalog.has(query.folder, query.name):
        return None
    try:
        status = path.stat()
    except OSError:  # removed since it was listed
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


async def _sha256(request: web.Request, query: FileQuery) -> str:
    """The file's hash; "" if it is not computed in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + HASH_WAIT_S
    while True:
        known = await asyncio.to_thread(request.app[HASHES].known, query.folder, query.name)
        if known is not None or loop.time() > deadline:
            return known.sha256 if known is not None else ""
        await asyncio.sleep(HASH_LOOK_S)
