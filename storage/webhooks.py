"""Delivers webhooks: one background task sends what the outbox owes."""

import asyncio
import base64
import binascii
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final, Self
from urllib.parse import urlsplit

import msgspec
from standardwebhooks import Webhook

from bus.events import now_ms
from bus.supervision import Supervisor
from storage.fetch import FetchFailed, GuardedClient, UrlRefused
from storage.history import HistoryRepository
from storage.outbox import Outbox, OwedWebhook
from storage.records import TaskRecord, absolute, encode_record

log = logging.getLogger(__name__)

PAUSES: Final = (2.0, 10.0, 60.0, 300.0)  # seconds between one try and the next: five tries
AT_ONCE: Final = 32  # deliveries under way
PER_HOST: Final = 4  # of these to one receiver, so that a slow one does not hold up the others
_SEARCHED: Final = 65_536  # owed deliveries that are looked through for a free receiver
LONGEST_RETRY_S: Final = 3600.0  # of what a receiver's Retry-After may ask for
_RETRIED: Final = frozenset({408, 429})  # with every status from 500 on
_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = range(24, 65)  # what Standard Webhooks asks of a key

BodyOf = Callable[[TaskRecord], bytes]


class WebhookSender:
    """Delivers what the outbox owes. Event loop only.

    Each webhook is made at least once: after a crash in mid-try it is made again, with the same
    ``webhook-id`` (the task's id), by which receivers can tell.
    """

    def __init__(
        self,
        outbox: Outbox,
        history: HistoryRepository,
        client: GuardedClient,
        secret: str = "",
        pauses: tuple[float, ...] = PAUSES,
        body_of: BodyOf = encode_record,
    ) -> None:
        """``body_of`` writes a record, whose URLs are whole, as the body of its webhook."""
        self._outbox = outbox
        self._history = history
        self._client = client
        self._signer = Webhook(signing_key(secret)) if secret else None
        self._pauses = pauses
        self._body_of = body_of
        self._supervisor = Supervisor()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._hosts: Counter[str] = Counter()  # deliveries under way by receiver

    async def __aenter__(self) -> Self:
        """Begin to deliver, first of all what a former run still owed."""
        self._supervisor.keep("webhooks", self._run)
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Stop; what is not delivered stays owed."""
        await self._supervisor.close()
        deliveries = tuple(self._under_way.values())
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._outbox.changed.clear()
            pause = await self._start_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._outbox.changed.wait()

    async def _start_due(self) -> float | None:
        """Start every delivery that is due; return the seconds until the next is, if known."""
        searched = 0
        limit = AT_ONCE + len(self._under_way)
        while len(self._under_way) < AT_ONCE:  # the end of one wakes the loop
            owed = await self._outbox.next(limit)
            for webhook in owed[searched:]:
                wait_ms = webhook.next_mills - now_ms()
                if wait_ms > 0:
                    return wait_ms / 1000
                self._start(webhook)
            searched = len(owed)
            if searched < limit or limit >= _SEARCHED:
                return None
            limit *= 4  # all of these are for receivers that are busy
        return None

    def _start(self, webhook: OwedWebhook) -> None:
        """Begin a delivery unless it is under way or its receiver has enough of them."""
        host = _receiver(webhook.url)
        if webhook.task_id in self._under_way or self._hosts[host] >= PER_HOST:
            return
        if len(self._under_way) >= AT_ONCE:
            return
        self._hosts[host] += 1
        task = asyncio.create_task(self._deliver(webhook))
        self._under_way[webhook.task_id] = task
        task.add_done_callback(partial(self._ended, webhook.task_id, host))

    def _ended(self, task_id: str, host: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task_id, None)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("webhook of task %s", task_id, exc_info=error)
        self._outbox.changed.set()

    async def _deliver(self, webhook: OwedWebhook) -> None:
        tries = webhook.tries + 1
        if tries > len(self._pauses) + 1 or not await self._try(webhook, tries):
            await self._outbox.settle(webhook.task_id)

    async def _try(self, webhook: OwedWebhook, tries: int) -> bool:
        """Make one try. True if the delivery stays owed."""
        last = tries > len(self._pauses)
        # Counted before it is made: a delivery that brings the server down is not tried for ever.
        pause = 0.0 if last else self._pauses[tries - 1]
        next_mills = now_ms() + int(pause * 1000)
        counted = msgspec.structs.replace(webhook, tries=tries, next_mills=next_mills)
        await self._outbox.count_try(counted)
        record = await self._history.get(webhook.task_id)
        if record is None:
            return False  # deleted from the history meanwhile
        body = self._body_of(absolute(record, webhook.base_url))
        failure, may_help, wait_s = await self._post(webhook, body)
        if failure:
            log.warning("webhook of task %s, try %s: %s", webhook.task_id, tries, failure)
        stays = bool(failure) and may_help and not last
        if stays and wait_s > pause:
            later = now_ms() + int(min(wait_s, LONGEST_RETRY_S) * 1000)
            await self._outbox.count_try(msgspec.structs.replace(counted, next_mills=later))
        return stays

    async def _post(self, webhook: OwedWebhook, body: bytes) -> tuple[str, bool, float]:
        """What went wrong ("" if nothing), whether another try may help, and in how many seconds.

        The receiver asks for the last with Retry-After; 0 if it does not.
        """
        headers = self._headers(webhook.task_id, body)
        try:
            posted = await self._client.post_json(webhook.url, body, headers)
        except UrlRefused as error:
            return str(error), False, 0.0
        except FetchFailed as error:
            return str(error), True, 0.0
        status = posted.status
        failure = "" if 200 <= status < 300 else f"answered with status {status}"
        return failure, status >= 500 or status in _RETRIED, posted.retry_after_s

    def _headers(self, task_id: str, body: bytes) -> dict[str, str]:
        moment = datetime.now(UTC)
        headers = {"webhook-id": task_id, "webhook-timestamp": str(int(moment.timestamp()))}
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(task_id, moment, body.decode())
        return headers


def _receiver(url: str) -> str:
    """The part of a URL that names the receiver; of a malformed one, all of it."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return url


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
