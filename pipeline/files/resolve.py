"""Are the models of a request to be had, and which one stands in for a preset's. Torch-free."""

from collections.abc import Iterator

import msgspec

from pipeline.errors import ModelNotFound, ModelNotInstalled
from pipeline.files.catalog import CHECKPOINTS, LORAS, VAES, Field, ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.files.lora_paths import check_mode_lora
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED, NO_MODEL
from pipeline.request.decode import GenerateParams
from pipeline.request.presets import INITIAL, Preset, PresetStore


def settle_models(
    params: GenerateParams, present: frozenset[str], presets: PresetStore, files: ModelFiles
) -> GenerateParams:
    """The same request, with models that its task will find or fetch. Reads files.

    ``present`` are the fields that the request itself says. Raises ModelNotFound for a name of the
    request that nobody knows, ModelNotInstalled for a known file that may not be fetched here and
    for one that only a preset names.
    """
    if "base_model_name" not in present:
        name = _stand_in(params, presets, files.catalog) or params.base_model_name
        params = msgspec.structs.replace(params, base_model_name=name)
    for folder, name, field in _named(params):
        try:
            files.check(folder, name, field)
        except ModelNotFound as error:
            if field[0] in present:
                raise
            told = f"the preset needs a file that is not installed: {error}"
            raise ModelNotInstalled(told) from None
    check_mode_lora(params, presets.describing(params), files)
    return params


def installed_default(preset: Preset, catalog: ModelCatalog) -> str | None:
    """The preset's model if it is there, else the first of its earlier ones that is; or None."""
    there = frozenset(catalog.checkpoints())
    return next((name for name in preset.models if name in there), None)


def stand_in_note(
    params: GenerateParams, presets: PresetStore, catalog: ModelCatalog
) -> str | None:
    """What the record says where an earlier model of the preset made the picture."""
    for preset in _presets_of(params, presets):
        wanted = preset.default_model
        earlier = params.base_model_name in preset.previous_default_models
        if wanted and earlier and wanted not in catalog.checkpoints():
            return f"{wanted} is not installed; made with {params.base_model_name}, its forerunner"
    return None


def _stand_in(params: GenerateParams, presets: PresetStore, catalog: ModelCatalog) -> str | None:
    """As in Fooocus, nothing is fetched where an earlier default of the preset is there."""
    for preset in _presets_of(params, presets):
        if preset.default_model == params.base_model_name:
            return installed_default(preset, catalog)
    return None


def _presets_of(params: GenerateParams, presets: PresetStore) -> Iterator[Preset]:
    names = presets.names()
    yield from (presets.load(name) for name in (params.preset, INITIAL) if name in names)


def _named(params: GenerateParams) -> Iterator[tuple[str, str, Field]]:
    """Folder, name and request field of each file that the parameters name."""
    if params.base_model_name != EMBEDDED:
        yield CHECKPOINTS, params.base_model_name, ("base_model_name",)
    if params.refiner_model_name not in (NO_MODEL, EMBEDDED):
        yield CHECKPOINTS, params.refiner_model_name, ("refiner_model_name",)
    if params.vae_name not in (DEFAULT_VAE, NO_MODEL):
        yield VAES, params.vae_name, ("vae_name",)
    for i, lora in enumerate(params.loras):
        if lora.enabled and lora.model_name != NO_MODEL:
            yield LORAS, lora.model_name, ("loras", i, "model_name")
