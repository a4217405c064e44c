"""The composition root: settings → parts → wiring → run. Nothing imports it but tests."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from aiohttp import web

from bus.bus import EventBus
from bus.events import DownloadProgress, ModelLoaded, ModelUnloaded, ServerStatus, now_ms
from bus.supervision import Supervisor
from handlers.http.access import AccessPolicy
from handlers.http.guard import ACCESS
from handlers.keys import (
    BUS,
    CATALOG,
    CLIENT,
    DECODING,
    EXECUTOR,
    GALLERY,
    HISTORY,
    INPUTS,
    MODEL_FILES,
    OUTPUTS,
    PRESETS,
    QUEUE_STATE,
    RESOLVER,
    SETTINGS,
    STATE,
    STYLES,
    SUPERVISOR,
    HandlerSettings,
    ServerState,
)
from handlers.routes import install
from handlers.service.deletion import Deletion
from handlers.service.loaded_models import LoadedModels
from handlers.service.submit import Admissions
from handlers.service_keys import ADMISSIONS, DELETION, LOADED
from pipeline.engine.options import EngineOptions
from pipeline.errors import PipelineError
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.files.resolve import Resolver, installed_default
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.task import Generate
from pipeline.scheduling.worker import StartDevice
from settings import Settings, SettingsError, load_settings
from storage.addresses import is_loopback
from storage.database import open_database
from storage.fetch import GuardedClient
from storage.gallery import GalleryRepository
from storage.history import HistoryRepository
from storage.inputs import InputStore
from storage.limits import Limits
from storage.lock import FolderInUse, FolderLock
from storage.outputs import OutputStore
from storage.queue_state import QueueState
from storage.recorder import Recorder
from storage.retention import Retention
from storage.trash import Trash
from storage.webhooks import WebhookSender

log = logging.getLogger("focal")

VERSION: Final = "0.2.0"
HERE: Final = Path(__file__).resolve().parent
DECODES_AT_ONCE: Final = 2
STOP_SECONDS: Final = 10.0


def start_engine(
    device: str, app: web.Application, options: EngineOptions | None = None
) -> Generate:
    """Load torch and the start preset's model; runs on the device's thread and takes seconds."""
    from pipeline.engine.engine import Library, load_engine  # noqa: PLC0415 - the web half need not wait

    def tell_unloaded(kind: str, name: str) -> None:
        app[BUS].publish(ModelUnloaded(name=name, kind=kind))

    presets = app[PRESETS]
    wildcards = Wildcards(HERE / "wildcards")
    library = Library(app[CATALOG], presets, app[STYLES], wildcards, app[INPUTS], app[MODEL_FILES])
    engine = load_engine(device, library, tell_unloaded, options)
    if model := installed_default(presets.load(app[SETTINGS].start_preset), app[CATALOG]):
        started = time.perf_counter()
        try:
            engine.preload(model)
        except (PipelineError, MemoryError) as error:  # tasks may name another model
            log.error("the start preset's model %s was not loaded: %s", model, error)
            return engine
        seconds = round(time.perf_counter() - started, 3)
        app[BUS].publish(ModelLoaded(name=model, kind="checkpoint", seconds=seconds))
    return engine


def create_app(
    settings: Settings, devices: Mapping[str, StartDevice] | None = None
) -> web.Application:
    """Build the application; ``devices`` are those of ``settings`` unless a test brings its own.

    Raises PipelineError for a start preset that does not exist, ValueError for a wrong origin.
    """
    app = web.Application(client_max_size=settings.body_limit_mb * 2**20)
    app[CATALOG] = ModelCatalog(settings.models_dir)
    app[STYLES] = StyleLibrary(HERE / "sdxl_styles")
    start_preset = settings.preset or _start_preset(app[CATALOG])
    app[PRESETS] = PresetStore(HERE / "presets", start_preset)
    app[MODEL_FILES] = _model_files(app, allowed=settings.downloads == "allow")
    app[RESOLVER] = Resolver(app[PRESETS], app[STYLES], app[MODEL_FILES])
    app[PRESETS].load(start_preset)  # one that does not exist stops the start
    app[SETTINGS] = HandlerSettings(
        version=VERSION,
        static_dir=HERE / "static",
        base_url=settings.base_url.rstrip("/"),
        start_preset=start_preset,
        default_webhook=settings.webhook_url,
        device=settings.device,
        body_limit_bytes=settings.body_limit_mb * 2**20,
        idle_unload_seconds=settings.idle_unload_minutes * 60,
        keep=Limits(
            seconds=settings.keep_days * 86_400,
            tasks=settings.keep_tasks,
            bytes=int(settings.keep_gb * 10**9),
        ),
    )
    app[STATE] = ServerState()
    app[ACCESS] = AccessPolicy(
        settings.api_key,
        settings.allow_origin,
        loopback_only=is_loopback(settings.host),
        base_url=settings.base_url,
    )
    app[OUTPUTS] = OutputStore(settings.outputs_dir)
    app[INPUTS] = InputStore(settings.inputs_dir)
    app[DECODING] = asyncio.Semaphore(DECODES_AT_ONCE)
    if devices is None:
        names = [name.strip() for name in settings.device.split(",") if name.strip()]
        if not names:
            raise ValueError("--device names no device; leave it out for the best one")
        options = EngineOptions(
            cpu_noise=settings.cpu_noise,
            compile_unet=settings.compile,
            device_memory_gb=settings.device_memory_gb,
            ram_gb=settings.ram_gb,
        )
        devices = {name: partial(start_engine, name, app, options) for name in names}
    app.cleanup_ctx.append(partial(_run_parts, settings, devices))
    app.on_shutdown.append(_stop)
    install(app)
    return app


def _start_preset(catalog: ModelCatalog) -> str:
    """``default`` once a checkpoint of it is installed, until then the model that ships with us."""
    wanted = PresetStore(HERE / "presets").load("default")
    return "default" if installed_default(wanted, catalog) else "embedded"


def _model_files(app: web.Application, *, allowed: bool) -> ModelFiles:
    def tell(name: str, received: int, total: int) -> None:
        app[BUS].publish(DownloadProgress(name=name, received=received, total=total))

    return ModelFiles(app[CATALOG], app[PRESETS], allowed=allowed, on_progress=tell)


async def _run_parts(
    settings: Settings, devices: Mapping[str, StartDevice], app: web.Application
) -> AsyncIterator[None]:
    """Start what needs the event loop; end it in the opposite order."""
    # Numbers go on from start to start, so that a reader who comes back is told what it missed.
    app[BUS] = bus = EventBus(asyncio.get_running_loop(), first_seq=now_ms())
    app[SUPERVISOR] = supervisor = Supervisor()
    async with (
        open_database(settings.outputs_dir / "db.sqlite3") as database,
        GuardedClient(allow_private=settings.allow_private_urls) as client,
        WebhookSender(database, client, settings.webhook_secret) as webhooks,
    ):
        app[CLIENT] = client
        app[HISTORY] = history = HistoryRepository(database)
        recorder = Recorder(database, history, webhooks)
        app[EXECUTOR] = executor = Executor(
            bus, devices, app[OUTPUTS], recorder.on_ended, settings.queue_size
        )
        app[ADMISSIONS] = Admissions(history, executor, app[INPUTS])
        app[GALLERY] = GalleryRepository(database, history)
        app[LOADED] = LoadedModels(bus)
        app[DELETION] = Deletion(
            bus, history, Trash(database), Retention(database, app[OUTPUTS]), app[OUTPUTS]
        )
        app[QUEUE_STATE] = queue_state = QueueState(database)
        if await queue_state.is_paused():
            executor.pause()
        requeue = settings.on_restart == "requeue"
        left = await recorder.recover(app[RESOLVER].resolve if requeue else None)
        executor.restore(await queue_state.arranged(left))
        executor.start()
        bus.publish(ServerStatus(status="ready"))
        yield
        await supervisor.close()
        await executor.close(grace_s=0.0)  # done already unless the start broke off


async def _stop(app: web.Application) -> None:
    """On SIGTERM: refuse new tasks, let running ones end, then end the streams that tell it."""
    app[STATE].stopping = True
    app[BUS].publish(ServerStatus(status="stopping"))
    await app[EXECUTOR].close(STOP_SECONDS)
    await app[SUPERVISOR].close()
    app[BUS].close()


def main() -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    try:
        settings = load_settings(sys.argv[1:], os.environ)
        lock = FolderLock(settings.outputs_dir)  # before anything in the folder is touched
        app = create_app(settings)
    except (SettingsError, FolderInUse, PipelineError, ValueError, OSError) as error:
        sys.exit(f"focal: {error}")
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    web.run_app(
        app,
        host=settings.host,
        port=settings.port,
        loop=uvloop.new_event_loop(),
        access_log=None,
        print=log.info,
        shutdown_timeout=2.0,
    )
    lock.release()


if __name__ == "__main__":
    main()
