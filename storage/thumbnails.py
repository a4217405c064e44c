"""Small forms of finished pictures: each made once, when somebody first looks, and kept.

All functions block.
"""

import secrets
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.images.thumbnail import make_thumbnail
from storage.files import part_file
from storage.outputs import OutputStore


def find_thumbnail(outputs: OutputStore, date: str, file: str) -> Path | None:
    """The small form of ``/outputs/{date}/{file}`` if it was made before."""
    picture = outputs.resolve(date, file)
    small = None if picture is None else outputs.thumbnail_path(picture)
    return small if small is not None and small.is_file() else None


def read_picture(outputs: OutputStore, date: str, file: str) -> bytes | None:
    """The bytes of ``/outputs/{date}/{file}``; None without such a picture."""
    picture = outputs.resolve(date, file)
    try:
        return None if picture is None else picture.read_bytes()
    except FileNotFoundError:
        return None


def keep_thumbnail(outputs: OutputStore, date: str, file: str, data: bytes) -> Path | None:
    """Make and keep the small form of a picture with these bytes; None for a broken one.

    Two threads that make the same one write the same bytes, each under a temporary name of its own.
    """
    picture = outputs.resolve(date, file)
    if picture is None:
        return None
    small = outputs.thumbnail_path(picture)
    try:
        made = make_thumbnail(data)
    except PipelineError:
        return None
    small.parent.mkdir(parents=True, exist_ok=True)
    with part_file(small.parent, f"{small.name}.{secrets.token_hex(8)}", made) as part:
        part.rename(small)
    if outputs.resolve(date, file) is None:  # deleted meanwhile: nothing of it may stay
        small.unlink(missing_ok=True)
        return None
    return small
