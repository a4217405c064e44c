"""The parts a handler may reach, as keys of the application. ``server.py`` builds and sets each."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from aiohttp import web

from handlers.http.access import AccessPolicy
from storage.limits import Limits

if TYPE_CHECKING:
    from bus.bus import EventBus
    from handlers.ops.metrics import Metrics
    from handlers.service.submit import Admissions
    from handlers.web.models import LoadedModels
    from pipeline.files.catalog import ModelCatalog
    from pipeline.files.locate import ModelFiles
    from pipeline.request.presets import PresetStore
    from pipeline.request.styles import StyleLibrary
    from pipeline.scheduling.executor import Executor
    from storage.fetch import GuardedClient
    from storage.gallery import GalleryRepository
    from storage.history import HistoryRepository
    from storage.inputs import InputStore
    from storage.outputs import OutputStore
    from storage.queue_state import QueueState
    from storage.retention import Retention
    from storage.trash import Trash

Status = Literal["starting", "ready", "degraded", "stopping"]


class HandlerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the start options say that a handler needs."""

    version: str
    static_dir: Path
    base_url: str = ""  # without the last slash; "": from each request
    start_preset: str = "initial"
    default_webhook: str = ""
    device: str = "cpu"
    body_limit_bytes: int = 64 * 2**20
    body_seconds: float = 60.0  # a request body must have arrived by then
    idle_unload_seconds: float = 0.0  # without a task, until models are unloaded; 0: never
    keep: Limits = Limits()


class ServerState(msgspec.Struct):
    """What the server is doing. Owned by the event loop; ``server.py`` changes it.

    ``degraded`` answers everything but cannot make pictures; ``detail`` says why.
    """

    status: Status = "starting"
    detail: str = ""
    started: float = msgspec.field(default_factory=time.monotonic)


SETTINGS: Final = web.AppKey("settings", HandlerSettings)
STATE: Final = web.AppKey("state", ServerState)
ACCESS: Final = web.AppKey("access", AccessPolicy)
BUS: Final[web.AppKey["EventBus"]] = web.AppKey("bus")
EXECUTOR: Final[web.AppKey["Executor"]] = web.AppKey("executor")
ADMISSIONS: Final[web.AppKey["Admissions"]] = web.AppKey("admissions")
HISTORY: Final[web.AppKey["HistoryRepository"]] = web.AppKey("history")
OUTPUTS: Final[web.AppKey["OutputStore"]] = web.AppKey("outputs")
INPUTS: Final[web.AppKey["InputStore"]] = web.AppKey("inputs")
CLIENT: Final[web.AppKey["GuardedClient"]] = web.AppKey("client")
# Pictures that requests bring are decoded so many at once: each may take some 200 MB for it.
DECODING: Final = web.AppKey("decoding", asyncio.Semaphore)
CATALOG: Final[web.AppKey["ModelCatalog"]] = web.AppKey("catalog")
MODEL_FILES: Final[web.AppKey["ModelFiles"]] = web.AppKey("model_files")
PRESETS: Final[web.AppKey["PresetStore"]] = web.AppKey("presets")
STYLES: Final[web.AppKey["StyleLibrary"]] = web.AppKey("styles")
METRICS: Final[web.AppKey["Metrics"]] = web.AppKey("metrics")
LOADED: Final[web.AppKey["LoadedModels"]] = web.AppKey("loaded")
GALLERY: Final[web.AppKey["GalleryRepository"]] = web.AppKey("gallery")
TRASH: Final[web.AppKey["Trash"]] = web.AppKey("trash")
QUEUE_STATE: Final[web.AppKey["QueueState"]] = web.AppKey("queue_state")
RETENTION: Final[web.AppKey["Retention"]] = web.AppKey("retention")
