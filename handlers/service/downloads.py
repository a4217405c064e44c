"""Model files that people have fetched ahead of any task: begun, paused, gone on with."""

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bus.bus import EventBus
from bus.events import DownloadProgress
from handlers.service.errors import NotFound
from pipeline.errors import PipelineError
from pipeline.files.locate import ModelFiles
from pipeline.request.model_file import ModelFile

log = logging.getLogger(__name__)

State = Literal["running", "paused", "failed", "done"]


class DownloadView(msgspec.Struct, frozen=True, kw_only=True):
    """A download as clients see it. ``error`` says why it failed."""

    folder: str
    name: str
    state: State
    received: Annotated[int, Meta(description="Bytes so far.")] = 0
    total: Annotated[int, Meta(description="Bytes in all; 0 where the sender does not say.")] = 0
    error: str = ""


class _Paused(Exception):
    """Ends the transfer of a download that somebody paused."""


class _Transfer:
    """One download: its state, and the flag that ends its thread."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        self.state: State = "running"
        self.received, self.total = 0, 0
        self.error = ""
        self.stop = threading.Event()

    def check(self) -> None:
        if self.stop.is_set():
            raise _Paused

    def view(self) -> DownloadView:
        return DownloadView(
            folder=self.file.folder,
            name=self.file.name,
            state=self.state,
            received=self.received,
            total=self.total,
            error=self.error,
        )


class Downloads:
    """Fetches model files, each on a thread of its own. Event loop only.

    The threads are daemons: a sender that has stopped answering holds up no stop of the server,
    and what has come of a file is kept for the next start.
    """

    def __init__(self, files: ModelFiles, bus: EventBus) -> None:
        self._files = files
        self._bus = bus
        self._transfers: dict[tuple[str, str], _Transfer] = {}

    def all(self) -> list[DownloadView]:
        """Every download since the server's start, the first one first."""
        return [transfer.view() for transfer in self._transfers.values()]

    async def start(self, folder: str, name: str) -> None:
        """Begin a download, or go on with a paused or failed one; no change for a running one.

        Raises NotFound for a file that no preset and no list names, ModelNotInstalled where this
        server fetches nothing.
        """
        if self._is_running(folder, name):
            return
        file = await asyncio.to_thread(self._files.find, folder, name)
        if file is None:
            raise NotFound("neither a preset nor the list of published files names it")
        if not self._files.allowed:
            raise self._files.not_installed(file)
        if self._is_running(folder, name):  # another request has begun it meanwhile
            return
        self._transfers[folder, name] = transfer = _Transfer(file)
        loop = asyncio.get_running_loop()
        run = threading.Thread(
            target=self._run, args=(transfer, loop), name=f"download {name}", daemon=True
        )
        run.start()

    def pause(self, folder: str, name: str) -> None:
        """End a transfer and keep what has come. Raises NotFound."""
        transfer = self._transfers.get((folder, name))
        if transfer is None:
            raise NotFound("there is no such download")
        transfer.stop.set()
        if transfer.state == "running":
            transfer.state = "paused"

    def close(self) -> None:
        """Pause everything."""
        for transfer in self._transfers.values():
            transfer.stop.set()

    def _is_running(self, folder: str, name: str) -> bool:
        transfer = self._transfers.get((folder, name))
        return transfer is not None and transfer.state == "running"

    def _run(self, transfer: _Transfer, loop: asyncio.AbstractEventLoop) -> None:
        """On the download's thread."""

        def tell(name: str, received: int, total: int) -> None:
            transfer.received, transfer.total = received, total
            self._bus.publish(DownloadProgress(name=name, received=received, total=total))

        state: State = "done"
        error = ""
        try:
            self._files.fetch(transfer.file, transfer.check, tell)
        except _Paused:
            state = "paused"
        except PipelineError as failure:
            state, error = "failed", str(failure)
            log.warning("%s", failure)
        except Exception:
            state, error = "failed", "an internal error; see the server log"
            log.exception("downloading %s", transfer.file.name)
        with suppress(RuntimeError):  # the loop is closed: the server stops
            loop.call_soon_threadsafe(self._ended, transfer, state, error)

    def _ended(self, transfer: _Transfer, state: State, error: str) -> None:
        transfer.state, transfer.error = state, error
        received, total = transfer.received, transfer.total
        self._bus.publish(DownloadProgress(name=transfer.file.name, received=received, total=total))
