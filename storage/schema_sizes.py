"""The sizes of each ended task's pictures, so that keeping within a limit looks at no file twice.

A row comes with its task's entry in ``focal_gallery`` and goes with it. ``bytes`` is NULL until
somebody has measured.
"""

from typing import Final

_SIZES: Final = """
CREATE TABLE focal_size (id INTEGER NOT NULL PRIMARY KEY, bytes INTEGER)
"""

_ADDED: Final = """
CREATE TRIGGER focal_size_added AFTER INSERT ON focal_gallery BEGIN
    INSERT OR IGNORE INTO focal_size (id) VALUES (NEW.id);
END
"""

_DELETED: Final = """
CREATE TRIGGER focal_size_deleted AFTER DELETE ON focal_gallery BEGIN
    DELETE FROM focal_size WHERE id = OLD.id;
END
"""

SIZES_MIGRATION: Final = (
    _SIZES,
    "INSERT INTO focal_size (id) SELECT id FROM focal_gallery",
    "CREATE INDEX focal_size_unknown ON focal_size (id) WHERE bytes IS NULL",
    _ADDED,
    _DELETED,
)
