"""How much of the queue and of the workers one API key may have."""

import msgspec


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks of one key; 0 is no limit."""

    waiting: int = 0
    running: int = 0
