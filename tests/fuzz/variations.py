"""Many inputs from one that Hypothesis has drawn: it is cut, doubled, mixed and spliced.

Hypothesis draws some hundred inputs a second, parsers read thousands. So what it draws is the seed
of a whole group of inputs; each of them is parsed and checked on its own.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final

_STEPS: Final = 4  # changes of one variation, at most
_REPEATS: Final = (2, 3, 40)
_LONGEST: Final = 2000  # characters or bytes: the growth of time is tested elsewhere


def text_variations(text: str, tokens: Sequence[str], seed: int, count: int) -> Iterator[str]:
    """The text, then ``count - 1`` others made of it and of ``tokens``."""
    choose = random.Random(seed)
    yield text
    for _ in range(count - 1):
        varied = text
        for _ in range(choose.randint(1, _STEPS)):
            varied = _changed_text(varied, tokens, choose)
        yield varied


def byte_variations(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """The bytes, then ``count - 1`` others made of them."""
    choose = random.Random(seed)
    yield data
    for _ in range(count - 1):
        varied = data
        for _ in range(choose.randint(1, _STEPS)):
            varied = _changed_bytes(varied, choose)
        yield varied


def _changed_text(text: str, tokens: Sequence[str], choose: random.Random) -> str:
    begin, end = _span(len(text), choose)
    before, part, after = text[:begin], text[begin:end], text[end:]
    match choose.randrange(6):
        case 0:
            return before + after
        case 1:
            return before + choose.choice(tokens) + part + after
        case 2:
            return before + choose.choice(tokens) + after
        case 3:
            return (before + part * choose.choice(_REPEATS) + after)[:_LONGEST]
        case 4:
            return (
                before
                + chr(choose.choice((choose.randrange(128), choose.randrange(0x11000))))
                + after
            )
        case _:
            return part + before + after


def _changed_bytes(data: bytes, choose: random.Random) -> bytes:
    begin, end = _span(len(data), choose)
    before, part, after = data[:begin], data[begin:end], data[end:]
    match choose.randrange(6):
        case 0:
            return before + after
        case 1:
            return before + bytes([choose.randrange(256)]) + data[begin + 1 :]
        case 2:
            flipped = bytes([data[begin] ^ 1 << choose.randrange(8)]) if begin < len(data) else b""
            return before + flipped + data[begin + 1 :]
        case 3:
            return before + part + part + after
        case 4:
            return before + choose.randbytes(choose.randint(1, 4)) + after
        case _:
            return before + part


def _span(length: int, choose: random.Random) -> tuple[int, int]:
    """Where a part begins and ends; short parts are as likely as long ones."""
    begin = choose.randint(0, length)
    longest = choose.choice((1, 4, 16, length))
    return begin, min(length, begin + choose.randint(0, longest))
