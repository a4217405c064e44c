"""POST /v1/engine/unload, and the same without being asked when nobody wants a picture."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from aiohttp import web

from bus.events import EventData, QueueChanged
from bus.subscription import EventFilter, Subscription
from handlers.http.respond import json_response
from handlers.keys import BUS, EXECUTOR, SETTINGS
from pipeline.errors import ServerStopping
from pipeline.scheduling.executor import Executor

log = logging.getLogger(__name__)

_ONLY_THE_NEWEST = 1  # later counts of the queue replace earlier ones


class Unloaded(msgspec.Struct, frozen=True):
    """Which models were loaded until now; none if it was done before."""

    message: str
    models: tuple[str, ...]


async def unload(request: web.Request) -> web.Response:
    """Unload every model between two tasks: a running one ends first. Idempotent."""
    models = await request.app[EXECUTOR].unload()
    message = f"Unloaded {', '.join(models)}" if models else "No model was loaded"
    return json_response(Unloaded(message, models))


async def watch_idle(app: web.Application) -> AsyncIterator[None]:
    """Unload after a time without tasks, if an option says so. For ``app.cleanup_ctx``."""
    seconds = app[SETTINGS].idle_unload_seconds
    if seconds == 0:
        yield
        return
    only_counts = EventFilter(types=frozenset({QueueChanged.type}))
    with app[BUS].subscribe(only_counts, limit=_ONLY_THE_NEWEST) as counts:
        watch = asyncio.create_task(_unload_when_idle(counts, app[EXECUTOR], seconds))
        yield
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _unload_when_idle(counts: Subscription, executor: Executor, seconds: float) -> None:
    """Unload once after each time that the queue stood still and empty for ``seconds``."""
    idle = True  # the start has loaded the first model
    while not counts.closed:
        try:
            async with asyncio.timeout(seconds if idle else None):
                newest = await counts.take()
        except TimeoutError:
            idle = False
            await _try_to_unload(executor, seconds)
        else:
            idle = any(_is_quiet(delivery.data) for delivery in newest)


def _is_quiet(count: EventData) -> bool:
    return isinstance(count, QueueChanged) and count.pending == count.running == 0


async def _try_to_unload(executor: Executor, seconds: float) -> None:
    log.info("no task for %g s: models are unloaded", seconds)
    try:
        await executor.unload()
    except ServerStopping:
        return
    except Exception:  # a broken device, say: the next quiet hour tries again
        log.exception("the models could not be unloaded")
