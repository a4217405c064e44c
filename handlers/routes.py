"""Every URL on one screen, and what stands before and after every handler.

Those of other servers' APIs stand in their families' folders; ``handlers.families`` lists them.
"""

from collections.abc import Iterable

from aiohttp import web

from handlers.a1111.chosen import CHOSEN_SETTINGS, ChosenSettings
from handlers.comfyui.describe import FAMILY as COMFYUI
from handlers.comfyui.socket import also_for_watchers
from handlers.families import ALL, family_routes
from handlers.fooocus.catalog import all_models, styles
from handlers.fooocus.control import control
from handlers.fooocus.generate import generate, generate_image
from handlers.fooocus.grids import draw_grid, queue_grid
from handlers.fooocus.metadata import picture_metadata
from handlers.fooocus.tasks import get_task, list_tasks
from handlers.fooocus.tools import describe_image, generate_mask
from handlers.http.errors import error_middleware, note_prepared
from handlers.http.guard import add_headers, guard_middleware
from handlers.http.refusal import Handler
from handlers.http.unknown_paths import unknown_path_middleware
from handlers.live.events import events
from handlers.live.websocket import websocket
from handlers.ops.health import health
from handlers.ops.lifecycle import run_background, shut_down
from handlers.ops.metrics import METRICS, Metrics, metrics, metrics_middleware
from handlers.ops.openapi import openapi
from handlers.ops.workers import drain, list_workers, resume_worker
from handlers.web.archive import history_zip
from handlers.web.boards import change_board, delete_board, list_boards, rename_board
from handlers.web.deletion import delete_task, restore_task
from handlers.web.downloads import list_downloads, pause_download, start_download
from handlers.web.gallery import history_summary, list_history, mark
from handlers.web.inputs import store_input
from handlers.web.login import login, logout, token
from handlers.web.media import input_file, output_file, thumbnail_file
from handlers.web.model_file import model_file
from handlers.web.model_pictures import model_picture
from handlers.web.model_source import model_source
from handlers.web.models import models, unload
from handlers.web.pages import docs, index, static_file
from handlers.web.presets import delete_preset, rename_preset, save_preset
from handlers.web.queue import move, pause, prioritise, resume, show_queue
from handlers.web.retry import retry


def create_routes(apis: Iterable[str] = ALL) -> list[web.RouteDef]:
    """Every route, those of these families included. Its handler carries its Operation."""
    named = tuple(apis)
    socket = also_for_watchers(websocket) if COMFYUI in named else websocket
    return [*own_routes(socket), *family_routes(named)]


def own_routes(socket: Handler = websocket) -> list[web.RouteDef]:
    """The routes of the server's own API and of its pages; ``socket`` answers at ``/ws``."""
    return [
        web.post("/v1/engine/generate/", generate),
        web.post("/v1/engine/generate", generate),
        web.post("/v1/engine/image", generate_image),
        web.post("/v1/engine/control", control),
        web.post("/v1/grids", queue_grid),
        web.post("/v1/grids/sheet", draw_grid),
        web.post("/v1/engine/unload", unload),
        web.get("/tasks", list_tasks, allow_head=False),
        web.get("/tasks/{task_id}", get_task),
        web.post("/tasks/{task_id}/retry", retry),
        web.post("/tasks/{task_id}/favourite", mark),
        web.post("/tasks/{task_id}/delete", delete_task),
        web.post("/tasks/{task_id}/restore", restore_task),
        web.get("/v1/queue", show_queue),
        web.post("/v1/queue/pause", pause),
        web.post("/v1/queue/resume", resume),
        web.post("/v1/queue/move", move),
        web.post("/v1/queue/priority", prioritise),
        web.get("/v1/history", list_history),
        web.get("/v1/history/summary", history_summary),
        web.post("/v1/history/zip", history_zip),
        web.get("/v1/boards", list_boards),
        web.post("/v1/boards", change_board),
        web.post("/v1/boards/rename", rename_board),
        web.post("/v1/boards/delete", delete_board),
        web.get("/outputs/{date}/{file}", output_file),
        web.post("/inputs", store_input),
        web.get("/inputs/{file}", input_file),
        web.get("/thumbnails/{date}/{file}", thumbnail_file),
        web.get("/v1/engines/all-models", all_models),
        web.get("/v1/engines/styles", styles),
        web.get("/v1/models", models),
        web.get("/v1/models/picture", model_picture),
        web.get("/v1/models/downloads", list_downloads),
        web.post("/v1/models/downloads", start_download),
        web.post("/v1/models/downloads/pause", pause_download),
        web.post("/v1/presets", save_preset),
        web.post("/v1/presets/rename", rename_preset),
        web.post("/v1/presets/delete", delete_preset),
        web.get("/v1/models/source", model_source),
        web.get("/v1/models/file", model_file),
        web.post("/v1/tools/describe-image", describe_image),
        web.post("/v1/tools/generate_mask", generate_mask),
        web.post("/v1/tools/read-metadata", picture_metadata),
        web.get("/v1/events", events, allow_head=False),
        web.get("/ws", socket, allow_head=False),
        web.get("/v1/token", token),
        web.post("/login", login),
        web.post("/logout", logout),
        web.get("/health", health),
        web.get("/metrics", metrics),
        web.get("/v1/workers", list_workers),
        web.post("/v1/workers/{worker_id}/drain", drain),
        web.post("/v1/workers/{worker_id}/resume", resume_worker),
        web.get("/openapi.json", openapi),
        web.get("/docs", docs),
        web.get("/static/{path:.+}", static_file),
        web.get("/", index),
    ]


def create_router(apis: Iterable[str] = ALL) -> web.UrlDispatcher:
    """A router of ``create_routes``, without an application."""
    router = web.UrlDispatcher()
    router.add_routes(create_routes(apis))
    return router


def install(app: web.Application, apis: Iterable[str] = ALL) -> None:
    """Give ``app`` routes, middlewares and signals. Call it after adding the parts' cleanup_ctx.

    ``apis`` are the names of the other servers' APIs to serve.
    """
    app[METRICS] = Metrics()
    app[CHOSEN_SETTINGS] = ChosenSettings()
    app.middlewares.extend(
        (metrics_middleware, error_middleware, guard_middleware, unknown_path_middleware)
    )
    app.on_response_prepare.extend((note_prepared, add_headers))
    app.cleanup_ctx.append(run_background)
    app.on_shutdown.append(shut_down)
    app.add_routes(create_routes(apis))
