"""Decodes and validates generate requests; an error names the field that is wrong.

Presets and model files are not consulted: only the form of a name is checked here.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from pipeline.errors import InvalidParameter
from pipeline.request.choices import ControlNetType
from pipeline.request.delivery import Delivery, GenerateRequest
from pipeline.request.json_body import as_utf8, in_form
from pipeline.request.schema import (
    ASPECT_PATTERN,
    IMAGE_FIELDS,
    MAX_SEED,
    MAX_SIDE,
    MIN_SIDE,
    GenerateParams,
)
from pipeline.request.schema_parts import ControlNetImage, EnhanceControl, Lora

__all__ = [
    "MAX_SEED",
    "MAX_SIDE",
    "MIN_SIDE",
    "ControlNetImage",
    "Decoded",
    "EnhanceControl",
    "GenerateParams",
    "Lora",
    "decode_params",
    "decoded_from",
    "params_from",
    "parse_aspect_ratio",
    "request_from",
    "validation_location",
]

Location = tuple[str | int, ...]

# (stop, weight) of an image prompt that names neither.
CONTROL_DEFAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "ImagePrompt": (0.5, 0.6),
    "FaceSwap": (0.9, 0.75),
    "PyraCanny": (0.5, 1.0),
    "CPDS": (0.5, 1.0),
}
_DEEPEST: Final = 3  # parts of the longest place of a field: ("loras", 0, "weight")
_FIELDS: Final = frozenset(GenerateRequest.__struct_fields__)
_NESTED: Final[Mapping[str, type[msgspec.Struct]]] = {
    "loras": Lora,
    "controlnet_image": ControlNetImage,
    "enhance_ctrls": EnhanceControl,
}
_LAST_FIRST: Final[Mapping[type[msgspec.Struct], tuple[str, ...]]] = {
    kind: kind.__struct_fields__[::-1]
    for kind in cast("tuple[type[msgspec.Struct], ...]", (GenerateRequest, *_NESTED.values()))
}
_ASPECT: Final = re.compile(ASPECT_PATTERN, re.ASCII)
_PATH: Final = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]")
_KINDS: Final = (
    (re.compile(r"Invalid enum value"), "unknown_value"),
    (re.compile(r"Expected `(int|float)` [<>]"), "out_of_range"),
    (re.compile(r"Number out of range"), "out_of_range"),
    (re.compile(r"of length"), "wrong_length"),
    (re.compile(r"Expected"), "wrong_type"),
)


_PLAIN: Final = (int, float, type(None))  # most fields, and no text below them


class Decoded(msgspec.Struct, frozen=True):
    """A decoded request: its parameters and delivery, the fields it names, the unknown keys."""

    params: GenerateParams
    delivery: Delivery
    present: frozenset[str]
    ignored: tuple[str, ...]

    def with_fields(self, **values: object) -> "Decoded":
        """The request as if it named these parameters, whose values are trusted."""
        return Decoded(
            params=msgspec.structs.replace(self.params, **values),
            delivery=self.delivery,
            present=self.present | values.keys(),
            ignored=self.ignored,
        )


def decode_params(body: bytes) -> Decoded:
    """Decode a request body. Of a key given twice the last counts; null leaves a field out.

    Raises msgspec.DecodeError (not JSON), msgspec.ValidationError (wrong type, range or choice;
    ``validation_location`` finds the place) or InvalidParameter.
    """
    raw = _decode_json(body)
    if not isinstance(raw, dict):
        raise msgspec.ValidationError(f"Expected `object`, got `{_json_type(raw)}`")
    return decoded_from(raw)


def decoded_from(raw: Mapping[str, object]) -> Decoded:
    """Validate the fields of a request. Raises msgspec.ValidationError, InvalidParameter."""
    raw = _left_in(raw)
    request = _validated(raw)
    return Decoded(
        params=request.params,
        delivery=Delivery.of(request),
        present=frozenset(raw) & _FIELDS,
        ignored=tuple(_unknown_keys(raw)),
    )


def request_from(raw: Mapping[str, object]) -> GenerateRequest:
    """Validate decoded JSON. Raises as ``decode_params``; unknown keys are ignored."""
    return _validated(_left_in(raw))


def _validated(raw: Mapping[str, object]) -> GenerateRequest:
    for place, text in _strings(raw):
        _check_text(place, text)
    request = msgspec.convert(_normalised(raw), GenerateRequest)
    for name, legal, message in _RULES:
        if not legal(getattr(request, name)):
            raise InvalidParameter((name,), message)
    return request


def params_from(raw: Mapping[str, object]) -> GenerateParams:
    """``request_from`` without the delivery."""
    return request_from(raw).params


def parse_aspect_ratio(text: str) -> tuple[int, int] | None:
    """Width and height of ``1152*896``; None for another form or sizes out of bounds."""
    match = _ASPECT.fullmatch(text)
    if match is None:
        return None
    return int(match[1]), int(match[2])


def validation_location(error: msgspec.ValidationError) -> tuple[Location, str, str]:
    """Place (``("body", "loras", 0, "weight")``), message and kind of a decoding error.

    For an unknown choice the message lists the legal ones.
    """
    message, found, path = str(error).rpartition(" - at `$")
    message, path = (message, path) if found else (path, "")
    place = tuple(m[1] or int(m[2]) for m in _PATH.finditer(path))
    kind = next((kind for pattern, kind in _KINDS if pattern.search(message)), "invalid")
    if kind == "unknown_value" and (legal := _legal_values(place)):
        message = f"{message[:120]}; legal: {', '.join(legal)}"
    return ("body", *place), message, kind


def _left_in(raw: Mapping[str, object]) -> dict[str, object]:
    """The fields that are given: null leaves one out."""
    return cast("dict[str, object]", in_form(dict(raw), GenerateRequest))


def _decode_json(body: bytes) -> object:
    body = as_utf8(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:
        # A number beyond float: the typed decoder names the place, unless the key is unknown.
        msgspec.json.decode(body, type=GenerateRequest)
        raise
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"JSON is not UTF-8 ({error.reason})") from None


def _json_type(value: object) -> str:
    names = {"list": "array", "dict": "object", "NoneType": "null"}
    return names.get(type(value).__name__, type(value).__name__)


def _unknown_keys(raw: Mapping[str, object]) -> Iterator[str]:
    yield from (key for key in raw if key not in _FIELDS)
    for name, struct in _NESTED.items():
        items = raw.get(name)
        for i, item in enumerate(items if isinstance(items, list) else ()):
            known = frozenset(struct.__struct_fields__)
            yield from (f"{name}[{i}].{key}" for key in item if key not in known)


def _strings(raw: Mapping[str, object]) -> Iterator[tuple[Location, str]]:
    """Every string below ``raw`` with its place; known keys only, as the rest is ignored.

    Lists may be nested to any depth, so they are kept on a stack.
    """
    stack: list[tuple[Location, object]] = [((), raw)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, Mapping):
            known = GenerateRequest if not place else _NESTED.get(str(place[0]))
            fields = _LAST_FIRST[known] if known else ()
            found = ((key, value[key]) for key in fields if key in value)
            stack += [((*place, key), item) for key, item in found if not isinstance(item, _PLAIN)]
        elif isinstance(value, list | tuple) and len(place) < _DEEPEST:
            stack += [((*place, i), item) for i, item in enumerate(value)][::-1]


def _check_text(place: Location, text: str) -> None:
    if "\0" in text:
        raise InvalidParameter(place, "must not contain a NUL character")
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(place, "contains half of a surrogate pair") from None


def _normalised(raw: Mapping[str, object]) -> dict[str, object]:
    """Unify the spellings that clients use: no image is ``""``, ``a111`` is ``a1111``."""
    values = dict(raw)
    for name in IMAGE_FIELDS:
        if values.get(name) in (None, "None"):
            values[name] = ""
    if values.get("metadata_scheme") == "a111":
        values["metadata_scheme"] = "a1111"
    controls = values.get("controlnet_image")
    if isinstance(controls, list | tuple):
        values["controlnet_image"] = [_normalised_control(item) for item in controls]
    return values


def _normalised_control(item: object) -> object:
    if not isinstance(item, dict):
        return item
    values = dict(item)
    if values.get("cn_img") in (None, "None"):
        values["cn_img"] = ""
    cn_type = values.get("cn_type", "ImagePrompt")
    if isinstance(cn_type, str) and cn_type in get_args(ControlNetType):
        stop, weight = CONTROL_DEFAULTS[cn_type]
        for name, default in (("cn_stop", stop), ("cn_weight", weight)):
            if values.get(name) is None:
                values[name] = default
    return values


def _legal_values(place: Location) -> tuple[str, ...]:
    """The choices of the field at ``place``, read from the struct's annotations."""
    node: Any = GenerateRequest
    for part in place:
        if isinstance(part, str):
            types = {field.name: field.type for field in msgspec.structs.fields(node)}
            if part not in types:  # a field of another endpoint's body
                return ()
            node = types[part]
        else:
            node = get_args(node)[0]
        while get_origin(node) is not None and hasattr(node, "__metadata__"):
            node = get_args(node)[0]
    return tuple(str(value) for value in get_args(node))


def _is_off_or_side(value: int) -> bool:
    return value <= 0 or value >= MIN_SIDE


def _is_off_or_strength(value: float) -> bool:
    return value == -1 or value >= 0


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return text == "" or (parts.scheme in ("http", "https") and bool(parts.hostname))
    except ValueError:  # such as an unclosed [ of IPv6
        return False


_Rule = tuple[str, Callable[[Any], bool], str]
_RULES: Final[tuple[_Rule, ...]] = (
    (
        "aspect_ratios_selection",
        lambda text: parse_aspect_ratio(text) is not None,
        f"Expected width*height, each {MIN_SIDE} to {MAX_SIDE}, such as 1152*896",
    ),
    ("overwrite_width", _is_off_or_side, f"Expected -1 or {MIN_SIDE} to {MAX_SIDE}"),
    ("overwrite_height", _is_off_or_side, f"Expected -1 or {MIN_SIDE} to {MAX_SIDE}"),
    ("overwrite_vary_strength", _is_off_or_strength, "Expected -1 or 0 to 1"),
    ("overwrite_upscale_strength", _is_off_or_strength, "Expected -1 or 0 to 1"),
    ("webhook_url", _is_web_address, "Expected an http or https address"),
)
