"""Which API family and which named key a task came by, in columns beside its row."""

from typing import Final

_VIEW: Final = """
CREATE VIEW focal_record AS SELECT
    r.id, r.task_id, r.req_params, r.in_queue_mills, r.start_mills, r.finish_mills, r.task_status,
    r.progress, r.webhook_url, r.result, t.base_url, t.error, t.code, t.notes, t.family, t.key_name,
    coalesce(r.in_queue_mills, 0) AS mills
FROM generate_record r LEFT JOIN focal_task t ON t.task_id = r.task_id
"""

ORIGIN_MIGRATION: Final[tuple[str, ...]] = (
    "ALTER TABLE focal_task ADD COLUMN family TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE focal_task ADD COLUMN key_name TEXT NOT NULL DEFAULT ''",
    "DROP VIEW focal_record",
    _VIEW,
)
