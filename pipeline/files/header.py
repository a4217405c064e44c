"""What a safetensors file says of itself beside its tensors. Reads headers and no tensor.

Two vocabularies are in use: that of kohya's training scripts (``ss_…``) and Stability's ModelSpec
(``modelspec.…``, github.com/Stability-AI/ModelSpec).
"""

import json
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, Final, TypeVar

import msgspec

_MAX_HEADER_BYTES: Final = 100_000_000  # the library's own limit
_METADATA: Final = "__metadata__"
_LONGEST: Final = 200  # signs of a text that is shown
_MOST_WORDS: Final = 24
_BASES: Final = {
    "sdxl_base_v1-0": "SDXL 1.0",
    "sdxl_base_v0-9": "SDXL 0.9",
    "stable-diffusion-xl-v1-base": "SDXL 1.0",
    "stable-diffusion-xl-v1-refiner": "SDXL 1.0 refiner",
    "sd_v1": "Stable Diffusion 1",
    "sd_1.5": "Stable Diffusion 1",
    "stable-diffusion-v1": "Stable Diffusion 1",
    "sd_v2": "Stable Diffusion 2",
    "sd_v2_v": "Stable Diffusion 2",
    "stable-diffusion-v2-512": "Stable Diffusion 2",
    "stable-diffusion-v2-768-v": "Stable Diffusion 2",
}
_SIDES: Final = re.compile(r"(\d{2,5})\s*[x,]\s*(\d{2,5})|(\d{2,5})")
_REPEATS: Final = re.compile(r"^\d+_")  # before the name of a folder of kohya's training pictures


T = TypeVar("T", dict[str, Any], list[Any])


class ModelHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a file tells of its training; "" and () where it does not."""

    base_model: str = ""  # the family, such as "SDXL 1.0"
    trained_on: str = ""  # the checkpoint's file name
    resolution: str = ""  # width x height in pixels
    trigger_words: tuple[str, ...] = ()


class HeaderCache:
    """Headers by path, read again when the file has changed. Any thread may call."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], ModelHeader]] = {}

    def header(self, path: Path) -> ModelHeader:
        """What the file says of itself."""
        try:
            facts = path.stat()
        except OSError:
            return ModelHeader()
        stamp = (facts.st_mtime_ns, facts.st_size)
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            known = self._known[path] = (stamp, model_header(read_metadata(path)))
        return known[1]


def read_metadata(path: Path) -> dict[str, str]:
    """Names and texts of the header; {} where there are none and for a file of another format."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
            if not 1 < length <= _MAX_HEADER_BYTES or file.read(1) != b"{":
                return {}
            told = json.loads(b"{" + file.read(length - 1)).get(_METADATA)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    return {name: text for name, text in told.items() if isinstance(text, str)}


def model_header(metadata: Mapping[str, str]) -> ModelHeader:
    """The facts that people choose a model by."""
    return ModelHeader(
        base_model=_base(metadata),
        trained_on=_shown(PureWindowsPath(metadata.get("ss_sd_model_name", "")).name),
        resolution=_resolution(metadata),
        trigger_words=tuple(dict.fromkeys(_trigger_words(metadata)))[:_MOST_WORDS],
    )


def _base(metadata: Mapping[str, str]) -> str:
    for name in ("ss_base_model_version", "modelspec.architecture"):
        if told := metadata.get(name, "").partition("/")[0].strip():
            return _BASES.get(told.lower(), _shown(told))
    return ""


def _resolution(metadata: Mapping[str, str]) -> str:
    for name in ("ss_resolution", "modelspec.resolution"):
        if found := _SIDES.search(metadata.get(name, "")):
            width, height, side = found.groups()
            return f"{width or side}x{height or side}"
    return ""


def _trigger_words(metadata: Mapping[str, str]) -> Iterator[str]:
    """The author's phrase; else the classes trained; else what stands in every caption, or folders.

    kohya's scripts take a folder's name after its number of repeats as the class of its pictures.
    """
    phrase = metadata.get("modelspec.trigger_phrase", "")
    tags = _decoded(metadata, "ss_tag_frequency", {})
    folders = _decoded(metadata, "ss_dataset_dirs", {})
    named = (
        [phrase]
        if phrase.strip()
        else _classes(_decoded(metadata, "ss_datasets", []))
        or _in_every_caption(tags, folders)
        or [_REPEATS.sub("", each) for each in (folders or tags)]
    )
    yield from (word for each in named if (word := _shown(each)))


def _classes(datasets: list[Any]) -> list[str]:
    subsets = (
        subset
        for dataset in datasets
        if isinstance(dataset, dict) and isinstance(dataset.get("subsets"), list)
        for subset in dataset["subsets"]
        if isinstance(subset, dict)
    )
    return [told for each in subsets if isinstance(told := each.get("class_tokens"), str)]


def _in_every_caption(tags: dict[str, Any], folders: dict[str, Any]) -> list[str]:
    """Tags counted as often as their folder has pictures."""
    pictures = {
        name: folder.get("img_count")
        for name, folder in folders.items()
        if isinstance(folder, dict)
    }
    return [
        tag
        for folder, counts in tags.items()
        for tag, count in (counts.items() if isinstance(counts, dict) else ())
        if count == pictures.get(folder)
    ]


def _decoded(metadata: Mapping[str, str], name: str, empty: T) -> T:
    """A field's JSON where it is of the same type as ``empty``."""
    try:
        told = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        return empty
    return told if isinstance(told, type(empty)) else empty


def _shown(text: str) -> str:
    """A text of a file in one line of bounded length."""
    return " ".join(text.split())[:_LONGEST]
