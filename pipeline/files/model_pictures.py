"""The picture that people keep beside a model file, by the names that other interfaces use."""

from pathlib import Path
from typing import Final

# name.png beside name.safetensors: AUTOMATIC1111, InvokeAI and SwarmUI; .preview: A1111's helpers.
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_ENDINGS: Final = (*_SUFFIXES, *(f".preview{suffix}" for suffix in _SUFFIXES))


def picture_beside(model: Path) -> Path | None:
    """The picture of a model file or folder, or None."""
    stem = model.name if model.is_dir() else model.stem
    for ending in _ENDINGS:
        path = model.with_name(f"{stem}{ending}")
        if path.is_file():
            return path
    return None


def note_beside(model: Path, longest: int = 2000) -> str:
    """What ``name.txt`` beside a model file says, at most ``longest`` signs; "" without one."""
    try:
        with model.with_suffix(".txt").open(encoding="utf-8", errors="replace") as file:
            return file.read(longest).strip()
    except OSError:
        return ""
