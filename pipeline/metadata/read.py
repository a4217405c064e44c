"""From the parameters text of an image, by Fooocus, A1111 or this server, to request fields."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.metadata.parse import is_json, parse_a1111, parse_json
from pipeline.metadata.write import Record, first_number, loras_of, numbers, short_name
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL, MetadataScheme
from pipeline.request.decode import GenerateParams, params_from
from pipeline.request.plan import STEPS
from pipeline.request.schema import MAX_LORAS
from pipeline.request.styles import Template

MAX_CHARS: Final = 262_144
_QUOTED: Final = re.compile(r"'([^']*)'|\"([^\"]*)\"")


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


class ModelNames(msgspec.Struct, frozen=True):
    """The installed model files, to find a file by the short name in a text."""

    checkpoints: Sequence[str] = ()
    loras: Sequence[str] = ()
    vaes: Sequence[str] = ()


def read_metadata(
    text: str, names: ModelNames | None = None, templates: Mapping[str, Template] | None = None
) -> dict[str, object]:
    """Request fields that reproduce the image of ``text``; empty if none is recognised.

    Reads both schemes, of this server, Fooocus and A1111; ``templates`` are the styles that a text
    of Fooocus may have used without naming them. Values that a request cannot have are left out.
    """
    if len(text) > MAX_CHARS:
        return {}
    record = parse_json(text) if is_json(text) else parse_a1111(text, templates or {})
    fields: dict[str, object] = {}
    for name, value in _request_fields(record, names or ModelNames()):
        try:
            checked = params_from({name: value})
        except (msgspec.ValidationError, InvalidParameter):
            continue
        fields[name] = msgspec.to_builtins(getattr(checked, name))
    return {**_SILENT, **fields} if fields else {}


def scheme_of(text: str) -> MetadataScheme:
    """The scheme of a text that ``read_metadata`` recognised."""
    return "fooocus" if is_json(text) else "a1111"


def _request_fields(record: Record, names: ModelNames) -> Iterator[tuple[str, object]]:
    for key, (field, convert) in _PLAIN.items():
        if key in record and (value := convert(record[key])) is not None:
            yield field, value
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


def _size_and_steps(record: Record) -> Iterator[tuple[str, object]]:
    size = [int(value) for value in numbers(record.get("resolution"))]
    if len(size) == 2:
        yield "aspect_ratios_selection", f"{size[0]}*{size[1]}"
    steps = _whole(record.get("steps"))
    if steps is not None and steps != STEPS.get(str(record.get("performance"))):
        yield "overwrite_step", steps


def _model_fields(record: Record, names: ModelNames) -> Iterator[tuple[str, object]]:
    if base := record.get("base_model"):
        yield "base_model_name", _full_name(str(base), names.checkpoints)
    if refiner := record.get("refiner_model"):
        yield "refiner_model_name", _full_name(str(refiner), names.checkpoints)
    if vae := record.get("vae"):
        yield "vae_name", _full_name(str(vae), names.vaes)
    # One more than a request may have: then its check leaves all of them out.
    entries = list(itertools.islice(loras_of(record), MAX_LORAS + 1))
    if entries:
        by_short = {short_name(name): name for name in reversed(names.loras)}
        yield (
            "loras",
            [
                {"model_name": _named(name, by_short), "weight": weight}
                for name, weight, _ in entries
            ],
        )


def _full_name(short: str, known: Sequence[str]) -> str:
    """The file called ``short``; without one, the name such a file would have."""
    return _named(short, {short_name(name): name for name in reversed(known)})


def _named(short: str, by_short: Mapping[str, str]) -> str:
    if short in (NO_MODEL, DEFAULT_VAE, EMBEDDED):
        return short
    found = by_short.get(short_name(short))
    return found or f"{short.removesuffix('.safetensors')}.safetensors"


def _whole(value: object) -> int | None:
    text = str(value)
    return int(text) if re.fullmatch(r"-?\d{1,19}", text) else None


def _style_names(value: object) -> list[str]:
    return [single or double for single, double in _QUOTED.findall(str(value))]


def _filled_text(value: object) -> str | None:
    return str(value) or None


_PLAIN: Final[Mapping[str, tuple[str, Callable[[object], object]]]] = {
    "prompt": ("prompt", str),
    "negative_prompt": ("negative_prompt", str),
    "styles": ("style_selections", _style_names),
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
