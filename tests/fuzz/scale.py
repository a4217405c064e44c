"""How much is generated: a small number each time, a large one with ``FUZZ_SCALE=100``.

``FUZZ_VARIATIONS`` says how many inputs of the parsers each drawn one becomes.
"""

import os
from typing import Final

SCALE: Final = int(os.environ.get("FUZZ_SCALE", "1"))
VARIATIONS: Final = int(os.environ.get("FUZZ_VARIATIONS", "10"))  # inputs of each one drawn


def examples(count: int) -> int:
    """So many examples at the scale that the environment names."""
    return count * SCALE
