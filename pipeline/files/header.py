"""The text that a safetensors file carries beside its tensors. Reads the header and no tensor."""

import json
import struct
from pathlib import Path
from typing import Final

_MAX_HEADER_BYTES: Final = 100_000_000  # the library's own limit
_METADATA: Final = "__metadata__"


def read_metadata(path: Path) -> dict[str, str]:
    """Names and texts of the header; {} where there are none and for a file of another format."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
            if not 1 < length <= _MAX_HEADER_BYTES or file.read(1) != b"{":
                return {}
            header = json.loads(b"{" + file.read(length - 1))
    except (OSError, ValueError, RecursionError):
        return {}
    told = header.get(_METADATA)
    if not isinstance(told, dict):
        return {}
    return {name: text for name, text in told.items() if isinstance(text, str)}
