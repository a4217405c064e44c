"""Image tools (describe, mask) on the devices, beside the queue."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from pipeline.errors import DeviceBusy
from pipeline.scheduling.dispatch import Dispatcher
from pipeline.scheduling.task import HasTools
from pipeline.scheduling.worker import DeviceWorker

T = TypeVar("T")

TOOL_WAIT_S: Final = 300.0  # for a device to become free
TOOL_LIMIT: Final = 16  # tool calls that may wait, each with its picture in memory


class ToolRunner:
    """Runs each tool call on a device, between two tasks. Owned by the event loop."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._waiting = 0

    async def run(self, call: Callable[[HasTools], T], wait_s: float) -> T:
        """The result of ``call``, or what it raises.

        A device that starts or runs a task finishes that first, for which the call waits
        ``wait_s`` at most. Cancelling before then withdraws the call. Raises DeviceBusy (at once
        if ``TOOL_LIMIT`` calls wait), and UnsupportedFeature if the device has no tools.
        """
        if self._waiting >= TOOL_LIMIT:
            raise DeviceBusy(
                f"{self._waiting} pictures wait for the tools already; try again later"
            )
        turn = self._choose_worker().use_tool(call)
        result = asyncio.wrap_future(turn)
        self._waiting += 1
        try:
            done, _ = await asyncio.wait({result}, timeout=wait_s)
            if not done and turn.cancel():
                raise DeviceBusy(f"the device was at work for {wait_s:g} s; try again later")
            return await result
        finally:
            self._waiting -= 1
            result.cancel()

    def _choose_worker(self) -> DeviceWorker:
        """A worker without a task if there is one; among those, one that has not failed."""
        busy = {running.device for running in self._dispatcher.running()}
        return min(
            self._dispatcher.workers, key=lambda w: (w.name in busy, w.state.state == "failed")
        )
