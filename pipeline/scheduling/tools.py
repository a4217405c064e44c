"""Image tools (describe, mask) on the workers, beside the queue."""

import asyncio
from concurrent.futures import Future
from typing import Final

from pipeline.errors import DeviceBusy
from pipeline.scheduling.pool import WorkerPool
from pipeline.scheduling.worker import ToolReply, ToolRequest

TOOL_WAIT_S: Final = 300.0  # for a worker to become free
TOOL_LIMIT: Final = 16  # tool calls that may wait, each with its picture in memory


class ToolRunner:
    """Runs each tool call on a worker, between two tasks. Event loop only."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._waiting = 0

    async def run(self, request: ToolRequest, wait_s: float) -> ToolReply:
        """The tool's reply, or the PipelineError that it raises.

        A worker that starts or has a task finishes that first, for which the call waits
        ``wait_s`` at most. Cancelling before then withdraws the call. Raises DeviceBusy (at once
        if ``TOOL_LIMIT`` calls wait or every device has failed), and UnsupportedFeature if the
        worker has no tools.
        """
        if self._waiting >= TOOL_LIMIT:
            raise DeviceBusy(f"{self._waiting} tool calls wait already; try again later")
        deadline = asyncio.get_running_loop().time() + wait_s
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                worker = await self._pool.take_for_tool()
            try:
                return await _reply(worker.tool(request), deadline)
            finally:
                self._pool.give_back_tool(worker)
        except TimeoutError:
            raise DeviceBusy(f"no device was free for {wait_s:g} s; try again later") from None
        finally:
            self._waiting -= 1


async def _reply(turn: Future[ToolReply], deadline: float) -> ToolReply:
    """What the call returns. Raises TimeoutError if it has not begun by ``deadline``."""
    result = asyncio.wrap_future(turn)
    try:
        left = deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait({result}, timeout=max(0.0, left))
        if not done and turn.cancel():
            raise TimeoutError
        return await result
    finally:
        result.cancel()
