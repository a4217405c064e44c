"""Parses Fooocus's JSON: its keys, the labels of its logs up to 2.1, and its forks' words."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pipeline.metadata.a1111 import program_of
from pipeline.metadata.record import Parsed, Record, first_number, shown_names
from pipeline.metadata.titles import LABELS, SHOWN_LABELS
from pipeline.request.choices import NO_MODEL
from pipeline.request.schema import MAX_LORAS

_KEYS: Final = frozenset(key for _, key in LABELS) | {
    "metadata_scheme",
    "full_prompt",
    "full_negative_prompt",
    "loras",
    "lora_hashes",
}
_LISTS: Final = frozenset({"loras", "full_prompt", "full_negative_prompt"})
_KEY_OF_LABEL: Final = {label.lower(): key for label, key in SHOWN_LABELS.items()}
_COMBINED: Final = re.compile(r"(?:lora_combined_|lora )(\d{1,3})", re.IGNORECASE)
_WEIGHT_OF: Final = re.compile(r"lora \[(.{1,300})\] weight", re.IGNORECASE)
# Fooocus-MRE's keys, where they are not Fooocus's.
_MRE: Final[Mapping[str, str]] = {
    "cfg": "guidance_scale",
    "base_model_name": "base_model",
    "refiner_model_name": "refiner_model",
    "sampler_name": "sampler",
    "base_clip_skip": "clip_skip",
}
_MRE_SLOTS: Final = range(1, 6)


def parse_fooocus(entries: Mapping[str, object]) -> Parsed | None:
    """None if no key is one of Fooocus's."""
    if _is_mre(entries):
        return _parse_mre(entries)
    keys = {name: _key_of(name) for name in entries}
    record: Record = {
        key: value
        for name, value in entries.items()
        if (key := keys[name]) and (isinstance(value, str | int | float) or key in _LISTS)
    }
    if not record:
        return None
    unread = (name for name, key in keys.items() if not key and not _is_lora(name))
    if "loras" not in record:
        record["loras"] = list(_combined_loras(entries))
    program, version = program_of(str(record.get("version", "")))
    if program == "A1111":
        program, version = "Fooocus", ""
    if str(record.get("metadata_scheme", "")).lower() == "simple":
        program = "SimpleSDXL" if program == "Fooocus" else program
    return Parsed(
        record=record,
        scheme="fooocus",
        program=program,
        version=version,
        unread=shown_names(unread),
    )


def _key_of(name: str) -> str:
    return name if name in _KEYS else _KEY_OF_LABEL.get(name.lower(), "")


def _is_lora(name: str) -> bool:
    return bool(_COMBINED.fullmatch(name) or _WEIGHT_OF.fullmatch(name))


def _combined_loras(entries: Mapping[str, object]) -> Iterator[list[object]]:
    """From ``lora_combined_1`` or ``LoRA 1`` (``name : weight``), or ``LoRA [name] weight``."""
    found: list[tuple[int, list[object]]] = []
    for i, (key, value) in enumerate(entries.items()):
        if match := _COMBINED.fullmatch(key):
            name, _, weight = str(value).rpartition(" : ")
            found.append((int(match[1]), [name, weight, ""]))
        elif match := _WEIGHT_OF.fullmatch(key):
            found.append((1000 + i, [match[1], value, ""]))
    for _, entry in sorted(found, key=lambda each: each[0])[: MAX_LORAS + 1]:
        if entry[0] not in ("", NO_MODEL):
            yield entry


def _is_mre(entries: Mapping[str, object]) -> bool:
    return "MRE" in str(entries.get("software", "")) or {"prompt", "cfg", "l1"} <= set(entries)


def _parse_mre(entries: Mapping[str, object]) -> Parsed:
    """Fooocus-MRE: LoRAs as ``l1``, ``w1``; the switch as a step; clip skips below 0."""
    known = {"software", "width", "height", "switch", "refiner_clip_skip", "real_prompt"}
    record: Record = {}
    unread = []
    for name, value in entries.items():
        key = _MRE.get(name, name)
        if key in _KEYS:
            record[key] = value
        elif name not in known and not re.fullmatch(r"[lw][1-5]", name):
            unread.append(name)
    if "resolution" not in record and {"width", "height"} <= set(entries):
        record["resolution"] = f"({entries['width']}, {entries['height']})"
    if isinstance(record.get("styles"), list):
        record["styles"] = str(record["styles"])
    skip = first_number(record.get("clip_skip"))
    record["clip_skip"] = abs(int(skip)) if skip else 2
    if switch := first_number(entries.get("switch")):
        record["overwrite_switch"] = int(switch)
    record["loras"] = [
        [entries[f"l{i}"], entries.get(f"w{i}", 1.0), ""]
        for i in _MRE_SLOTS
        if entries.get(f"l{i}", NO_MODEL) != NO_MODEL
    ]
    software = str(entries.get("software", ""))
    return Parsed(
        record=record,
        scheme="fooocus",
        program="Fooocus-MRE",
        version=software[:80],
        unread=shown_names(iter(unread)),
    )
