"""Boards, which are named collections of tasks; and how many pictures each ended task has.

The count stands in ``focal_gallery``, so that a page of single pictures is found in
the narrow table.
"""

from typing import Final

_BOARDS: Final = """
CREATE TABLE focal_board (name TEXT NOT NULL PRIMARY KEY, made_mills INTEGER NOT NULL) WITHOUT ROWID
"""

_MEMBERS: Final = """
CREATE TABLE focal_board_task (
    board TEXT NOT NULL, task_id TEXT NOT NULL, added_mills INTEGER NOT NULL,
    PRIMARY KEY (board, task_id)
) WITHOUT ROWID
"""

# The triggers of ``schema_gallery`` insert every column of this view, in this order.
_CARD: Final = """
CREATE VIEW focal_card AS SELECT id, task_id, coalesce(in_queue_mills, 0) AS mills,
    coalesce(nullif(task_status, ''), 'finished') AS status,
    CASE WHEN json_valid(req_params)
         THEN coalesce(json_extract(req_params, '$.base_model_name'), '') ELSE '' END AS model,
    CASE WHEN json_valid(req_params)
         THEN coalesce(json_extract(req_params, '$.prompt'), '') ELSE '' END AS prompt,
    CASE WHEN json_valid(result) THEN json_array_length(result) ELSE 0 END AS pictures
FROM generate_record
WHERE (coalesce(finish_mills, -1) > 0
       OR coalesce(task_status, '') NOT IN ('', 'pending', 'running'))
"""

_COUNT: Final = """
UPDATE focal_gallery
SET pictures = (SELECT pictures FROM focal_card c WHERE c.id = focal_gallery.id)
"""

BOARDS_MIGRATION: Final = (
    _BOARDS,
    _MEMBERS,
    "CREATE INDEX focal_board_member ON focal_board_task (task_id)",
    "ALTER TABLE focal_gallery ADD COLUMN pictures INTEGER NOT NULL DEFAULT 0",
    "DROP VIEW focal_card",
    _CARD,
    _COUNT,
    "CREATE INDEX focal_gallery_pictures ON focal_gallery (mills, id, pictures)",
)
