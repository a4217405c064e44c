"""The bus: order, replay and gaps."""

import asyncio
import threading

from bus.bus import EventBus
from bus.events import BusGap, QueueChanged, TaskImage, TaskPreview, TaskStarted
from bus.subscription import Event, EventFilter, Subscription


def picture(index: int) -> TaskImage:
    return TaskImage(url="/outputs/a.png", seed=1, index=index)


async def make_bus(events: int, **limits: int) -> EventBus:
    """A bus that has delivered ``events`` pictures of task "a"."""
    bus = EventBus(asyncio.get_running_loop(), **limits)
    for index in range(events):
        bus.publish(picture(index), "a")
    await asyncio.sleep(0)  # one turn of the loop delivers them all
    return bus


async def read(subscription: Subscription) -> list[Event]:
    """All that is there, which closes the mailbox."""
    subscription.close()
    async with asyncio.timeout(2):
        return [event async for event in subscription]


async def seqs_after(bus: EventBus, since: int) -> list[int]:
    with bus.subscribe(since=since) as news:
        return [event.seq for event in await read(news)]


async def gap_after(bus: EventBus, since: int) -> BusGap:
    with bus.subscribe(since=since) as news:
        gap = (await read(news))[0].data
    assert isinstance(gap, BusGap)
    return gap


async def test_every_event_gets_the_next_number() -> None:
    bus = await make_bus(0)
    with bus.subscribe() as news:
        for index in range(3):
            bus.publish(picture(index), "a")
        await asyncio.sleep(0)
        assert [event.seq for event in await read(news)] == [1, 2, 3]
    assert bus.last_seq == 3


async def test_events_of_each_thread_arrive_in_its_order() -> None:
    bus = await make_bus(0)

    def work(name: str) -> None:
        for index in range(100):
            bus.publish(picture(index), name)

    with bus.subscribe(limit=500) as news:
        threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        heard: dict[str | None, list[int]] = {}
        async with asyncio.timeout(5):
            for _ in range(400):
                event = await anext(news)
                assert isinstance(event.data, TaskImage)
                heard.setdefault(event.task_id, []).append(event.data.index)
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert heard == {name: list(range(100)) for name in "abcd"}


async def test_a_reader_that_never_reads_costs_the_others_nothing() -> None:
    bus = await make_bus(0)
    with bus.subscribe(limit=2) as stuck, bus.subscribe(limit=8) as reader:
        for index in range(5):
            bus.publish(picture(index), "a")
        await asyncio.sleep(0)
        assert stuck.overflowed
        assert len(await read(reader)) == 5


async def test_replay_gives_what_came_after_since_and_then_what_is_new() -> None:
    bus = await make_bus(4)
    with bus.subscribe(since=2) as news:
        bus.publish(picture(9), "a")
        await asyncio.sleep(0)
        assert [event.seq for event in await read(news)] == [3, 4, 5]


async def test_replay_is_filtered_and_not_limited_by_the_mailbox() -> None:
    bus = await make_bus(4)
    bus.publish(TaskStarted(device="cpu"), "b")
    await asyncio.sleep(0)
    with bus.subscribe(EventFilter(task_id="a"), limit=1, since=0) as news:
        assert [event.seq for event in await read(news)] == [1, 2, 3, 4]
        assert not news.overflowed


async def test_a_reader_that_missed_nothing_gets_no_replay_and_no_gap() -> None:
    assert await seqs_after(await make_bus(4), since=4) == []


async def test_what_left_the_ring_is_told_as_a_gap() -> None:
    bus = await make_bus(5, ring_events=2)
    assert await gap_after(bus, since=1) == BusGap(first=2, last=3)
    assert await seqs_after(bus, since=1) == [3, 4, 5]  # the gap bears the last lost number
    assert await seqs_after(bus, since=3) == [4, 5]


async def test_a_since_from_before_a_restart_is_a_gap() -> None:
    bus = await make_bus(2)
    assert await gap_after(bus, since=900) == BusGap(first=1, last=2)
    later = await make_bus(2, first_seq=1001)
    assert await gap_after(later, since=900) == BusGap(first=901, last=1000)
    assert await seqs_after(later, since=900) == [1000, 1001, 1002]


async def test_the_ring_is_bounded_in_bytes() -> None:
    bus = await make_bus(0, ring_bytes=10_000)
    for _ in range(5):
        bus.publish(TaskPreview(image="x" * 1000), "a")
    await asyncio.sleep(0)
    assert await gap_after(bus, since=0) == BusGap(first=1, last=2)


async def test_close_delivers_what_was_published_and_ends_every_mailbox() -> None:
    bus = await make_bus(0)
    with bus.subscribe() as news:
        bus.publish(QueueChanged(pending=0, running=0))
        bus.close()
        bus.close()
        bus.publish(QueueChanged(pending=1, running=0))
        async with asyncio.timeout(2):
            assert len([event async for event in news]) == 1
    with bus.subscribe() as late:
        assert late.closed


async def test_publishing_after_the_loop_ended_is_harmless() -> None:
    def ended_loop() -> EventBus:
        loop = asyncio.new_event_loop()
        bus = EventBus(loop)
        loop.close()
        return bus

    bus = await asyncio.to_thread(ended_loop)
    bus.publish(picture(0), "a")
