"""Parses A1111's plain text, which Fooocus and this server write too.

The last line that begins with ``Steps:`` holds ``label: value`` pairs. Above it stand the texts as
they were encoded; the prompts as they were typed, and the styles, are known only from pairs that
Fooocus and this server add.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.metadata.record import (
    NOTHING,
    SOFTWARE,
    Parsed,
    Record,
    first_number,
    shown_names,
)
from pipeline.metadata.style_guess import WholeTexts, find_styles
from pipeline.metadata.titles import LABELS, sampling_of
from pipeline.request.schema import MAX_LORAS
from pipeline.request.styles import Template

MAX_PAIRS: Final = 500  # extensions of A1111 add some dozens

_KEY_OF_LABEL: Final = {
    **dict(LABELS),
    "Schedule type": "a1111_schedule",
    "Refiner switch at": "refiner_switch",
    "VAE hash": "",  # "": known, and nothing to set
    "Hashes": "",
    "TI hashes": "",
    "App": "",
    "User": "",
}
_BARE_JSON: Final = "Hashes"  # of Civitai: JSON without quotes around it
_NEGATIVE: Final = "Negative prompt:"
_LABEL: Final = re.compile(r"\s*+(\w[\w \-/]{0,40}):\s*")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"')
_SIZE: Final = re.compile(r"(\d{1,6})x(\d{1,6})", re.ASCII)
_END: Final = re.compile(r"\s*(?:,|$)")
_LONGEST_NAME: Final = 512  # characters of a file's name
_HASH: Final = re.compile(r" \[[0-9a-fA-F]{6,64}\]$")
_WEIGHT: Final = re.compile(r"(.+): ?(-?\d{1,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,3})?)", re.DOTALL)
# These encode SDXL prompts by the layer before the last unless told otherwise: their clip skip of
# 1, which they do not write, is the layer that is number 2 here.
_PENULTIMATE: Final = frozenset({"A1111", "Forge", "SD.Next", "ComfyUI"})
_SDXL_CLIP_SKIP: Final = 2
_VERSIONS: Final = (
    (re.compile(r"Fooocus v(.+)"), "Fooocus"),
    (re.compile(r"(.*SimpleSDXL.*)"), "SimpleSDXL"),
    (re.compile(r"(.*FooocusPlus.*)"), "FooocusPlus"),
    (re.compile(r"RuinedFooocus ?(.*)"), "RuinedFooocus"),
    (re.compile(r"ComfyUI ?(.*)"), "ComfyUI"),
    (re.compile(r"([fF]\d.*)"), "Forge"),
    (re.compile(r"(v\d.*)"), "A1111"),
)


def parse_a1111(text: str, templates: Mapping[str, Template]) -> Parsed:
    """``NOTHING`` without a line of pairs; ``templates`` are the styles a Fooocus may have used."""
    head, found, tail = f"\n{text}".rpartition("\nSteps: ")
    if not found:
        return NOTHING
    positive, negative = _sections(head.removeprefix("\n"))
    pairs = list(itertools.islice(_pairs(f"Steps: {tail.partition(chr(10))[0]}"), MAX_PAIRS))
    record: Record = {"prompt": positive, "negative_prompt": negative}
    record |= {key: value for label, value in pairs if (key := _KEY_OF_LABEL.get(label))}
    program, version = program_of(str(record.get("version", "")))
    if program == "A1111" and "SD.Next" in dict(pairs).get("App", ""):
        program = "SD.Next"
    if program in _PENULTIMATE:
        told = first_number(record.get("clip_skip")) or 0
        record["clip_skip"] = max(int(told), _SDXL_CLIP_SKIP)
    if "styles" not in record:
        _infer_styles(record, WholeTexts(positive, negative), templates)
    record.update(_sampling(record))
    record["refiner_model"] = _HASH.sub("", str(record.get("refiner_model", "None")))
    record["loras"] = _loras(record)
    unread = (label for label, _ in pairs if label and label not in _KEY_OF_LABEL)
    return Parsed(
        record=record,
        scheme="a1111",
        program=program,
        version=version,
        unread=shown_names(unread),
    )


def a1111_entries(text: str) -> dict[str, str]:
    """Texts and pairs under A1111's own labels, the size as two; empty without a line of pairs."""
    head, found, tail = f"\n{text}".rpartition("\nSteps: ")
    if not found:
        return {}
    positive, negative = _sections(head.removeprefix("\n"))
    entries = {"Prompt": positive, "Negative prompt": negative}
    pairs = itertools.islice(_pairs(f"Steps: {tail.partition(chr(10))[0]}"), MAX_PAIRS)
    entries |= {label: value for label, value in pairs if label}
    if size := _SIZE.fullmatch(entries.get("Size", "")):
        entries |= {"Size-1": size[1], "Size-2": size[2]}
    return entries


