"""Presets: JSON files with Fooocus's keys that set defaults of requests."""

import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from pipeline.errors import InvalidParameter, ModelNotFound, PipelineError
from pipeline.request.choices import EMBEDDED, NO_MODEL
from pipeline.request.decode import GenerateParams, params_from, parse_aspect_ratio

log = logging.getLogger(__name__)

INITIAL: Final = "initial"  # the name of the server's start preset in a request
_NAME: Final = re.compile(r"[\w][\w .+()-]{0,127}")
_MAX_NAME_BYTES: Final = 250  # without .json; file systems allow 255


class InvalidPreset(PipelineError):
    """A preset file is broken; the message names the file and the key."""

    code = "invalid_preset"


class Preset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A preset file. A value of None is left to the start preset."""

    default_model: str | None = None
    default_refiner: str | None = None
    default_refiner_switch: float | None = None
    default_loras: tuple[tuple[bool | str | float, ...], ...] | None = None
    default_cfg_scale: float | None = None
    default_sample_sharpness: float | None = None
    default_cfg_tsnr: float | None = None
    default_clip_skip: int | None = None
    default_sampler: str | None = None
    default_scheduler: str | None = None
    default_performance: str | None = None
    default_overwrite_step: int | None = None
    default_overwrite_switch: int | None = None
    default_prompt: str | None = None
    default_prompt_negative: str | None = None
    default_styles: tuple[str, ...] | None = None
    default_aspect_ratio: str | None = None
    default_vae: str | None = None
    default_inpaint_engine_version: str | None = None
    available_aspect_ratios: tuple[str, ...] = ()
    previous_default_models: tuple[str, ...] = ()
    checkpoint_downloads: dict[str, str] = {}
    lora_downloads: dict[str, str] = {}
    embeddings_downloads: dict[str, str] = {}
    vae_downloads: dict[str, str] = {}
    native_pixels: Annotated[int, Meta(ge=4096)] | None = None  # ours: limited to its sizes
    few_step_lora: str | None = None  # ours: replaces the few-step modes' LoRAs; "": none fits
    note: str = ""  # ours: a line about the preset

    @property
    def models(self) -> tuple[str, ...]:
        """Its model, then the models of its earlier versions."""
        return (
            *([self.default_model] if self.default_model else []),
            *self.previous_default_models,
        )

    @property
    def native_sizes(self) -> tuple[tuple[int, int], ...]:
        """The sizes the model is limited to; empty for any size."""
        if self.native_pixels is None:
            return ()
        sizes = (parse_aspect_ratio(text) for text in self.available_aspect_ratios)
        return tuple(size for size in sizes if size is not None)


# Preset key → request field.
FIELD_OF: Final[Mapping[str, str]] = {
    "default_model": "base_model_name",
    "default_refiner": "refiner_model_name",
    "default_refiner_switch": "refiner_switch",
    "default_loras": "loras",
    "default_cfg_scale": "guidance_scale",
    "default_sample_sharpness": "sharpness",
    "default_cfg_tsnr": "adaptive_cfg",
    "default_clip_skip": "clip_skip",
    "default_sampler": "sampler_name",
    "default_scheduler": "scheduler_name",
    "default_performance": "performance_selection",
    "default_overwrite_step": "overwrite_step",
    "default_overwrite_switch": "overwrite_switch",
    "default_prompt": "prompt",
    "default_prompt_negative": "negative_prompt",
    "default_styles": "style_selections",
    "default_aspect_ratio": "aspect_ratios_selection",
    "default_vae": "vae_name",
    "default_inpaint_engine_version": "inpaint_engine",
}
_KEY_OF: Final = {field: key for key, field in FIELD_OF.items()}


class _Loaded(NamedTuple):
    """A preset file and the request fields it sets."""

    preset: Preset
    values: Mapping[str, object]


_Stamp = tuple[int, int]  # mtime in ns, size in bytes


def decode_preset(data: bytes, source: str) -> Preset:
    """Decode and validate a preset file. Keys that only Fooocus uses are ignored.

    Raises InvalidPreset, naming ``source`` and the key.
    """
    return _decode(data, source).preset


def _decode(data: bytes, source: str) -> _Loaded:
    try:
        preset = msgspec.json.decode(data, type=Preset)
        values = preset_values(preset)
    except InvalidParameter as error:
        key = _KEY_OF.get(str(error.field[0]), str(error.field[0]))
        raise InvalidPreset(f"preset {source}: {key}: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = re.sub(r"`\$\.(\w+)", lambda m: f"`{_KEY_OF.get(m[1], m[1])}", str(error))
        raise InvalidPreset(f"preset {source}: {text}") from None
    for text in (*preset.available_aspect_ratios, *([preset.default_aspect_ratio or "64*64"])):
        if parse_aspect_ratio(text) is None:
            raise InvalidPreset(f"preset {source}: {text!r} is no width*height")
    return _Loaded(preset, values)


def _decode_leniently(data: bytes, source: str) -> _Loaded:
    """The sound part of a preset file, which may be another program's; the log names the rest.

    Raises InvalidPreset for a file that is no JSON object.
    """
    try:
        return _decode(data, source)
    except InvalidPreset as error:
        entries = _entries(data, error)
    kept: dict[str, msgspec.Raw] = {}
    for key, value in entries.items():
        if key not in Preset.__struct_fields__:
            continue
        sound, fault = _sound_value(key, value, source)
        if fault:
            log.warning("%s (%s); the default is used instead", fault, key)
        if sound is not None:
            kept[key] = sound
    return _decode(msgspec.json.encode(kept), source)


def _entries(data: bytes, fault: InvalidPreset) -> dict[str, msgspec.Raw]:
    """The values by key, each as JSON. Raises ``fault`` for what is no JSON object."""
    try:
        return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    # Fooocus reads its presets with Python's json, which takes NaN and halves of surrogate pairs;
    # editors put a byte order mark at the beginning.
    try:
        values = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise fault from None
    if not isinstance(values, dict):
        raise fault
    return {key: _as_json(value) for key, value in values.items()}


def _as_json(value: object) -> msgspec.Raw:
    """A value as JSON; one that JSON cannot say as an object, which no key takes."""
    try:
        return msgspec.Raw(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, RecursionError):  # NaN; half of a surrogate pair
        return msgspec.Raw(b'{"": 0}')


def _sound_value(key: str, value: msgspec.Raw, source: str) -> tuple[msgspec.Raw | None, str]:
    """The value if it is valid by itself, or the valid items of a list; and what is wrong."""
    fault = _fault({key: value}, source)
    if not fault:
        return value, ""
    try:
        items = msgspec.json.decode(value, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, fault
    sound = msgspec.json.encode([each for each in items if not _fault({key: [each]}, source)])
    # A list may be too long, or stand where none is wanted: then no item is of use.
    return (None if _fault({key: msgspec.Raw(sound)}, source) else msgspec.Raw(sound)), fault


def _fault(entries: Mapping[str, object], source: str) -> str:
    try:
        _decode(msgspec.json.encode(entries), source)
    except InvalidPreset as error:
        return str(error)
    return ""


def preset_values(preset: Preset) -> dict[str, object]:
    """The request fields that ``preset`` sets, validated like those of a request."""
    raw: dict[str, object] = {}
    for key, field in FIELD_OF.items():
        value = getattr(preset, key)
        if value is not None:
            raw[field] = _lora_slots(value) if field == "loras" else value
    params = params_from(raw)
    return {field: getattr(params, field) for field in raw}


def is_preset_name(name: str) -> bool:
    """Whether a preset's file may have this name, without ``.json``."""
    return _NAME.fullmatch(name) is not None and len(name.encode()) <= _MAX_NAME_BYTES


