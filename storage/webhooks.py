"""Webhooks: what is owed stands in the database, and one background task delivers it."""

import asyncio
import base64
import binascii
import logging
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self

import aiosqlite
import msgspec
from standardwebhooks import Webhook

from bus.events import now_ms
from storage.database import Database
from storage.fetch import FetchFailed, GuardedClient, UrlRefused
from storage.history import HistoryRepository
from storage.records import absolute

log = logging.getLogger(__name__)

PAUSES: Final = (2.0, 10.0, 60.0, 300.0)  # seconds between one try and the next: five tries
_AT_ONCE: Final = 8  # deliveries under way, so that one slow receiver does not hold up the others
_DATABASE_PAUSE: Final = 5.0  # seconds before the database is asked again after it failed
_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = range(24, 65)  # what Standard Webhooks asks of a key

_OWE: Final = """
    INSERT INTO webhook_delivery (task_id, url, base_url, next_mills)
    VALUES (:task_id, :url, :base_url, :now) ON CONFLICT DO NOTHING
"""
_OWED: Final = """
    SELECT task_id, url, base_url, tries, next_mills FROM webhook_delivery
    ORDER BY next_mills LIMIT :limit
"""
_TRY: Final = """
    UPDATE webhook_delivery SET tries = :tries, next_mills = :next WHERE task_id = :task_id
"""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook that is owed; ``tries`` were made before."""

    task_id: str
    url: str
    base_url: str
    tries: int
    next_mills: int


class WebhookSender:
    """Owns the table ``webhook_delivery``. Event loop only.

    Each delivery is made at least once: after a crash in mid-try it is made again, with the same
    ``webhook-id`` (the task's id), by which receivers can tell.
    """

    def __init__(
        self,
        database: Database,
        client: GuardedClient,
        secret: str = "",
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._database = database
        self._client = client
        self._history = HistoryRepository(database)
        self._signer = Webhook(signing_key(secret)) if secret else None
        self._pauses = pauses
        self._wake = asyncio.Event()
        self._loop_task: asyncio.Task[None] | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def owe(
        self, connection: aiosqlite.Connection, task_id: str, url: str, base_url: str
    ) -> None:
        """Note a delivery in the caller's transaction; ``wake`` after it has committed."""
        values = {"task_id": task_id, "url": url, "base_url": base_url, "now": now_ms()}
        await connection.execute(_OWE, values)

    def wake(self) -> None:
        """Look for deliveries now."""
        self._wake.set()

    async def __aenter__(self) -> Self:
        """Begin to deliver, first of all what a former run still owed."""
        self._loop_task = asyncio.create_task(self._run(), name="webhooks")
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop; what is not delivered stays owed."""
        tasks = [*self._under_way.values(), *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                pause = await self._start_due()
            except sqlite3.Error:
                log.exception("the owed webhooks could not be read")
                pause = _DATABASE_PAUSE
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _start_due(self) -> float | None:
        """Start every delivery that is due; return the seconds until the next is, if known."""
        limit = _AT_ONCE + len(self._under_way)
        for row in await self._database.fetch_all(_OWED, {"limit": limit}):
            delivery = msgspec.convert(dict(row), Delivery)
            if delivery.task_id in self._under_way:
                continue
            if len(self._under_way) >= _AT_ONCE:
                return None  # the end of one wakes the loop
            wait_ms = delivery.next_mills - now_ms()
            if wait_ms > 0:
                return wait_ms / 1000
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[delivery.task_id] = task
            task.add_done_callback(partial(self._ended, delivery.task_id))
        return None

    def _ended(self, task_id: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook of task %s", task_id, exc_info=error)
        self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        tries = delivery.tries + 1
        if tries > len(self._pauses) + 1 or not await self._try(delivery, tries):
            await self._settle(delivery.task_id)

    async def _try(self, delivery: Delivery, tries: int) -> bool:
        """Make one try. True if the delivery stays owed."""
        last = tries > len(self._pauses)
        # Counted before it is made: a delivery that brings the server down is not tried for ever.
        pause = 0.0 if last else self._pauses[tries - 1]
        next_mills = now_ms() + int(pause * 1000)
        async with self._database.transaction() as connection:
            values = {"tries": tries, "next": next_mills, "task_id": delivery.task_id}
            await connection.execute(_TRY, values)
        record = await self._history.get(delivery.task_id)
        if record is None:
            return False  # deleted from the history meanwhile
        body = msgspec.json.encode(absolute(record, delivery.base_url))
        failure, may_help = await self._post(delivery, body)
        if failure:
            log.warning("webhook of task %s, try %s: %s", delivery.task_id, tries, failure)
        return bool(failure) and may_help and not last

    async def _post(self, delivery: Delivery, body: bytes) -> tuple[str, bool]:
        """What went wrong ("" if nothing), and whether another try may help."""
        headers = self._headers(delivery.task_id, body)
        try:
            status = await self._client.post_json(delivery.url, body, headers)
        except UrlRefused as error:
            return str(error), False
        except FetchFailed as error:
            return str(error), True
        return ("" if 200 <= status < 300 else f"answered with status {status}"), status >= 500

    def _headers(self, task_id: str, body: bytes) -> dict[str, str]:
        moment = datetime.now(UTC)
        headers = {"webhook-id": task_id, "webhook-timestamp": str(int(moment.timestamp()))}
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(task_id, moment, body.decode())
        return headers

    async def _settle(self, task_id: str) -> None:
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM webhook_delivery WHERE task_id = ?", (task_id,))


def signing_key(secret: str) -> bytes:
    """The bytes behind a secret: base64 after ``whsec_``; without it base64 of 24 to 64 bytes, else
    the text itself.

    Raises ValueError if ``whsec_`` is followed by no base64.
    """
    prefixed = secret.startswith(_PREFIX)
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefixed and not key:
        raise ValueError("the webhook secret after whsec_ is not base64")
    return key if prefixed or len(key) in _KEY_BYTES else secret.encode()
