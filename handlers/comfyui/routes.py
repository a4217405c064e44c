"""Every URL of the family. Each stands below ``/api`` too, as ComfyUI's own pages ask for it."""

from typing import Final

from aiohttp import web

from handlers.comfyui import files, queue, system
from handlers.comfyui.socket import watch
from handlers.http.operation import alias_of

_BELOW: Final = "/api"


def routes() -> list[web.RouteDef]:
    """Every route but ``/ws``, which is our own WebSocket's as well: ``also_for_watchers``."""
    listed = _routes()
    return [*listed, *map(_below_api, listed), web.get("/api/ws", watch, allow_head=False)]


def _routes() -> list[web.RouteDef]:
    return [
        web.get("/prompt", queue.prompt_info),
        web.post("/prompt", queue.post_prompt),
        web.get("/queue", queue.show_queue),
        web.post("/queue", queue.change_queue),
        web.post("/interrupt", queue.interrupt),
        web.get("/history", queue.list_history),
        web.post("/history", queue.change_history),
        web.get("/history/{prompt_id}", queue.get_history),
        web.get("/view", files.view),
        web.post("/upload/image", files.upload_image),
        web.get("/system_stats", system.system_stats),
        web.get("/features", system.features),
        web.get("/models", system.folders),
        web.get("/models/{folder}", system.models),
        web.get("/embeddings", system.embeddings),
        web.get("/object_info", system.object_info),
        web.get("/object_info/{node}", system.object_info_of),
        web.post("/free", system.free),
    ]


def _below_api(route: web.RouteDef) -> web.RouteDef:
    handler = alias_of(route.handler)
    return web.RouteDef(route.method, f"{_BELOW}{route.path}", handler, route.kwargs)
