"""How much main memory this process may use, and does. Torch-free."""

import os
from pathlib import Path
from typing import Final

_CONTAINER_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),  # cgroup 2
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),  # cgroup 1
)
_STATM: Final = Path("/proc/self/statm")  # pages in all, resident, shared, ...


def memory_bytes() -> int:
    """Bytes of main memory, at most what the container is given."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for path in _CONTAINER_LIMITS if (limit := _limit(path)))])


def resident_bytes() -> int:
    """Bytes of main memory that this process holds now; 0 where the system does not say."""
    try:
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _limit(path: Path) -> int:
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
