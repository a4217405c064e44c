"""Paths that lead nowhere: slashes at the end are taken off, other servers' APIs are known."""

from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from handlers.http.refusal import Handler, RequestRefused
from handlers.http.same_site import SAFE_METHODS

# First parts of the paths of other servers, and the heading of the page that says what to ask here.
_FOREIGN: Final[Mapping[str, str]] = {
    "/v1/generation": "From Fooocus-API: the endpoints",
    "/v2/generation": "From Fooocus-API: the endpoints",
    "/v1/engines": "From Fooocus-API: the endpoints",
    "/v1/tools": "From Fooocus-API: the endpoints",
    "/sdapi": "From AUTOMATIC1111's API",
    "/controlnet": "From AUTOMATIC1111's API",
    "/internal": "From AUTOMATIC1111's API",
    "/prompt": "From ComfyUI's server",
    "/queue": "From ComfyUI's server",
    "/history": "From ComfyUI's server",
    "/interrupt": "From ComfyUI's server",
    "/free": "From ComfyUI's server",
    "/upload": "From ComfyUI's server",
    "/view": "From ComfyUI's server",
    "/object_info": "From ComfyUI's server",
    "/system_stats": "From ComfyUI's server",
}
_ELSEWHERE: Final = ("/api/v1", "/api/v2", "/API", "/gradio_api", "/run", "/v1/images", "/v1/chat")
_READ: Final = "docs/migration.md"


@web.middleware
async def unknown_path_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Redirect a path with slashes at its end to that without, where there is one to read.

    The address is relative: a proxy may serve this under a prefix that is not known here.
    """
    if request.match_info.http_exception is not None and request.method in SAFE_METHODS:
        path = request.rel_url.raw_path
        whole = path.rstrip("/")
        if whole != path and await _is_read(request, whole):
            up, name = "../" * (len(path) - len(whole)), whole.rpartition("/")[2]
            query = request.rel_url.raw_query_string
            location = f"{up}{name}?{query}" if query else f"{up}{name}"
            return web.Response(status=308, headers={hdrs.LOCATION: location})
    return await handler(request)


def no_such_path(path: str) -> RequestRefused:
    """404 for a path without a route, to be raised; says where to read what to ask instead."""
    return RequestRefused(404, "not_found", f"there is no {path[:200]} here; {_advice(path)}")


def _advice(path: str) -> str:
    for first, heading in _FOREIGN.items():
        if path == first or path.startswith(f"{first}/"):
            return f'{_READ}, "{heading}", says what to ask in its place'
    if any(path == first or path.startswith(f"{first}/") for first in _ELSEWHERE):
        return f"this is another server's API; {_READ} says what to ask in its place"
    return "GET /docs lists what there is"


async def _is_read(request: web.Request, path: str) -> bool:
    """Is there something to read at ``path``? HEAD is answered by the reader, if not everywhere."""
    if not path:
        return False
    found = await request.app.router.resolve(request.clone(rel_url=path))
    refusal = found.http_exception
    if isinstance(refusal, web.HTTPMethodNotAllowed):
        return hdrs.METH_GET in refusal.allowed_methods
    return refusal is None
