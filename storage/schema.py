"""The tables: the reference server's own, and ours beside it. ``storage.database`` runs them.

``generate_record`` is what the reference server makes, so a database of its making opens as it is
and stays usable by it. What it cannot hold stands in tables of our own. A row is ended when it says
so in either way that the reference knows: a finish time or a final status.
"""

from typing import Final

from storage.schema_attempts import ATTEMPTS_MIGRATION
from storage.schema_boards import BOARDS_MIGRATION
from storage.schema_gallery import GALLERY_MIGRATION
from storage.schema_origin import ORIGIN_MIGRATION
from storage.schema_queue import QUEUE_MIGRATION
from storage.schema_sizes import SIZES_MIGRATION

_RECORDS: Final = """
CREATE TABLE IF NOT EXISTS generate_record (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    task_id VARCHAR(255) NOT NULL,
    req_params JSON NOT NULL,
    in_queue_mills INTEGER,
    start_mills INTEGER,
    finish_mills INTEGER,
    task_status VARCHAR(255),
    progress FLOAT,
    webhook_url VARCHAR(255),
    result JSON
)
"""

_TASKS: Final = """
CREATE TABLE focal_task (
    task_id TEXT NOT NULL PRIMARY KEY,
    base_url TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID
"""

_KEYS: Final = """
CREATE TABLE idempotency (
    key TEXT NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL,
    created INTEGER NOT NULL
) WITHOUT ROWID
"""

_DELIVERIES: Final = """
CREATE TABLE webhook_delivery (
    task_id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    base_url TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_mills INTEGER NOT NULL
) WITHOUT ROWID
"""

_ENDED: Final = """
CREATE VIEW focal_ended AS SELECT id, task_id, coalesce(in_queue_mills, 0) AS mills
FROM generate_record
WHERE (coalesce(finish_mills, -1) > 0
       OR coalesce(task_status, '') NOT IN ('', 'pending', 'running'))
"""

_OPEN: Final = """
CREATE VIEW focal_open AS SELECT id, task_id FROM generate_record
WHERE coalesce(finish_mills, -1) <= 0
  AND coalesce(task_status, '') IN ('', 'pending', 'running')
"""

_FULL: Final = """
CREATE VIEW focal_record AS SELECT
    r.id, r.task_id, r.req_params, r.in_queue_mills, r.start_mills, r.finish_mills, r.task_status,
    r.progress, r.webhook_url, r.result, t.base_url, t.error, t.code, t.notes,
    coalesce(r.in_queue_mills, 0) AS mills
FROM generate_record r LEFT JOIN focal_task t ON t.task_id = r.task_id
"""

# The index must repeat the view's condition word for word, or SQLite will not use it for the view.
_ENDED_INDEX: Final = """
CREATE INDEX focal_ended_index ON generate_record (coalesce(in_queue_mills, 0), id)
WHERE (coalesce(finish_mills, -1) > 0
       OR coalesce(task_status, '') NOT IN ('', 'pending', 'running'))
"""

_OPEN_INDEX: Final = """
CREATE INDEX focal_open_index ON generate_record (id)
WHERE coalesce(finish_mills, -1) <= 0
  AND coalesce(task_status, '') IN ('', 'pending', 'running')
"""

# OFFSET walks the index entry by entry: 60 ms at the end of a million rows. So ended rows are
# counted by blocks of 2**24 ms (4.7 hours) of queueing time; a page skips whole blocks and walks
# only its own. The triggers keep the counts right for every writer, the reference included.
_BLOCKS: Final = """
CREATE TABLE focal_block (block INTEGER NOT NULL PRIMARY KEY, ended INTEGER NOT NULL)
"""

_COUNT_ALL: Final = """
INSERT INTO focal_block SELECT mills >> 24, count(*) FROM focal_ended GROUP BY mills >> 24
"""

_COUNT_INSERT: Final = """
CREATE TRIGGER focal_count_insert AFTER INSERT ON generate_record BEGIN
    INSERT INTO focal_block SELECT mills >> 24, 1 FROM focal_ended WHERE id = NEW.id
    ON CONFLICT (block) DO UPDATE SET ended = ended + 1;
END
"""

_COUNT_DELETE: Final = """
CREATE TRIGGER focal_count_delete BEFORE DELETE ON generate_record BEGIN
    UPDATE focal_block SET ended = ended - 1
    WHERE block = (SELECT mills >> 24 FROM focal_ended WHERE id = OLD.id);
END
"""

_COUNT_BEFORE: Final = """
CREATE TRIGGER focal_count_before BEFORE UPDATE ON generate_record BEGIN
    UPDATE focal_block SET ended = ended - 1
    WHERE block = (SELECT mills >> 24 FROM focal_ended WHERE id = OLD.id);
END
"""

_COUNT_AFTER: Final = """
CREATE TRIGGER focal_count_after AFTER UPDATE ON generate_record BEGIN
    INSERT INTO focal_block SELECT mills >> 24, 1 FROM focal_ended WHERE id = NEW.id
    ON CONFLICT (block) DO UPDATE SET ended = ended + 1;
END
"""

BLOCK_BITS: Final = 24  # as in ``mills >> 24`` above

# Statements from version i to i + 1 of ``PRAGMA user_version``; the reference leaves it at 0.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        _RECORDS,
        _TASKS,
        _KEYS,
        _DELIVERIES,
        _ENDED,
        _OPEN,
        _FULL,
        _ENDED_INDEX,
        _OPEN_INDEX,
        "CREATE INDEX focal_task_id_index ON generate_record (task_id)",
        "CREATE INDEX focal_idempotency_task ON idempotency (task_id)",
        "CREATE INDEX focal_delivery_next ON webhook_delivery (next_mills)",
        _BLOCKS,
        _COUNT_ALL,
        _COUNT_INSERT,
        _COUNT_DELETE,
        _COUNT_BEFORE,
        _COUNT_AFTER,
    ),
    GALLERY_MIGRATION,
    QUEUE_MIGRATION,
    ATTEMPTS_MIGRATION,
    ORIGIN_MIGRATION,
    SIZES_MIGRATION,
    BOARDS_MIGRATION,
)
