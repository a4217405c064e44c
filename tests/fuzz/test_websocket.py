"""/ws against frames that a client may and may not send, group by group as Autobahn's test suite.

The suite itself is written for Python 2 and cannot be installed beside this project, so its cases
that do not need an echo are played here over a raw socket, against the real handler.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import pytest
from yarl import URL

from handlers.live.websocket import MAX_FRAME_BYTES
from tests.integration.conftest import focal  # noqa: F401 - the fixture
from tests.integration.serving import WAIT_S, Focal

pytestmark = pytest.mark.slow

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NORMAL, PROTOCOL_ERROR, INVALID_TEXT, TOO_BIG = 1000, 1002, 1007, 1009
PING_COMMAND: Final = b'{"op": "ping"}'
GAP: Final = (
    "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
)  # "kosme" with an accent, Autobahn's own text


class Frame(NamedTuple):
    """A frame as the server sent it."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame; 0 without one."""
        return int.from_bytes(self.payload[:2])


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """A client's frame (RFC 6455, section 5.2)."""
    size, mask = len(payload), b"\x11\x22\x33\x44"
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = masked << 7
    if size < 126:
        head += bytes([bit | size])
    elif size < 2**16:
        head += bytes([bit | 126]) + size.to_bytes(2)
    else:
        head += bytes([bit | 127]) + size.to_bytes(8)
    if not masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close(code: int | None = NORMAL, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason)


def pieces(payload: bytes, size: int, opcode: int = TEXT) -> bytes:
    """A message in frames of ``size`` bytes."""
    parts = [payload[at : at + size] for at in range(0, len(payload), size)]
    last = len(parts) - 1
    return b"".join(
        frame(CONTINUATION if i else opcode, part, fin=i == last) for i, part in enumerate(parts)
    )


