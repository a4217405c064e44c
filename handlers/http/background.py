"""Work that goes on beside the requests for as long as the application runs, supervised."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from aiohttp import web

from handlers.keys import STATE

log = logging.getLogger(__name__)

Work = Callable[[web.Application], Coroutine[Any, Any, None]]
CleanupContext = Callable[[web.Application], AsyncIterator[None]]

RESTART_S: Final = 1.0


def in_background(work: Work, restart_s: float = RESTART_S) -> CleanupContext:
    """``work`` as an entry of ``app.cleanup_ctx``: cancelled when the application ends.

    Work that raises or returns before the server stops is logged and begun again after
    ``restart_s``.
    """

    async def run(app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(_keep_running(work, app, restart_s), name=work.__name__)
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    return run


async def _keep_running(work: Work, app: web.Application, restart_s: float) -> None:
    while not app[STATE].stopping:
        task = asyncio.create_task(work(app), name=work.__name__)
        try:
            await asyncio.wait((task,))
        finally:
            task.cancel()
        if app[STATE].stopping:
            return
        error = None if task.cancelled() else task.exception()
        log.error("%s ended; it begins again in %g s", task.get_name(), restart_s, exc_info=error)
        await asyncio.sleep(restart_s)
