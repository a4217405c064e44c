"""Server-sent events as they come over the wire: cut anywhere, with comments and numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from focal_client import calls
from focal_client.errors import ConnectionFailed, UnexpectedReply
from focal_client.events import Backoff, EventReader, decode_event, decode_step

STREAM = (
    b"retry: 1000\n: since 41\n"
    b'event: task.queued\r\nid: 42\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    b": ping\n"
    b"id: 43\ndata: \xc2\x85\xe2\x80\xa8\n\n\ndata: half"
)
EVENTS = [("task.queued", b'{"a":\n1}'), ("", b"\xc2\x85\xe2\x80\xa8")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_cut_anywhere_has_the_same_events(cuts: list[int]) -> None:
    reader = EventReader()
    found: list[tuple[str, bytes]] = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(STREAM)], strict=True):
        found += reader.feed(STREAM[begin:end])
    assert found == EVENTS
    assert reader.last_seq == 43


def test_a_stream_says_where_it_begins_once() -> None:
    reader = EventReader()
    assert list(reader.feed(b": since 7\n")) == []
    assert reader.last_seq == 7
    list(reader.feed(b"id: 9\n: since 1\n"))
    assert reader.last_seq == 9


def test_half_an_event_of_a_lost_connection_is_forgotten() -> None:
    reader = EventReader()
    list(reader.feed(b"event: a\ndata: 1\nda"))
    reader.restart()
    assert list(reader.feed(b"data: 2\n\n")) == [("", b"2")]


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"message": "\xff", "type": "\xff"}'])
def test_what_no_focal_server_sends_is_an_unexpected_reply(content: bytes) -> None:
    for decode in (
        decode_event,
        decode_step,
        lambda data: calls.decode(calls.task("1"), 200, {}, data),
    ):
        with pytest.raises(UnexpectedReply):
            decode(content)


def test_pauses_grow_until_patience_ends_and_are_short_again_after_success() -> None:
    now = [0.0]
    backoff = Backoff(10, clock=lambda: now[0])
    pauses = [backoff.pause_s("gone") for _ in range(8)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5
    backoff.connected()
    assert backoff.pause_s("gone") == pauses[0]
    now[0] = 10.0
    with pytest.raises(ConnectionFailed, match="gone"):
        backoff.pause_s("gone")
