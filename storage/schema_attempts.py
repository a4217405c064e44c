"""How often each open task has been begun. A row goes when its task ends or is deleted."""

from typing import Final

_ATTEMPTS: Final = """
CREATE TABLE focal_attempt (
    task_id TEXT NOT NULL PRIMARY KEY,
    runs INTEGER NOT NULL
) WITHOUT ROWID
"""

_ENDED: Final = """
CREATE TRIGGER focal_attempt_ended AFTER UPDATE ON generate_record
WHEN coalesce(NEW.finish_mills, -1) > 0
     OR coalesce(NEW.task_status, '') NOT IN ('', 'pending', 'running')
BEGIN
    DELETE FROM focal_attempt WHERE task_id = NEW.task_id;
END
"""

_DELETED: Final = """
CREATE TRIGGER focal_attempt_deleted AFTER DELETE ON generate_record BEGIN
    DELETE FROM focal_attempt WHERE task_id = OLD.task_id;
END
"""

ATTEMPTS_MIGRATION: Final = (_ATTEMPTS, _ENDED, _DELETED)