def program_of(version: str) -> tuple[str, str]:
    """Program and version of what a text has as its version."""
    if version == SOFTWARE:
        return SOFTWARE, ""
    for pattern, program in _VERSIONS:
        if match := pattern.fullmatch(version[:80]):
            return program, match[1]
    return "A1111", version[:80]


def lora_entries(text: str) -> Iterator[list[str]]:
    """``[name, weight, ""]`` entries of ``name: weight, name: weight``; a name may have commas."""
    name = ""
    # One more than a request may have: then its validation leaves all of them out.
    for part in text.split(", ", 4 * MAX_LORAS)[: 4 * MAX_LORAS]:
        name = f"{name}, {part}" if name else part
        if match := _WEIGHT.fullmatch(name):
            yield [match[1].strip(), match[2], ""]
            name = ""
        elif len(name) > _LONGEST_NAME:
            return


def _sections(head: str) -> tuple[str, str]:
    """Positive and negative text; the negative one begins at the start of a line."""
    if head.startswith(_NEGATIVE):
        return "", head.removeprefix(_NEGATIVE).strip()
    positive, _, negative = head.partition(f"\n{_NEGATIVE}")
    return positive.strip(), negative.strip()


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """``label: value`` pairs between commas; a value with commas of its own is quoted.

    A part without a label is a pair too, with the label "": ``MAX_PAIRS`` counts it.
    """
    place, strings = 0, True
    while place < len(line):
        label = _LABEL.match(line, place)
        begin = label.end() if label else place
        if label and label[1] == _BARE_JSON and (close := line.find("}", begin)) > 0:
            yield label[1], line[begin : close + 1]
            place = close + 1
            continue
        string = _STRING.match(line, begin) if strings and line[begin : begin + 1] == '"' else None
        # Without an end to one string there is none to any later one: do not look again.
        strings = strings and (string is not None or line[begin : begin + 1] != '"')
        end = _END.match(line, string.end()) if string else None
        if string and end:
            value, place = _unquoted(string[0]), end.end()
        else:
            comma = line.find(",", begin)
            stop = comma if comma >= 0 else len(line)
            value, place = line[begin:stop].strip(), stop + 1
        yield label[1] if label else "", value


def _unquoted(text: str) -> str:
    try:
        return str(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text[1:-1]


def _infer_styles(record: Record, whole: WholeTexts, templates: Mapping[str, Template]) -> None:
    typed = (str(record["prompt"]), str(record["negative_prompt"]))
    styles = find_styles(whole, *typed, templates) if typed != whole else None
    if styles is None:  # what was encoded, as it was, needs no style
        record.update(prompt=whole.positive, negative_prompt=whole.negative)
    record["styles"] = str(list(styles or ()))


def _sampling(record: Record) -> Iterator[tuple[str, object]]:
    """Sampler and scheduler: A1111 says both in the title, or the second by a name of its own."""
    title, schedule = (str(record.get(key, "")) for key in ("sampler", "a1111_schedule"))
    sampler, scheduler = sampling_of(title, schedule)
    if sampler:
        yield "sampler", sampler
    if scheduler and "scheduler" not in record:
        yield "scheduler", scheduler


def _loras(record: Record) -> list[object]:
    """From ``Lora weights``, or of Fooocus 2.2.0 to 2.3.0 from ``Lora hashes`` of three parts.

    A1111's own ``Lora hashes`` have no weights: its LoRAs stand in the prompt.
    """
    entries = str(record.get("lora_hashes", "")).split(", ", 4 * MAX_LORAS)[: 4 * MAX_LORAS]
    if "lora_weights" in record:
        pairs = (entry.rpartition(": ") for entry in entries)
        hashes = {name.strip(): digest.strip() for name, _, digest in pairs}
        weighted = lora_entries(str(record["lora_weights"]))
        return [[name, weight, hashes.get(name, "")] for name, weight, _ in weighted]
    three = (parts for entry in entries if len(parts := entry.rsplit(":", 2)) == 3)
    return [[name.strip(), weight.strip(), digest.strip()] for name, digest, weight in three]