class PresetStore:
    """The preset files of one folder. Any thread may call; a changed file is read again."""

    def __init__(self, folder: Path, initial: str = "default") -> None:
        """``initial`` names the server's start preset."""
        self._folder = folder
        self._initial = initial
        self._read: dict[str, tuple[_Stamp, _Loaded]] = {}  # by name, without .json

    @property
    def initial(self) -> str:
        """The name of the start preset."""
        return self._initial

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return self._folder

    def names(self) -> list[str]:
        """``initial``, then the preset files without ``.json``."""
        return [INITIAL, *sorted(path.stem for path in self._folder.glob("*.json"))]

    def load(self, name: str) -> Preset:
        """A preset by name. Raises ModelNotFound or InvalidPreset."""
        return self._load(name).preset

    def find(self, name: str) -> Preset | None:
        """A preset by name; None if there is no such file. Raises InvalidPreset."""
        loaded = self._find(name)
        return None if loaded is None else loaded.preset

    def apply(self, params: GenerateParams, present: frozenset[str]) -> GenerateParams:
        """Fill in the fields not ``present``: from the preset of ``params``, else the start preset.

        No preset is needed where every field that one may set is present, as in a stored request.
        Raises ModelNotFound or InvalidPreset.
        """
        if present.issuperset(_KEY_OF):
            return params
        values = {**self._load(INITIAL).values, **self._load(params.preset).values}
        if "performance_selection" in present:
            values.pop("overwrite_step", None)  # meant for the preset's own mode
        left_out = {field: value for field, value in values.items() if field not in present}
        return msgspec.structs.replace(params, **left_out)

    def describing(self, params: GenerateParams) -> Preset:
        """The preset whose facts about its model (native sizes) hold for the model of ``params``.

        An empty one if no preset is made for that model.
        """
        for name in (params.preset, INITIAL, EMBEDDED):
            preset = self.find(name)
            if preset is not None and params.base_model_name in preset.models:
                return preset
        return Preset()

    def _load(self, name: str) -> _Loaded:
        loaded = self._find(name)
        if loaded is None:
            message = f"no preset {name[:120]!r}; there are {', '.join(self.names())}"
            raise ModelNotFound(("preset",), message)
        return loaded

    def _find(self, name: str) -> _Loaded | None:
        stem = self._initial if name == INITIAL else name
        if not is_preset_name(stem):
            return None
        path = f"{self._folder}/{stem}.json"
        try:
            status = os.stat(path)  # noqa: PTH116 - six times a request, and pathlib takes as long
            stamp = (status.st_mtime_ns, status.st_size)
            known = self._read.get(stem)
            if known is not None and known[0] == stamp:
                return known[1]
            loaded = _decode_leniently(Path(path).read_bytes(), f"{stem}.json")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        self._read[stem] = (stamp, loaded)
        return loaded


def _lora_slots(entries: tuple[tuple[bool | str | float, ...], ...]) -> list[dict[str, object]]:
    """``[enabled, name, weight]`` or, in older files, ``[name, weight]``; empty slots left out."""
    slots: list[dict[str, object]] = []
    for i, entry in enumerate(entries):
        whole = (True, *entry) if len(entry) == 2 else entry
        if len(whole) != 3:
            raise InvalidParameter(("loras", i), "Expected [enabled, name, weight]")
        if whole[1] != NO_MODEL:
            slots.append(dict(zip(("enabled", "model_name", "weight"), whole, strict=True)))
    return slots
