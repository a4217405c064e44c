"""How much of the history is kept."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Ended tasks beyond any of these go, the oldest first; 0 is no limit."""

    seconds: float = 0.0  # age
    tasks: int = 0
    bytes: int = 0  # all pictures together
