"""The composition root: settings → parts → wiring → run. Nothing imports it but tests."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

from bus.bus import EventBus
from bus.events import now_ms
from bus.supervision import Supervisor
from handlers import keys
from handlers.families import chosen_families, webhook_body
from handlers.http.access import ACCESS, AccessPolicy
from handlers.http.key_ring import KeyFileError, KeyRing, load_keys
from handlers.http.listening import split_hosts
from handlers.http.serving import run
from handlers.routes import install
from handlers.service_keys import DECODING, DOWNLOADS, install_services
from pipeline.engine.options import EngineOptions, batch_limit
from pipeline.engine.spec import EngineSpec
from pipeline.engine.workers import RayOptions, chosen_workers
from pipeline.errors import PipelineError
from pipeline.files.hashes import HashCache
from pipeline.files.library import open_library
from pipeline.files.resolve import Resolver
from pipeline.scheduling.executor import Executor
from pipeline.scheduling.pool import WorkerSource
from pipeline.scheduling.storage import TaskStorage
from pipeline.scheduling.worker import Worker
from settings import Settings, SettingsError, load_settings
from storage.addresses import is_loopback
from storage.fetch import GuardedClient
from storage.inputs import InputStore
from storage.limits import Limits
from storage.lock import FolderInUse, FolderLock
from storage.outputs import OutputStore
from storage.repositories import open_repositories

VERSION: Final = "0.2.0"
HERE: Final = Path(__file__).resolve().parent


def engine_spec(settings: Settings, start_preset: str) -> EngineSpec:
    """What the workers build their engines from."""
    return EngineSpec(
        models_dir=str(settings.models_dir.absolute()),
        project_dir=str(HERE),
        start_preset=start_preset,
        downloads=settings.downloads == "allow",
        options=EngineOptions(
            cpu_noise=settings.cpu_noise,
            compile_unet=settings.compile,
            batch=batch_limit(settings.batch),
            cpu_engine=settings.cpu_engine,
            precision=settings.precision,
            device_memory_gb=settings.device_memory_gb,
            ram_gb=settings.ram_gb,
        ),
    )


def _ray_options(settings: Settings) -> RayOptions:
    return RayOptions(
        address=settings.workers,
        gpus=settings.ray_gpus,
        cpus=settings.ray_cpus_per_worker,
        models_url=settings.ray_models_url,
        api_key=settings.api_key,
    )


def create_app(settings: Settings, workers: Sequence[Worker] | None = None) -> web.Application:
    """Build the application; ``workers`` are those of the settings unless a test brings its own.

    Raises PipelineError for a start preset that does not exist, ValueError for a wrong origin
    or an unknown API family.
    """
    app = web.Application(client_max_size=settings.body_limit_mb * 2**20)
    allowed = settings.downloads == "allow"
    library = open_library(HERE, settings.models_dir, settings.preset, downloads=allowed)
    app[keys.CATALOG], app[keys.PRESETS] = library.catalog, library.presets
    app[keys.HASHES] = HashCache(library.catalog.models_dir)
    app[keys.STYLES], app[keys.MODEL_FILES] = library.styles, library.files
    app[keys.WILDCARDS] = library.wildcards
    app[keys.RESOLVER] = Resolver(library.presets, library.styles, library.files)
    app[keys.SETTINGS] = keys.HandlerSettings(
        version=VERSION,
        static_dir=HERE / "static",
        base_url=settings.base_url.rstrip("/"),
        start_preset=library.presets.initial,
        default_webhook=settings.webhook_url,
        device=settings.device,
        body_limit_bytes=settings.body_limit_mb * 2**20,
        idle_unload_seconds=settings.idle_unload_minutes * 60,
        keep=Limits.of(settings.keep_days, settings.keep_tasks, settings.keep_gb),
    )
    app[keys.STATE] = keys.ServerState()
    app[ACCESS] = AccessPolicy(
        allowed_origins=settings.allow_origin,
        keys=KeyRing(load_keys(settings.api_key, settings.api_key_file)),
        loopback_only=all(map(is_loopback, split_hosts(settings.host))),
        base_url=settings.base_url,
    )
    app[keys.OUTPUTS] = OutputStore(settings.outputs_dir, settings.outputs_roots)
    app[keys.INPUTS] = InputStore(settings.inputs_dir)
    source: WorkerSource | None = None
    if workers is None:
        spec = engine_spec(settings, library.presets.initial)
        workers, source = chosen_workers(settings.device, _ray_options(settings), spec)
    app.cleanup_ctx.append(partial(_run_parts, settings, workers, source))
    install(app, chosen_families(settings.apis))
    return app


async def _run_parts(
    settings: Settings, workers: Sequence[Worker], source: WorkerSource | None, app: web.Application
) -> AsyncIterator[None]:
    """Start what needs the event loop; end it in the opposite order."""
    # Event numbers grow from start to start, so a reader of an earlier one sees what it missed.
    app[keys.BUS] = bus = EventBus(asyncio.get_running_loop(), first_seq=now_ms())
    app[keys.SUPERVISOR] = Supervisor()
    outputs, inputs = app[keys.OUTPUTS], app[keys.INPUTS]
    path, secret = settings.outputs_dir / "db.sqlite3", settings.webhook_secret
    async with (
        GuardedClient(allow_private=settings.allow_private_urls) as client,
        open_repositories(path, outputs, client, secret, webhook_body) as stored,
    ):
        app[keys.CLIENT] = client
        app[keys.HISTORY], app[keys.GALLERY] = stored.history, stored.gallery
        app[keys.QUEUE_STATE], app[keys.BOARDS] = stored.queue_state, stored.boards
        storage = TaskStorage(outputs, stored.recorder.on_ended, inputs, stored.attempts)
        app[keys.EXECUTOR] = executor = Executor(
            bus, workers, storage, settings.queue_size, key_limits=app[ACCESS].keys.limits()
        )
        install_services(app, stored)
        if await stored.queue_state.is_paused():
            executor.pause()
        resolve = app[keys.RESOLVER].resolve if settings.on_restart == "requeue" else None
        executor.restore(await stored.waiting(resolve))
        executor.start(source)
        yield
        await executor.close(grace_s=0.0)  # done already unless the start broke off
        app[DECODING].close()
        app[DOWNLOADS].close()


def main() -> None:
    """Run the server until SIGTERM or Ctrl-C."""
    try:
        settings = load_settings(sys.argv[1:], os.environ)
        FolderLock(settings.outputs_dir)  # held until the process ends
        app = create_app(settings)
    except (SettingsError, FolderInUse, KeyFileError, PipelineError, ValueError, OSError) as error:
        sys.exit(f"focal: {error}")
    run(app, settings.host, settings.port, settings.log_level)


if __name__ == "__main__":
    main()
