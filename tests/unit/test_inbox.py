"""Items put by other threads reach the event loop in order, once each."""

import asyncio
import threading

from bus.inbox import LoopInbox

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
