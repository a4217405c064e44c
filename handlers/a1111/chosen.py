"""The settings that ``POST /sdapi/v1/options`` changes, and those of ``override_settings``."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from handlers.http.refusal import RequestRefused
from pipeline.files.catalog import ModelCatalog
from pipeline.metadata.record import short_name
from pipeline.request.choices import DEFAULT_VAE, OutputFormat
from pipeline.request.schema_parts import Name

AUTOMATIC_VAE: Final = "Automatic"
_OWN_VAE: Final = frozenset(("", "none", "automatic"))  # in lower case; the checkpoint's
_HASH_START: Final = " ["


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that take effect, of all that A1111 has."""

    sd_model_checkpoint: Name | None = None
    sd_vae: Name | None = None
    CLIP_stop_at_last_layers: Annotated[int, Meta(ge=1, le=12)] | None = None
    samples_format: OutputFormat | None = None
    enable_pnginfo: bool | None = None

    def over(self, others: "Settings") -> "Settings":
        """These, and the others where these say nothing."""
        named = {k: v for k, v in msgspec.structs.asdict(self).items() if v is not None}
        return msgspec.structs.replace(others, **named)

    def fields(self, catalog: ModelCatalog) -> dict[str, object]:
        """The fields of a request. Lists model files: not for the event loop.

        Raises RequestRefused: 404 for a model that is not there.
        """
        found: dict[str, object] = {}
        if self.sd_model_checkpoint:
            found["base_model_name"] = checkpoint_named(catalog, self.sd_model_checkpoint)
        if self.sd_vae is not None:
            found["vae_name"] = vae_named(catalog, self.sd_vae)
        if self.CLIP_stop_at_last_layers is not None:
            found["clip_skip"] = self.CLIP_stop_at_last_layers
        if self.samples_format is not None:
            found["output_format"] = self.samples_format
        if self.enable_pnginfo is not None:
            found["save_metadata_to_images"] = self.enable_pnginfo
        return found


KNOWN: Final = frozenset(Settings.__struct_fields__)


def ignored_settings(named: Iterable[str]) -> list[str]:
    """Names of the overridden settings that take no effect."""
    return [f"override_settings.{name}" for name in named if name not in KNOWN]


class ChosenSettings:
    """What each API key has chosen by POST; until the next start. Event loop only."""

    def __init__(self) -> None:
        self._of_key: dict[str, Settings] = {}

    def of(self, key: str) -> Settings:
        """The settings of a key, by its name; "" without keys."""
        return self._of_key.get(key, Settings())

    def choose(self, key: str, settings: Settings) -> None:
        """Change those that ``settings`` names."""
        self._of_key[key] = settings.over(self.of(key))


CHOSEN_SETTINGS: Final = web.AppKey("a1111_chosen_settings", ChosenSettings)


def checkpoint_named(catalog: ModelCatalog, title: str) -> str:
    """The checkpoint that A1111's clients call so. Raises RequestRefused: 404."""
    return _named(title, catalog.checkpoints(), "sd_model_checkpoint")


def vae_named(catalog: ModelCatalog, title: str) -> str:
    """The VAE of that name, or the checkpoint's own. Raises RequestRefused: 404."""
    if title.lower() in _OWN_VAE:
        return DEFAULT_VAE
    return _named(title, catalog.vaes(), "sd_vae")


def _named(title: str, names: Sequence[str], setting: str) -> str:
    """By name, by name and hash (``a.safetensors [0123abcdef]``), or without folder and ending."""
    plain = title.replace("\\", "/").partition(_HASH_START)[0]
    if plain in names:
        return plain
    for name in names:
        if short_name(name) == short_name(plain):
            return name
    listed = ", ".join(names[:20])
    raise RequestRefused(
        404, "model_not_found", f"{setting}: no {title[:120]!r}; installed: {listed}"
    )
