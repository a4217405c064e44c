"""Pictures of a task, finished or on their way: bytes, where they came from, saving them."""

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from focal_client.structs import TaskRecord

_MAGIC = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpg"), (b"RIFF", "webp"))
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a task, with its file's bytes. ``seed`` made it; ``path`` is on the server."""

    data: bytes = field(repr=False)
    path: str
    seed: int | None
    task: TaskRecord = field(repr=False)

    @property
    def format(self) -> str:
        """png, jpg or webp, as the bytes say; "" for anything else."""
        return next((name for magic, name in _MAGIC if self.data.startswith(magic)), "")

    @property
    def name(self) -> str:
        """The file's name on the server."""
        return self.path.rpartition("/")[2]

    def save(self, path: str | Path | None = None) -> Path:
        """Write the bytes as they are; where they lie now.

        A folder gets the file under its name on the server, as does the current one by default.
        """
        target = Path(path) if path is not None else Path()
        if target.is_dir():
            target /= self.name or f"{self.task.task_id}.{self.format}"
        target.write_bytes(self.data)
        return target


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is: ``progress`` is 0-100 and never falls, ``preview`` an image's bytes.

    ``pictures`` are there with the last one only.
    """

    progress: int
    message: str
    preview: bytes | None = field(default=None, repr=False)
    pictures: tuple[Picture, ...] = ()


def data_of(url: str | None) -> bytes | None:
    """The bytes in a data URL; None if it is none."""
    head, found, text = (url or "").partition(";base64,")
    if not found or not head.startswith("data:"):
        return None
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return None


def path_of(url: str) -> str:
    """The path of a result's URL on its server, without the prefix of a proxy.

    Results are asked for where the client reaches the server, whatever address it thinks it has:
    the key is sent nowhere else.
    """
    path = urlsplit(url).path
    _, found, rest = path.partition("/outputs/")
    return f"/outputs/{rest}" if found else path


def seed_of(record: TaskRecord, index: int) -> int | None:
    """The seed of a task's picture by its index, where the record says it; after the largest, 0."""
    seed = record.req_params.get("image_seed")
    if not isinstance(seed, int):
        return None
    fixed = record.req_params.get("disable_seed_increment")
    return seed if fixed else (seed + index) % (_MAX_SEED + 1)
