"""The mailbox: what a slow reader loses, and what it never loses."""

import asyncio
import base64
from itertools import count

import msgspec
import pytest

from bus.events import (
    BusGap,
    DownloadProgress,
    EventData,
    TaskFinished,
    TaskImage,
    TaskPreview,
    TaskProgress,
    TaskStarted,
)
from bus.subscription import Event, EventFilter, Subscription

DONE = TaskFinished(images=(), seconds=1.0)
GAP = BusGap(first=1, last=2)


def step(number: int) -> TaskProgress:
    return TaskProgress(progress=number, step=number, steps=9, image=1, images=1, message="")


def picture(index: int) -> TaskImage:
    return TaskImage(url="/outputs/a.png", seed=1, index=index)


def offer(subscription: Subscription, *events: tuple[str | None, EventData]) -> None:
    for seq, (task_id, data) in zip(count(1), events, strict=False):
        subscription.offer(Event(seq, 1000, task_id, data))


async def read(subscription: Subscription) -> list[EventData]:
    """All that is there, which closes the mailbox."""
    subscription.close()
    async with asyncio.timeout(2):
        return [event.data async for event in subscription]


async def test_a_slow_reader_gets_only_the_newest_step_of_each_task() -> None:
    mailbox = Subscription(limit=8)
    offer(mailbox, ("a", step(1)), ("b", step(1)), ("a", step(2)), ("a", DONE), ("b", step(3)))
    assert await read(mailbox) == [step(2), DONE, step(3)]
    assert mailbox.replaced == 2


async def test_previews_and_progress_do_not_replace_each_other() -> None:
    mailbox = Subscription(limit=8)
    offer(mailbox, ("a", TaskPreview(image="1")), ("a", step(1)), ("a", TaskPreview(image="2")))
    assert await read(mailbox) == [step(1), TaskPreview(image="2")]


async def test_two_downloads_keep_their_own_newest_figure() -> None:
    mailbox = Subscription(limit=8)
    first, second = (DownloadProgress(name=name, received=1, total=2) for name in "ab")
    offer(mailbox, (None, first), (None, second))
    assert await read(mailbox) == [first, second]


async def test_an_event_that_may_not_be_lost_takes_the_place_of_one_that_may() -> None:
    mailbox = Subscription(limit=2)
    offer(mailbox, ("a", step(1)), ("a", picture(0)), ("a", DONE))
    assert not mailbox.overflowed
    assert await read(mailbox) == [picture(0), DONE]


async def test_a_mailbox_full_of_what_may_not_be_lost_closes_as_overflowed() -> None:
    mailbox = Subscription(limit=2)
    offer(mailbox, *[("a", picture(index)) for index in range(3)])
    assert mailbox.closed
    assert mailbox.overflowed
    assert await read(mailbox) == []


async def test_a_lossy_event_without_room_is_dropped_and_the_mailbox_stays() -> None:
    mailbox = Subscription(limit=1)
    offer(mailbox, ("a", picture(0)), ("a", step(1)))
    assert not mailbox.closed
    assert await read(mailbox) == [picture(0)]


async def test_a_waiting_reader_is_woken_by_an_event_and_ended_by_close() -> None:
    mailbox = Subscription(limit=2)
    waiting = asyncio.ensure_future(mailbox.take())
    await asyncio.sleep(0)
    offer(mailbox, ("a", DONE))
    async with asyncio.timeout(2):
        assert [event.data for event in await waiting] == [DONE]
        ending = asyncio.ensure_future(mailbox.take())
        await asyncio.sleep(0)
        mailbox.close()
        assert await ending == []


async def test_a_reader_whose_wait_timed_out_reads_on() -> None:
    mailbox = Subscription(limit=2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(mailbox)
    offer(mailbox, ("a", DONE))
    assert await read(mailbox) == [DONE]


@pytest.mark.parametrize(
    ("wanted", "heard"),
    [
        (
            EventFilter(),
            [("a", DONE), ("b", DONE), ("a", step(1)), (None, GAP)],
        ),
        (EventFilter(task_id="b"), [("b", DONE), (None, GAP)]),
        (
            EventFilter(types=frozenset({"task.progress"})),
            [("a", step(1)), (None, GAP)],
        ),
        (EventFilter(frozenset({"task.started"}), "a"), [(None, GAP)]),
    ],
)
async def test_a_filter_lets_through_its_types_and_task_and_every_gap(
    wanted: EventFilter, heard: list[tuple[str | None, EventData]]
) -> None:
    mailbox = Subscription(8, wanted)
    offer(mailbox, ("a", DONE), ("b", DONE), ("a", step(1)), (None, GAP))
    assert await read(mailbox) == [data for _, data in heard]


def test_json_is_the_documented_shape_and_made_once() -> None:
    event = Event(7, 1000, "a", TaskStarted(device="cpu"))
    assert msgspec.json.decode(event.json) == {
        "seq": 7,
        "ts": 1000,
        "type": "task.started",
        "task_id": "a",
        "data": {"device": "cpu"},
    }
    assert event.json is event.json


def test_a_preview_frame_is_magic_format_task_and_image() -> None:
    task_id = "0123456789abcdef" * 2
    image = "data:image/jpeg;base64," + base64.b64encode(b"picture").decode()
    event = Event(1, 1000, task_id, TaskPreview(image=image))
    assert event.preview_frame == b"FPV\x01" + b"\x01" + task_id.encode() + b"picture"
    assert event.preview_frame is event.preview_frame


@pytest.mark.parametrize("image", ["", "data:image/gif;base64,AAAA", "data:image/png;base64,A"])
def test_a_preview_that_is_no_known_picture_has_no_frame(image: str) -> None:
    assert Event(1, 1000, "a", TaskPreview(image=image)).preview_frame is None
