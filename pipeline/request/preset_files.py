"""Presets that people save, rename and delete: files with Fooocus's keys."""

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from pipeline.errors import InvalidParameter, ModelNotFound, PipelineError
from pipeline.request.decode import params_from
from pipeline.request.presets import (
    FIELD_OF,
    INITIAL,
    Preset,
    PresetStore,
    decode_preset,
    is_preset_name,
)

# Windows keeps these for devices, whatever the extension.
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
# Of file systems without hard links, such as FAT.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class PresetNotSaved(PipelineError):
    """The file of a preset cannot be written, renamed or removed; the message says why."""

    code = "preset_not_saved"


class PresetExists(PipelineError):
    """The name is taken, or is that of the preset that the server started with."""

    code = "preset_exists"


def preset_of(parameters: Mapping[str, object], about: Preset, note: str = "") -> Preset:
    """A preset that sets these request fields; fields that no preset sets are left out.

    ``about`` describes the model: its sizes, its few-step LoRA, where its files come from. Raises
    InvalidParameter for a wrong value.
    """
    known = {field: parameters[field] for field in FIELD_OF.values() if field in parameters}
    params = params_from(known)
    values: dict[str, object] = {
        key: getattr(params, field) for key, field in FIELD_OF.items() if field in parameters
    }
    if "default_loras" in values:
        values["default_loras"] = [
            (slot.enabled, slot.model_name, slot.weight) for slot in params.loras
        ]
    values["note"] = note
    for key in ("available_aspect_ratios", "native_pixels", "few_step_lora"):
        values[key] = getattr(about, key)
    downloads = {key: getattr(about, key) for key in _DOWNLOADS}
    return decode_preset(msgspec.json.encode(values | downloads), "of this request")


_DOWNLOADS: Final = (
    "checkpoint_downloads",
    "lora_downloads",
    "embeddings_downloads",
    "vae_downloads",
)


class PresetFiles:
    """Writes the files of a ``PresetStore``. Any thread may call; a file appears whole or not."""

    def __init__(self, store: PresetStore) -> None:
        self._store = store

    def save(self, name: str, preset: Preset, *, replace: bool = False) -> None:
        """Write a preset. Raises PresetExists where the name is taken and not to be replaced.

        Raises InvalidParameter for a name that cannot be one, PresetNotSaved.
        """
        target = self._path(name, "name")
        if replace:
            self._keep_start(name)
        text = msgspec.json.format(msgspec.json.encode(preset), indent=2) + b"\n"
        with _told(name):
            part = target.with_name(f".{secrets.token_hex(8)}.part")
            try:
                part.write_bytes(text)
                if replace:
                    part.replace(target)
                else:
                    _claim(part, target)
            finally:
                part.unlink(missing_ok=True)

    def rename(self, name: str, to: str) -> None:
        """Give a preset another name. Raises as ``save``, and ModelNotFound."""
        source, target = self._existing(name), self._path(to, "to")
        with _told(to):
            _claim(source, target)
            source.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Delete a preset. Raises as ``rename``."""
        path = self._existing(name)
        with _told(name):
            path.unlink()

    def _existing(self, name: str) -> Path:
        path = self._path(name, "name")
        if not path.is_file():
            raise ModelNotFound(("name",), f"no preset {name[:120]!r}")
        self._keep_start(name)
        return path

    def _keep_start(self, name: str) -> None:
        if name == self._store.initial:
            raise PresetExists(f"{name} is the server's start preset, which stays as it is")

    def _path(self, name: str, field: str) -> Path:
        if name == INITIAL or not is_preset_name(name) or _DEVICE.fullmatch(name):
            raise InvalidParameter(
                (field,), "Expected a name of letters, digits, blanks and _ . + ( ) -"
            )
        return self._store.folder / f"{name}.json"


def _claim(source: Path, target: Path) -> None:
    """Give a file a name that nothing has yet; the old one may stay. Raises FileExistsError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        target.touch(exist_ok=False)  # takes the name, which a rename alone would not respect
        source.replace(target)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except FileExistsError:
        raise PresetExists(f"there is a preset {name} already") from None
    except OSError as error:
        raise PresetNotSaved(f"the preset {name}: {error.strerror}") from error
