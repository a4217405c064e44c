"""Unloads the models after a time without tasks."""

import asyncio
import logging
from typing import Final

from bus.bus import EventBus
from bus.events import EventData, QueueChanged
from bus.subscription import EventFilter
from pipeline.scheduling.executor import Executor

log = logging.getLogger(__name__)

_COUNTS: Final = EventFilter(types=frozenset({QueueChanged.type}))
_ONLY_THE_NEWEST: Final = 1  # a later count of the queue replaces an earlier one


async def unload_when_idle(bus: EventBus, executor: Executor, seconds: float) -> None:
    """Unload once after each time that the queue has been empty for ``seconds``."""
    is_idle = True  # the start has loaded the first model
    with bus.subscribe(_COUNTS, limit=_ONLY_THE_NEWEST) as counts:
        while not counts.closed:
            try:
                async with asyncio.timeout(seconds if is_idle else None):
                    newest = await counts.take()
            except TimeoutError:
                is_idle = False
                log.info("no task for %g s: models are unloaded", seconds)
                await executor.unload()
            else:
                is_idle = any(_is_quiet(event.data) for event in newest)


def _is_quiet(count: EventData) -> bool:
    return isinstance(count, QueueChanged) and count.pending == count.running == 0
