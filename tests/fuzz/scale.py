"""How much is generated: a small number each time, a large one with ``FUZZ_SCALE=100``."""

import os
from typing import Final

SCALE: Final = int(os.environ.get("FUZZ_SCALE", "1"))


def examples(count: int) -> int:
    """So many examples at the scale that the environment names."""
    return count * SCALE
