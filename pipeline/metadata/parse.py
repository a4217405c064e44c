"""Parses the parameters texts of images: either scheme becomes a record with Fooocus's keys.

Texts come from untrusted files: nothing is evaluated, and parsing takes linear time.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from pipeline.metadata.style_guess import WholeTexts, find_styles
from pipeline.metadata.write import LABELS, SAMPLER_TITLES, Record
from pipeline.request.schema import MAX_LORAS
from pipeline.request.styles import Template

_Scalar = str | int | float | bool | None
_decode_entries = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_value = msgspec.json.Decoder(_Scalar | list[_Scalar | list[_Scalar]]).decode

_SAMPLER_OF_TITLE: Final = {title: name for name, title in SAMPLER_TITLES.items()} | {
    "DPM++ 3M SDE": "dpmpp_3m_sde_gpu",  # these two are A1111's own
    "DPM++ 2S a": "dpmpp_2s_ancestral",
}
_KEY_OF_LABEL: Final = {**dict(LABELS), "Schedule type": "a1111_schedule"}
_SCHEDULER_OF_TYPE: Final = {
    "Karras": "karras",
    "Exponential": "exponential",
    "SGM Uniform": "sgm_uniform",
    "Simple": "simple",
    "Normal": "normal",
    "Uniform": "normal",
    "DDIM": "ddim_uniform",
    "Align Your Steps": "align_your_steps",
    "Turbo": "turbo",
}
_LABEL: Final = re.compile(r"\s*(\w[\w ]{0,40}):\s*")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_END: Final = re.compile(r"\s*(?:,|$)")
_MAX_PAIRS: Final = 500  # of A1111's scheme; extensions of A1111 add some dozens


def is_json(text: str) -> bool:
    """Whether a text is in Fooocus's own scheme."""
    return text.lstrip().startswith("{")


def parse_json(text: str) -> Record:
    """Fooocus's scheme. Entries that are no plain values are left out; {} if it is no JSON."""
    try:
        entries = _decode_entries(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return {}
    return dict(_plain_entries(entries))


def parse_a1111(text: str, templates: Mapping[str, Template]) -> Record:
    """A1111's scheme: the last line that begins with ``Steps:`` holds the pairs.

    Above it stand the texts as they were encoded. The prompts as they were typed, and the styles,
    are known only from pairs that Fooocus and this server add.
    """
    head, found, tail = f"\n{text}".rpartition("\nSteps: ")
    if not found:
        return {}
    positive, _, negative = (part.strip() for part in head.partition("Negative prompt:"))
    record: Record = {"prompt": positive, "negative_prompt": negative}
    pairs = _pairs(f"Steps: {tail.partition(chr(10))[0]}")
    for label, value in itertools.islice(pairs, _MAX_PAIRS):
        if key := _KEY_OF_LABEL.get(label):
            record[key] = value
    if "styles" not in record:
        whole = WholeTexts(positive, negative)
        typed = (str(record["prompt"]), str(record["negative_prompt"]))
        styles = find_styles(whole, *typed, templates) if typed != whole else None
        if styles is None:  # what was encoded, as it was, needs no style
            record.update(prompt=positive, negative_prompt=negative)
        record["styles"] = str(list(styles or ()))
    record.update(_sampling(record))
    record["loras"] = list(_lora_entries(str(record.get("lora_weights", ""))))
    return record


def _lora_entries(text: str) -> Iterator[list[str]]:
    """``[name, weight, ""]`` entries of ``name: weight, name: weight``."""
    # One more than a request may have: then its validation leaves all of them out.
    for part in text.split(",", MAX_LORAS + 1)[: MAX_LORAS + 1]:
        name, _, weight = part.rpartition(":")
        if name:
            yield [name.strip(), weight.strip(), ""]


def _plain_entries(entries: Mapping[str, msgspec.Raw]) -> Iterator[tuple[str, object]]:
    for key, raw in entries.items():
        try:
            value = _decode_value(raw)
        except (msgspec.DecodeError, RecursionError):
            continue
        if value is not None:
            yield key, value


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """``label: value`` pairs between commas; a value with commas of its own is quoted.

    A part without a label is a pair too, with the label "": ``_MAX_PAIRS`` counts it.
    """
    place, strings = 0, True
    while place < len(line):
        label = _LABEL.match(line, place)
        begin = label.end() if label else place
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


def _sampling(record: Record) -> Iterator[tuple[str, object]]:
    """Sampler and scheduler: A1111 says both in the title, or the second by a name of its own."""
    title = str(record.get("sampler", ""))
    scheduler = _SCHEDULER_OF_TYPE.get(str(record.get("a1111_schedule")))
    if title.endswith(" Karras"):
        title, scheduler = title.removesuffix(" Karras"), "karras"
    yield "sampler", _SAMPLER_OF_TITLE.get(title, title)
    if scheduler and "scheduler" not in record:
        yield "scheduler", scheduler
