"""Records: what a parameters text says, under Fooocus's keys, and how its values are read."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.request.choices import MetadataScheme

SOFTWARE: Final = "Focal"
MAX_UNREAD: Final = 50  # names told of one text
_LONGEST_NAME: Final = 80
_NUMBER: Final = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?")

Record = dict[str, object]


class ModelHashes(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes of the model files that are known, by the files' names.

    ``models`` and ``loras``: the first ten digits of a file's SHA-256, which is A1111's short hash
    and Civitai's AutoV2. ``lora_tensors``: twelve digits of the SHA-256 behind the safetensors
    header, which is A1111's hash of a LoRA and Civitai's AutoV3.
    """

    models: Mapping[str, str] = {}
    loras: Mapping[str, str] = {}
    lora_tensors: Mapping[str, str] = {}


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a text says. ``scheme`` is None for a form that this server does not write."""

    record: Record
    scheme: MetadataScheme | None
    program: str = ""  # that wrote it; "" if the text does not tell
    version: str = ""  # of the program
    unread: tuple[str, ...] = ()  # entries that have no counterpart here


NOTHING: Final = Parsed(record={}, scheme=None)


def short_name(name: str) -> str:
    """A model's name without its folder and ending."""
    return name.rpartition("/")[2].removesuffix(".safetensors")


def loras_of(record: Mapping[str, object]) -> Iterator[tuple[str, float, str]]:
    """The well-formed ``[name, weight, hash]`` entries of a record."""
    entries = record.get("loras")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, list) and len(entry) == 3:
            weight = first_number(entry[1])
            if weight is not None:
                yield str(entry[0]), weight, str(entry[2])


def first_number(value: object) -> float | None:
    """The first number of ``numbers``."""
    found = numbers(value)
    return found[0] if found else None


def numbers(value: object) -> list[float]:
    """Numbers in the order they stand in ``(1.5, 0.8, 0.3)``, ``512x768`` or a number itself.

    None where one is beyond float's range.
    """
    found = [float(text) for text in _NUMBER.findall("" if value is None else str(value)[:200])]
    return found if all(map(math.isfinite, found)) else []


def shown_names(names: Iterator[str]) -> tuple[str, ...]:
    """The first names of entries, cut to a readable length."""
    unique = dict.fromkeys(" ".join(name[: 2 * _LONGEST_NAME].split()) for name in names)
    return tuple(name[:_LONGEST_NAME] for name in unique if name)[:MAX_UNREAD]
