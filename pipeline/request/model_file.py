"""The name of a model file, and where it is to be had."""

import msgspec


class ModelFile(msgspec.Struct, frozen=True):
    """A file (or a folder in diffusers' layout) below the models folder.

    Named and not a path, so that any process or machine finds it in a models folder of its own.
    """

    folder: str  # below the models folder, such as "loras"
    name: str  # below that folder, with forward slashes
    url: str = ""  # "": it is installed, or nobody knows where from
    checksum: str = ""  # "sha256:..." or "md5:..."; "": checked against what the sender tells
