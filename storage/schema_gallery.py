"""The tables behind the gallery and the queue's order: ours, beside the reference server's own.

``focal_gallery`` repeats of each ended row what people search by, so that a search reads a narrow
table and not every request whole. Triggers keep it right for every writer.
"""

from typing import Final

_CARD: Final = """
CREATE VIEW focal_card AS SELECT id, task_id, coalesce(in_queue_mills, 0) AS mills,
    coalesce(nullif(task_status, ''), 'finished') AS status,
    CASE WHEN json_valid(req_params)
         THEN coalesce(json_extract(req_params, '$.base_model_name'), '') ELSE '' END AS model,
    CASE WHEN json_valid(req_params)
         THEN coalesce(json_extract(req_params, '$.prompt'), '') ELSE '' END AS prompt
FROM generate_record
WHERE (coalesce(finish_mills, -1) > 0
       OR coalesce(task_status, '') NOT IN ('', 'pending', 'running'))
"""

_GALLERY: Final = """
CREATE TABLE focal_gallery (
    id INTEGER NOT NULL PRIMARY KEY,
    task_id TEXT NOT NULL,
    mills INTEGER NOT NULL,
    status TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL
)
"""

_FILL_INSERT: Final = """
CREATE TRIGGER focal_gallery_insert AFTER INSERT ON generate_record BEGIN
    INSERT OR REPLACE INTO focal_gallery SELECT * FROM focal_card WHERE id = NEW.id;
END
"""

_FILL_UPDATE: Final = """
CREATE TRIGGER focal_gallery_update AFTER UPDATE ON generate_record BEGIN
    DELETE FROM focal_gallery WHERE id = OLD.id;
    INSERT OR REPLACE INTO focal_gallery SELECT * FROM focal_card WHERE id = NEW.id;
END
"""

_FILL_DELETE: Final = """
CREATE TRIGGER focal_gallery_delete AFTER DELETE ON generate_record BEGIN
    DELETE FROM focal_gallery WHERE id = OLD.id;
END
"""

_FAVOURITES: Final = """
CREATE TABLE focal_favourite (
    task_id TEXT NOT NULL PRIMARY KEY, marked_mills INTEGER NOT NULL
) WITHOUT ROWID
"""

# A deleted row waits here, whole, for as long as a person may take the deletion back.
_TRASH: Final = """
CREATE TABLE focal_trash (
    id INTEGER NOT NULL PRIMARY KEY,
    task_id VARCHAR(255) NOT NULL,
    req_params JSON NOT NULL,
    in_queue_mills INTEGER,
    start_mills INTEGER,
    finish_mills INTEGER,
    task_status VARCHAR(255),
    progress FLOAT,
    webhook_url VARCHAR(255),
    result JSON,
    until_mills INTEGER NOT NULL
)
"""

_PLACES: Final = """
CREATE TABLE focal_place (
    task_id TEXT NOT NULL PRIMARY KEY, place INTEGER NOT NULL, priority INTEGER NOT NULL
) WITHOUT ROWID
"""

_SWITCHES: Final = """
CREATE TABLE focal_switch (name TEXT NOT NULL PRIMARY KEY, is_on INTEGER NOT NULL) WITHOUT ROWID
"""

GALLERY_MIGRATION: Final[tuple[str, ...]] = (
    _CARD,
    _GALLERY,
    "INSERT INTO focal_gallery SELECT * FROM focal_card",
    "CREATE INDEX focal_gallery_index ON focal_gallery (mills, id)",
    "CREATE INDEX focal_gallery_status ON focal_gallery (status, mills, id)",
    "CREATE INDEX focal_gallery_model ON focal_gallery (model, mills, id)",
    _FILL_INSERT,
    _FILL_UPDATE,
    _FILL_DELETE,
    _FAVOURITES,
    _TRASH,
    "CREATE INDEX focal_trash_until ON focal_trash (until_mills)",
    _PLACES,
    _SWITCHES,
)
