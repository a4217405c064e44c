"""Items put by other threads reach the event loop in order, once each."""

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from bus.inbox import LoopInbox

TraceFunction = Callable[[FrameType, str, Any], Any]
WAIT_S = 5.0
ITEMS = 200


async def test_what_threads_put_arrives_once_and_in_the_order_of_each_thread() -> None:
    received: list[tuple[int, int]] = []
    done = asyncio.Event()

    def receive(items: list[tuple[int, int]]) -> None:
        received.extend(items)
        if len(received) == 4 * ITEMS:
            done.set()

    inbox = LoopInbox(asyncio.get_running_loop(), receive)

    def put_all(thread: int) -> None:
        for number in range(ITEMS):
            inbox.put((thread, number))

    threads = [threading.Thread(target=put_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    await asyncio.wait_for(done.wait(), WAIT_S)
    for thread in threads:
        thread.join(WAIT_S)
    for number in range(4):
        assert [item for item in received if item[0] == number] == [
            (number, i) for i in range(ITEMS)
        ]


@pytest.mark.parametrize("line", range(1, 6))
async def test_an_item_put_at_any_line_of_a_delivery_arrives(line: int) -> None:
    """Without the lock, one put between taking the items and forgetting the wake-up is lost."""
    received: list[int] = []
    both = asyncio.Event()
    lines = itertools.count(1)

    def receive(items: list[int]) -> None:
        received.extend(items)
        if len(received) == 2:
            both.set()

    inbox = LoopInbox(asyncio.get_running_loop(), receive)
    other = threading.Thread(target=inbox.put, args=(1,))

    def at_line(_frame: FrameType, event: str, _value: object) -> TraceFunction:
        if event == "line" and next(lines) == line:
            other.start()
            other.join(0.05)  # as far as it gets: while the lock is held, it waits for it
        return at_line

    def at_call(frame: FrameType, _event: str, _value: object) -> TraceFunction | None:
        return at_line if frame.f_code is LoopInbox.flush.__code__ else None

    inbox.put(0)
    sys.settrace(at_call)
    try:
        await asyncio.sleep(0)  # the loop delivers
    finally:
        sys.settrace(None)
    assert received[:1] == [0]
    await asyncio.to_thread(other.join, WAIT_S)
    await asyncio.wait_for(both.wait(), WAIT_S)
    assert sorted(received) == [0, 1]


async def test_a_burst_is_received_at_once() -> None:
    bursts: list[list[int]] = []
    inbox = LoopInbox(asyncio.get_running_loop(), bursts.append)
    for number in range(5):
        inbox.put(number)
    assert bursts == []
    await asyncio.sleep(0)
    assert bursts == [[0, 1, 2, 3, 4]]


async def test_closing_delivers_what_has_arrived_and_nothing_afterwards() -> None:
    received: list[int] = []
    inbox = LoopInbox(asyncio.get_running_loop(), received.extend)
    inbox.put(1)
    inbox.close()
    inbox.put(2)
    inbox.close()
    await asyncio.sleep(0)
    assert received == [1]


def test_a_loop_that_has_ended_receives_nothing() -> None:
    received: list[int] = []
    loop = asyncio.new_event_loop()
    inbox = LoopInbox(loop, received.extend)
    loop.close()
    inbox.put(1)
    assert received == []
