"""Keeps background coroutines running: one that ends is logged and started again."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]
"""Makes a coroutine that runs until it is cancelled. Called once per start."""


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """Pauses between restarts, in seconds: doubled with each failure in a row, up to a limit."""

    first_s: float = 1.0
    limit_s: float = 60.0

    def pause(self, failures: int) -> float:
        """The pause after so many failures in a row, from 1."""
        return min(self.limit_s, self.first_s * 2.0 ** min(failures - 1, 30))


class Supervisor:
    """Owns the background tasks of an application. Event loop only.

    A coroutine that has run for longer than the longest pause counts as recovered: its next
    failure is a first one.
    """

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def keep(self, name: str, work: Work) -> None:
        """Run ``work()`` until ``close`` or ``drop``. ``name`` is what the log calls it, and no
        other work has it."""
        self.drop(name)
        self._tasks[name] = asyncio.create_task(self._keep(name, work), name=name)

    def drop(self, name: str) -> None:
        """Cancel the work of that name, if there is any; does not wait for its end."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel everything and wait for it. Idempotent."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _keep(self, name: str, work: Work) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            error = await settled(asyncio.create_task(work(), name=name))
            recovered = loop.time() - started > self._backoff.limit_s
            failures = 1 if recovered else failures + 1
            pause = self._backoff.pause(failures)
            log.error("%s ended; restarted in %g s", name, pause, exc_info=error)
            await asyncio.sleep(pause)


async def settled(task: asyncio.Task[Any]) -> BaseException | None:
    """Wait for a task's end; what it raised. Cancelling the caller cancels the task as well."""
    try:
        await asyncio.wait((task,))
    finally:
        task.cancel()
    return asyncio.CancelledError() if task.cancelled() else task.exception()
