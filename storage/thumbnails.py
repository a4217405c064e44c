"""Small forms of finished pictures: each made once, when somebody first looks, and kept."""

import secrets
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.images.thumbnail import make_thumbnail
from storage.files import part_file
from storage.outputs import OutputStore


def find_thumbnail(outputs: OutputStore, date: str, file: str) -> Path | None:
    """The small form of ``/outputs/{date}/{file}``; None without such a picture, or a broken one.

    Decodes a picture the first time: not on the loop. Two threads that make the same one write
    the same bytes, each under a temporary name of its own.
    """
    picture = outputs.resolve(date, file)
    if picture is None:
        return None
    small = outputs.thumbnail_path(picture)
    if small.is_file():
        return small
    try:
        data = make_thumbnail(picture.read_bytes())
    except (PipelineError, FileNotFoundError):
        return None
    small.parent.mkdir(parents=True, exist_ok=True)
    with part_file(small.parent, f"{small.name}.{secrets.token_hex(8)}", data) as part:
        part.rename(small)
    if outputs.resolve(date, file) is None:  # deleted meanwhile: nothing of it may stay
        small.unlink(missing_ok=True)
        return None
    return small
