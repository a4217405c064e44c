"""What runs beside the requests, and the order in which a server stops."""

import asyncio
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import web

from bus.events import ServerStatus
from handlers.keys import BUS, CATALOG, EXECUTOR, PRESETS, SETTINGS, STATE, SUPERVISOR
from handlers.ops.health import describe_health
from handlers.ops.metrics import METRICS, count_tasks, sample_lag
from handlers.service.catalog_watch import watch_catalog
from handlers.service.idle import unload_when_idle
from handlers.service_keys import DELETION, WATCH

log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 1.0
STOP_SECONDS: Final = 7.0  # for running tasks; closing connections and files comes on top


async def run_background(app: web.Application) -> AsyncIterator[None]:
    """Begin the supervised coroutines. For ``app.cleanup_ctx``, after the parts."""
    app[METRICS].watch(app)
    keep = app[SUPERVISOR].keep
    keep("event loop lag", partial(sample_lag, app))
    keep("task metrics", partial(count_tasks, app))
    keep("storage watch", partial(watch_storage, app))
    keep("tidying", partial(app[DELETION].keep_tidy, app[SETTINGS].keep))
    keep("catalog watch", partial(watch_catalog, app[BUS], app[CATALOG], app[PRESETS]))
    if idle_seconds := app[SETTINGS].idle_unload_seconds:
        keep("idle unloading", partial(unload_when_idle, app[BUS], app[EXECUTOR], idle_seconds))
    yield
    await app[SUPERVISOR].close()  # done already unless the start broke off


async def watch_storage(app: web.Application) -> None:
    """Look after folder, disk and database; tell readers and the log what changes."""
    watch, told = app[WATCH], ""
    while True:
        problem = str(await watch.look() or "")
        if problem != told:
            told = problem
            log.error("no tasks are taken: %s", problem) if problem else log.info("tasks are taken")
            health = describe_health(app)
            app[BUS].publish(ServerStatus(status=health.status, detail=health.detail))
        await asyncio.sleep(WATCH_SECONDS)


async def shut_down(app: web.Application) -> None:
    """Refuse new tasks, let running ones end, then end the streams. For ``app.on_shutdown``."""
    app[STATE].stopping = True
    app[BUS].publish(ServerStatus(status="stopping"))
    await app[SUPERVISOR].close()
    await app[EXECUTOR].close(STOP_SECONDS)
    app[BUS].close()
