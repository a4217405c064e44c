"""Decodes megabytes of base64 in pieces: a single call would hold the GIL for milliseconds."""

import binascii
from typing import Final

PIECE: Final = 64 * 1024  # characters: well below a millisecond
_END: Final = "= \t\r\n"


def decode_base64(text: str) -> bytes:
    """The decoded bytes. White space is ignored; padding may be missing or excessive.

    Not for the event loop. Raises binascii.Error, a ValueError, for anything but base64.
    """
    text = text.rstrip(_END)
    made = bytearray()
    left = ""
    for start in range(0, len(text), PIECE):
        left += "".join(text[start : start + PIECE].split())
        whole = len(left) // 4 * 4
        made += _decoded(left[:whole])
        left = left[whole:]
    made += _decoded(left)
    return bytes(made)


def _decoded(piece: str) -> bytes:
    if "=" in piece or not piece.isascii():
        raise binascii.Error("padding in the middle, or a letter of no such text")
    return binascii.a2b_base64(piece + "=" * (-len(piece) % 4), strict_mode=True)