class Peer:
    """A client that knows no more of the protocol than the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes, step: int = 0) -> None:
        """Send bytes, ``step`` at a time if it is given."""
        for at in range(0, len(data), step or len(data) or 1):
            self._writer.write(data[at : at + (step or len(data))])
            await self._writer.drain()

    async def receive(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        try:
            async with asyncio.timeout(WAIT_S):
                first, size = await self._reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await self._reader.readexactly(2))
                elif size == 127:
                    size = int.from_bytes(await self._reader.readexactly(8))
                return Frame(first & 0x0F, await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def rest(self) -> list[Frame]:
        """What comes until the end of the connection."""
        found = []
        while (received := await self.receive()) is not None:
            found.append(received)
        return found


@asynccontextmanager
async def connected(focal: Focal) -> AsyncIterator[Peer]:  # noqa: F811
    """A peer that has been greeted and hears of no event."""
    url = URL(focal.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    key = base64.b64encode(b"0123456789abcdef").decode()
    head = ("GET /ws?task_id=nobody HTTP/1.1", f"Host: {url.authority}", "Upgrade: websocket")
    more = ("Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
    try:
        writer.write("\r\n".join((*head, *more, "", "")).encode())
        async with asyncio.timeout(WAIT_S):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        peer = Peer(reader, writer)
        greeting = await peer.receive()
        assert greeting is not None
        assert b'"hello"' in greeting.payload
        yield peer
    finally:
        writer.close()


# What is sent, and the opcodes of what comes back before the close frame that answers ours.
TAKEN: Final[dict[str, tuple[bytes, Sequence[int]]]] = {
    "1.1 empty text": (frame(TEXT), [TEXT]),
    "1.1 text of 125 bytes": (frame(TEXT, b"x" * 125), [TEXT]),
    "1.1 text of 126 bytes": (frame(TEXT, b"x" * 126), [TEXT]),
    "1.2 binary": (frame(BINARY, PING_COMMAND), [TEXT]),
    "1.2 binary that is no text": (frame(BINARY, b"\xfe" * 127), [TEXT]),
    "2.1 empty ping": (frame(PING), [PONG]),
    "2.3 binary ping": (frame(PING, b"\x00\xff\xfe\xfd"), [PONG]),
    "2.4 ping of 125 bytes": (frame(PING, b"\xfe" * 125), [PONG]),
    "2.7 pong that nobody asked for": (frame(PONG, b"hello"), []),
    "2.9 pong, then ping": (frame(PONG) + frame(PING, b"x"), [PONG]),
    "2.10 ten pings": (b"".join(frame(PING, b"%d" % i) for i in range(10)), [PONG] * 10),
    "5.3 text in two frames": (pieces(PING_COMMAND, 7), [TEXT]),
    "5.6 ping between two frames": (
        frame(TEXT, PING_COMMAND[:5], fin=False)
        + frame(PING, b"x")
        + frame(CONTINUATION, PING_COMMAND[5:]),
        [PONG, TEXT],
    ),
    "5.19 many frames": (pieces(PING_COMMAND, 1), [TEXT]),
    "6.1 empty frames of a text": (
        frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION),
        [TEXT],
    ),
    "6.2 text split within a letter": (pieces(GAP, 1), [TEXT]),
    "6.7 the letter NUL": (frame(TEXT, b"\x00"), [TEXT]),
    "6.9 the last letter": (frame(TEXT, b"\xf4\x8f\xbf\xbf"), [TEXT]),
}
# What must end the connection, and with which code.
REFUSED: Final[dict[str, tuple[bytes, int]]] = {
    "2.5 ping of 126 bytes": (frame(PING, b"\xfe" * 126), PROTOCOL_ERROR),
    "3.1 first reserved bit": (frame(TEXT, b"x", rsv=4), PROTOCOL_ERROR),
    "3.2 second reserved bit": (frame(TEXT, b"x", rsv=2), PROTOCOL_ERROR),
    "3.3 third reserved bit": (frame(TEXT, b"x", rsv=1), PROTOCOL_ERROR),
    "3.5 reserved bits of a ping": (frame(PING, b"x", rsv=5), PROTOCOL_ERROR),
    **{
        f"4 opcode {opcode}": (frame(opcode, b"x"), PROTOCOL_ERROR)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "5.1 ping in two frames": (
        frame(PING, b"x", fin=False) + frame(CONTINUATION, b"y"),
        PROTOCOL_ERROR,
    ),
    "5.9 continuation of nothing": (frame(CONTINUATION, b"x"), PROTOCOL_ERROR),
    "5.18 text within a text": (
        frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
        PROTOCOL_ERROR,
    ),
    "6.3 invalid text": (frame(TEXT, GAP + b"\xed\xa0\x80edited"), INVALID_TEXT),
    "6.3 invalid text in frames": (pieces(GAP + b"\xed\xa0\x80edited", 1), INVALID_TEXT),
    "6.8 a letter cut off": (frame(TEXT, b"\xf8\x88\x80\x80\x80"), INVALID_TEXT),
    "6.12 overlong": (frame(TEXT, b"\xc0\xaf"), INVALID_TEXT),
    "7.3 close of one byte": (frame(CLOSE, b"x"), PROTOCOL_ERROR),
    "7.3 close of 126 bytes": (close(NORMAL, b"x" * 124), PROTOCOL_ERROR),
    "7.5 close with invalid text": (close(NORMAL, b"\xce\xba\xed\xa0\x80"), INVALID_TEXT),
    **{
        f"7.9 close code {code}": (close(code), PROTOCOL_ERROR)
        for code in (0, 999, 1004, 1005, 1016, 1100, 2000, 2999)  # aiohttp 3.14.5 takes 1006
    },
    "a message above the limit": (frame(TEXT, b" " * (MAX_FRAME_BYTES + 1)), TOO_BIG),
    "a message above the limit in frames": (pieces(b" " * (MAX_FRAME_BYTES * 2), 4096), TOO_BIG),
    "a length of 2**63": (bytes([0x81, 0xFF]) + b"\xff" * 8 + b"abcd", TOO_BIG),
}


@pytest.mark.parametrize("step", [0, 1], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", TAKEN)
async def test_what_a_client_may_send_is_answered(
    focal: Focal,  # noqa: F811
    name: str,
    step: int,
) -> None:
    sent, answers = TAKEN[name]
    async with connected(focal) as peer:
        await peer.send(sent + frame(TEXT, PING_COMMAND) + close(NORMAL, b"bye"), step)
        *received, pong, closed = await peer.rest()
    assert [each.opcode for each in received] == list(answers)
    assert b'"pong"' in pong.payload
    assert (closed.opcode, closed.code) == (CLOSE, NORMAL)


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_client_may_not_send_ends_the_connection(
    focal: Focal,  # noqa: F811
    name: str,
) -> None:
    sent, code = REFUSED[name]
    async with connected(focal) as peer:
        await peer.send(sent)
        *_, closed = await peer.rest()
    assert (closed.opcode, closed.code) == (CLOSE, code)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999])
async def test_a_close_code_of_the_clients_own_is_taken(
    focal: Focal,  # noqa: F811
    code: int,
) -> None:
    async with connected(focal) as peer:
        await peer.send(close(code, b"x" * 123))
        (closed,) = await peer.rest()
    assert closed.opcode == CLOSE


async def test_nothing_is_answered_after_the_close(focal: Focal) -> None:  # noqa: F811
    async with connected(focal) as peer:
        await peer.send(close(None) + frame(PING, b"x") + frame(TEXT, PING_COMMAND))
        (closed,) = await peer.rest()
    assert closed.opcode == CLOSE
