"""Wrong keys: the more come from one address, the more slowly they are answered."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from handlers.http.refusal import RequestRefused

log = logging.getLogger(__name__)

FREE_TRIES: Final = 5  # a minute, that cost nothing
LONGEST_S: Final = 2.0
WAITING: Final = 8  # wrong keys of one address that are being slowed; beyond it none is looked at
MINUTE_S: Final = 60.0
_ADDRESSES: Final = 4096


class _Address(msgspec.Struct):
    since: float
    wrong: int = 0
    waiting: int = 0
    logged: bool = False


class WrongKeys:
    """Counts wrong keys by address for a minute each. Event loop only."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, longest_s: float = LONGEST_S
    ) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self._addresses: dict[str, _Address] = {}

    def check(self, address: str) -> None:
        """Before a key is looked at. Raises RequestRefused: 429, while too many are being slowed.

        So sending many at once does not find out faster which of them is right.
        """
        known = self._addresses.get(address)
        if known is not None and known.waiting >= WAITING:
            raise RequestRefused(
                429, "too_many_wrong_keys", "too many wrong keys came from here",
                {"Retry-After": str(int(LONGEST_S))},
            )  # fmt: skip

    async def slow(self, address: str) -> None:
        """Count a wrong key, and wait before it is answered."""
        entry = self._entry(address)
        entry.wrong += 1
        if not entry.logged:
            entry.logged = True
            log.warning("a wrong key from %s; others of this minute are not logged", address)
        beyond = entry.wrong - FREE_TRIES
        if beyond <= 0:
            return
        entry.waiting += 1
        try:
            await asyncio.sleep(min(self._longest_s, 0.1 * 2 ** min(beyond, 10)))
        finally:
            entry.waiting -= 1

    def _entry(self, address: str) -> _Address:
        now = self._clock()
        entry = self._addresses.get(address)
        if entry is None or (now - entry.since >= MINUTE_S and not entry.waiting):
            if len(self._addresses) >= _ADDRESSES:
                self._forget(now)
            entry = self._addresses[address] = _Address(since=now)
        return entry

    def _forget(self, now: float) -> None:
        """Drop what is older than a minute; all that is not waiting, if that is not enough."""
        for horizon in (now - MINUTE_S, now):
            for address, entry in list(self._addresses.items()):
                if entry.since <= horizon and not entry.waiting:
                    del self._addresses[address]
            if len(self._addresses) < _ADDRESSES:
                return
