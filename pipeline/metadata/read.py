"""From the parameters text of an image, by this server or another program, to request fields."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.metadata.literal import literal_prompt
from pipeline.metadata.model_names import ModelNames
from pipeline.metadata.parse import MAX_CHARS, parse_text
from pipeline.metadata.record import (
    SOFTWARE,
    Parsed,
    Record,
    first_number,
    loras_of,
    numbers,
    short_name,
    shown_names,
)
from pipeline.metadata.style_guess import style_names
from pipeline.request.choices import DEFAULT_VAE, NO_MODEL, MetadataScheme
from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.performance import FAST_MODES
from pipeline.request.plan import STEPS
from pipeline.request.schema import MAX_LORAS
from pipeline.request.styles import EXPANSION, Template

__all__ = ["MAX_CHARS", "ModelNames", "Reading", "read_metadata", "read_parameters"]

# Values that a text omits because they were off; a preset must not replace them.
_SILENT: Final[Mapping[str, object]] = {
    "negative_prompt": "",
    "style_selections": (),
    "performance_selection": "Speed",
    "refiner_model_name": NO_MODEL,
    "loras": (),
    "vae_name": DEFAULT_VAE,
    "adaptive_cfg": GenerateParams().adaptive_cfg,
    "guidance_rescale": 0.0,
    "clip_skip": 1,
    "overwrite_step": -1,
    "overwrite_switch": -1,
    "image_number": 1,
}
_CLIP_SKIP_SINCE: Final = (2, 4)  # of Fooocus; until then it was 2 and not recorded
_FOOOCUS: Final = "Fooocus"
_WHOLE: Final = re.compile(r"-?\d{1,19}")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a text says. ``unread`` names what it holds that no request field can take."""

    parameters: dict[str, object] = {}
    scheme: MetadataScheme | None = None  # None too for a form that this server does not write
    program: str = ""
    version: str = ""
    unread: tuple[str, ...] = ()


def read_metadata(
    text: str, names: ModelNames | None = None, templates: Mapping[str, Template] | None = None
) -> dict[str, object]:
    """The ``parameters`` of ``read_parameters``."""
    return read_parameters(text, names, templates).parameters


def read_parameters(
    text: str, names: ModelNames | None = None, templates: Mapping[str, Template] | None = None
) -> Reading:
    """Request fields that reproduce the image of ``text``; none if nothing is recognised.

    ``templates`` are the styles that a text of Fooocus may have used without naming them. Values
    that a request cannot have are left out and named.
    """
    parsed = parse_text(text, templates)
    fields: dict[str, object] = {}
    refused = []
    for name, value in _request_fields(parsed, names or ModelNames()):
        try:
            checked = params_from({name: value})
        except (msgspec.ValidationError, InvalidParameter):
            refused.append(f"{name}: {str(value)[:40]}")
            continue
        fields[name] = msgspec.to_builtins(getattr(checked, name))
    if not fields:
        return Reading(program=parsed.program, version=parsed.version, unread=parsed.unread)
    return Reading(
        parameters={**_SILENT, **fields},
        scheme=parsed.scheme,
        program=parsed.program,
        version=parsed.version,
        unread=shown_names(iter((*refused, *parsed.unread))),
    )


def _request_fields(parsed: Parsed, names: ModelNames) -> Iterator[tuple[str, object]]:
    record = parsed.record
    for key, (field, convert) in _PLAIN.items():
        if key in record and (value := convert(record[key])) is not None:
            yield field, value
    if "prompt" in record:
        yield "prompt", _prompt(parsed)
    if "clip_skip" not in record and parsed.record and _is_before_clip_skip(parsed):
        yield "clip_skip", 2
    adm = numbers(record.get("adm_guidance"))
    yield from zip(
        ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end"), adm, strict=False
    )
    freeu = numbers(record.get("freeu"))
    if len(freeu) == 4:
        yield "freeu_enabled", True
        yield from zip(("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"), freeu, strict=True)
    yield from _size_and_steps(record)
    yield from _model_fields(record, names)


def _prompt(parsed: Parsed) -> str:
    """The prompt as typed; this server's own is what arrays and wildcards have become already."""
    text = str(parsed.record["prompt"])
    if parsed.program != SOFTWARE:
        return text
    expands = EXPANSION in style_names(str(parsed.record.get("styles", "")))
    return literal_prompt(text, keep_empty=expands)


def _is_before_clip_skip(parsed: Parsed) -> bool:
    """Whether a Fooocus wrote the text that had no choice of the layer."""
    if parsed.program != _FOOOCUS:
        return False
    found = re.match(r"(\d{1,4})\.(\d{1,4})", parsed.version)
    return found is None or (int(found[1]), int(found[2])) < _CLIP_SKIP_SINCE


def _size_and_steps(record: Record) -> Iterator[tuple[str, object]]:
    size = [int(value) for value in numbers(record.get("resolution"))]
    if len(size) == 2:
        yield "aspect_ratios_selection", f"{size[0]}*{size[1]}"
    steps = _whole(record.get("steps"))
    if steps is not None and steps != STEPS.get(str(record.get("performance"))):
        yield "overwrite_step", steps


def _model_fields(record: Record, names: ModelNames) -> Iterator[tuple[str, object]]:
    if base := record.get("base_model"):
        digest = str(record.get("base_model_hash", ""))
        yield "base_model_name", names.checkpoint(str(base), digest)
    if refiner := record.get("refiner_model"):
        digest = str(record.get("refiner_model_hash", ""))
        yield "refiner_model_name", names.checkpoint(str(refiner), digest)
    if vae := record.get("vae"):
        yield "vae_name", names.vae(str(vae))
    # Two more than a request may have, of which one can be a mode's own: then its check leaves all
    # of them out.
    entries = list(itertools.islice(loras_of(record), MAX_LORAS + 2))
    if chosen := _without_own(entries, record):
        yield (
            "loras",
            [
                {"model_name": names.lora(name, digest), "weight": weight}
                for name, weight, digest in chosen
            ],
        )


def _without_own(
    entries: list[tuple[str, float, str]], record: Record
) -> list[tuple[str, float, str]]:
    """The LoRAs without the one that comes with the few-step mode: the last one of its name."""
    mode = FAST_MODES.get(str(record.get("performance")))
    if mode is None:
        return entries
    own = short_name(str(record.get("performance_lora", mode.lora)))
    for i in reversed(range(len(entries))):
        if short_name(entries[i][0]) == own:
            return [*entries[:i], *entries[i + 1 :]]
    return entries


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if _WHOLE.fullmatch(text) else None


def _styles(value: object) -> list[str]:
    return list(style_names(str(value)))


def _filled_text(value: object) -> str | None:
    return str(value) or None


_PLAIN: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "negative_prompt": ("negative_prompt", str),
    "styles": ("style_selections", _styles),
    "prompt_expansion": ("prompt_expansion", _filled_text),
    "performance": ("performance_selection", str),
    "seed": ("image_seed", _whole),
    "guidance_scale": ("guidance_scale", first_number),
    "sharpness": ("sharpness", first_number),
    "refiner_switch": ("refiner_switch", first_number),
    "adaptive_cfg": ("adaptive_cfg", first_number),
    "guidance_rescale": ("guidance_rescale", first_number),
    "clip_skip": ("clip_skip", _whole),
    "overwrite_switch": ("overwrite_switch", _whole),
    "sampler": ("sampler_name", str),
    "scheduler": ("scheduler_name", str),
    "refiner_swap_method": ("refiner_swap_method", str),
}
