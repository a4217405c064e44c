"""A page of what is stored, with what is not stored yet in its places."""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")

Fetch = Callable[[int, int | None], Awaitable[list[T]]]
"""Stored items behind the first ``offset``, at most ``limit`` (None: all), newest first."""


async def merged_page(
    held: Sequence[T],
    fetch: Fetch[T],
    offset: int,
    limit: int | None,
    *,
    age: Callable[[T], tuple[int, ...]],
    name: Callable[[T], Hashable],
) -> list[T]:
    """``limit`` items behind the ``offset`` newest ones, of the ``held`` and the stored ones.

    ``age`` grows with newness and orders both; an item with the ``name`` of a stored one is left
    out. All held items may be newer than the page, so the stored ones are read from as many
    places further up.
    """
    if not held:
        return await fetch(offset, limit)
    skipped = max(0, offset - len(held))
    start = offset - skipped
    end = None if limit is None else start + limit
    stored = await fetch(skipped, end)
    unique = {name(item): item for item in (*held, *stored)}
    return sorted(unique.values(), key=age, reverse=True)[start:end]
