"""The table of the queue's order, which replaces the dense places of the first versions.

Only tasks that people moved or gave a priority have a row here. Every other task's order is the
id of its row in ``generate_record``, so a move writes one row whatever the length of the queue.
"""

from typing import Final

_ORDER: Final = """
CREATE TABLE focal_order (
    task_id TEXT NOT NULL PRIMARY KEY,
    priority INTEGER NOT NULL,
    rank TEXT NOT NULL -- an exact fraction such as 21/2
) WITHOUT ROWID
"""

# Arranged tasks stood before all that came later, so their ranks lie below every row's id.
_TAKE_PLACES: Final = """
INSERT INTO focal_order
SELECT task_id, priority, CAST(place - 1000000000000 AS TEXT) FROM focal_place
"""

QUEUE_MIGRATION: Final[tuple[str, ...]] = (_ORDER, _TAKE_PLACES, "DROP TABLE focal_place")
