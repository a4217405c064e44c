"""Finds out which program wrote a parameters text, and parses it into Fooocus's keys.

Texts come from untrusted files: nothing is evaluated, and parsing takes linear time.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline.metadata.a1111 import parse_a1111
from pipeline.metadata.comfyui import is_graph, is_workflow, parse_graph, parse_workflow
from pipeline.metadata.fooocus import parse_fooocus
from pipeline.metadata.programs import parse_program
from pipeline.metadata.record import NOTHING, Parsed
from pipeline.request.styles import Template

MAX_CHARS: Final = 2**20  # above all that this server writes

_decode_entries = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse_text(text: str, templates: Mapping[str, Template] | None = None) -> Parsed:
    """``NOTHING`` for a text that no program here is known to write.

    JSON is told by parsing it, since a prompt may begin with a brace.
    """
    if len(text) > MAX_CHARS:
        return NOTHING
    entries = json_entries(text)
    if entries is None:
        return parse_a1111(text, templates or {})
    if is_graph(entries):
        return parse_graph(entries)
    if is_workflow(entries):
        return parse_workflow()
    return parse_program(entries) or parse_fooocus(entries) or NOTHING


def json_entries(text: str) -> dict[str, object] | None:
    """The entries of a JSON object, without those that cannot be read; None if it is none."""
    try:
        raw = _decode_entries(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None
    entries: dict[str, object] = {}
    for key, value in raw.items():
        try:
            decoded = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            continue
        if decoded is not None:
            entries[key] = decoded
    return entries
