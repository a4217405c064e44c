"""Keys of the application's parts that come from below ``handlers``; ``server.py`` sets each.

The keys of a room's own parts stand in that room, and those of the service layer in
``handlers.service_keys``, so this module imports nothing of ``handlers``.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

from storage.limits import Limits

if TYPE_CHECKING:
    from bus.bus import EventBus
    from bus.supervision import Supervisor
    from pipeline.files.catalog import ModelCatalog
    from pipeline.files.hashes import HashCache
    from pipeline.files.locate import ModelFiles
    from pipeline.files.resolve import Resolver
    from pipeline.request.presets import PresetStore
    from pipeline.request.styles import StyleLibrary
    from pipeline.request.wildcards import Wildcards
    from pipeline.scheduling.executor import Executor
    from storage.boards import BoardRepository
    from storage.fetch import GuardedClient
    from storage.gallery import GalleryRepository
    from storage.history import HistoryRepository
    from storage.inputs import InputStore
    from storage.outputs import OutputStore
    from storage.queue_state import QueueState


class HandlerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Start options that handlers read."""

    version: str
    static_dir: Path
    base_url: str = ""  # without the last slash; "" takes each request's scheme and Host
    start_preset: str = "initial"
    default_webhook: str = ""
    device: str = "cpu"
    body_limit_bytes: int = 64 * 2**20
    body_seconds: float = 60.0  # time limit for receiving a request body
    idle_unload_seconds: float = 0.0  # idle time after which models are unloaded; 0: never
    keep: Limits = Limits()


class ServerState(msgspec.Struct):
    """Whether the server is stopping, and when it started. Owned by the event loop.

    ``server.py`` sets ``stopping``; every other status follows from the devices' states.
    """

    stopping: bool = False
    started: float = msgspec.field(default_factory=time.monotonic)  # clock of time.monotonic


SETTINGS: Final = web.AppKey("settings", HandlerSettings)
STATE: Final = web.AppKey("state", ServerState)
BUS: Final[web.AppKey["EventBus"]] = web.AppKey("bus")
SUPERVISOR: Final[web.AppKey["Supervisor"]] = web.AppKey("supervisor")
EXECUTOR: Final[web.AppKey["Executor"]] = web.AppKey("executor")
HISTORY: Final[web.AppKey["HistoryRepository"]] = web.AppKey("history")
OUTPUTS: Final[web.AppKey["OutputStore"]] = web.AppKey("outputs")
INPUTS: Final[web.AppKey["InputStore"]] = web.AppKey("inputs")
CLIENT: Final[web.AppKey["GuardedClient"]] = web.AppKey("client")
CATALOG: Final[web.AppKey["ModelCatalog"]] = web.AppKey("catalog")
HASHES: Final[web.AppKey["HashCache"]] = web.AppKey("hashes")
MODEL_FILES: Final[web.AppKey["ModelFiles"]] = web.AppKey("model_files")
RESOLVER: Final[web.AppKey["Resolver"]] = web.AppKey("resolver")
PRESETS: Final[web.AppKey["PresetStore"]] = web.AppKey("presets")
WILDCARDS: Final[web.AppKey["Wildcards"]] = web.AppKey("wildcards")
STYLES: Final[web.AppKey["StyleLibrary"]] = web.AppKey("styles")
GALLERY: Final[web.AppKey["GalleryRepository"]] = web.AppKey("gallery")
BOARDS: Final[web.AppKey["BoardRepository"]] = web.AppKey("boards")
QUEUE_STATE: Final[web.AppKey["QueueState"]] = web.AppKey("queue_state")
