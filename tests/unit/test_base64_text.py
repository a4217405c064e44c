import base64
import binascii
import random

import pytest

from handlers.service.base64_text import PIECE, decode_base64

AROUND = [0, 1, 2, 3, 4, 5, *range(PIECE * 3 // 4 - 4, PIECE * 3 // 4 + 5), PIECE * 2]


@pytest.mark.parametrize("size", AROUND)
def test_bytes_of_any_length_come_back_with_padding_and_without(size: int) -> None:
    data = random.Random(size).randbytes(size)
    text = base64.b64encode(data).decode()
    assert decode_base64(text) == data
    assert decode_base64(text.rstrip("=")) == data
    assert decode_base64(text + "==") == data


def test_white_space_counts_nowhere() -> None:
    data = random.Random(1).randbytes(PIECE)
    assert decode_base64("\n" + base64.encodebytes(data).decode().replace("\n", "\r\n ")) == data


@pytest.mark.parametrize("at", [0, 4, PIECE - 4, PIECE, PIECE + 4])
def test_padding_ends_the_text(at: int) -> None:
    text = "A" * at + "QQ==" + "QUJD" * 3
    with pytest.raises(binascii.Error):
        decode_base64(text)


@pytest.mark.parametrize("text", ["a.b", "A", "Q=", "=QUJD", "AAAA\u00e9AAA", "QUJD.", "%51UJD"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(binascii.Error):
        decode_base64(text)
