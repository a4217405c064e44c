"""From validated parameters to a ``ResolvedRequest``: the one place that asks presets and files."""

import secrets
from collections.abc import Iterator

import msgspec

from pipeline.errors import InvalidParameter, ModelNotFound, ModelNotInstalled
from pipeline.files.auxiliary import check_parts
from pipeline.files.catalog import CHECKPOINTS, LORAS, UPSCALERS, VAES, Field, ModelCatalog
from pipeline.files.diffusers_folder import read_folder
from pipeline.files.locate import ModelFiles
from pipeline.request.architectures import FolderModel, fitted
from pipeline.request.choices import DEFAULT_UPSCALER, DEFAULT_VAE, EMBEDDED, NO_MODEL
from pipeline.request.images import check_images
from pipeline.request.model_file import ModelFile
from pipeline.request.performance import FastMode
from pipeline.request.presets import INITIAL, Preset, PresetStore
from pipeline.request.resolved import ResolvedRequest, resolve_params
from pipeline.request.schema import RANDOM_SEED_LIMIT, GenerateParams
from pipeline.request.styles import StyleLibrary


class Resolver:
    """Resolves requests at admission. Reads folders and files, so it is not for the event loop."""

    def __init__(self, presets: PresetStore, styles: StyleLibrary, files: ModelFiles) -> None:
        self._presets = presets
        self._styles = styles
        self._files = files

    def resolve(self, params: GenerateParams, present: frozenset[str]) -> ResolvedRequest:
        """A request, new or stored, of which ``present`` are the fields that it names.

        Raises ModelNotFound for a name in the request that is unknown, ModelNotInstalled for a
        known file that may not be fetched here and for one that only a preset names,
        InvalidParameter for an unknown style or a missing input image.
        """
        if params.base_model_name in ("", NO_MODEL):
            present -= {"base_model_name"}
        params = self._presets.apply(params, present)
        if "base_model_name" not in present:
            name = self._stand_in(params) or params.base_model_name
            params = msgspec.structs.replace(params, base_model_name=name)
        if params.image_seed < 0:
            seed = secrets.randbelow(RANDOM_SEED_LIMIT)
            params = msgspec.structs.replace(params, image_seed=seed)
        model = self._diffusers_model(params)
        fit_notes: dict[str, object] = {}
        if model is not None:
            params, fit_notes = fitted(params, present, model.architecture)
        files = list(self._named_files(params, present))
        preset, known_loras = self._presets.describing(params), self._files.catalog.loras()
        request = resolve_params(params, preset, known_loras, model)
        _check_prompt_loras(request)
        files += [ModelFile(LORAS, name) for name in request.prompt_loras]
        if request.fast_mode is not None:
            files.append(self._mode_lora(params.performance_selection, request.fast_mode))
        self._styles.check(params.style_selections)
        check_images(request)
        check_parts(request, self._files)
        notes = request.notes | dict(self._stand_in_notes(params)) | fit_notes
        return msgspec.structs.replace(request, files=tuple(dict.fromkeys(files)), notes=notes)

    def _diffusers_model(self, params: GenerateParams) -> FolderModel | None:
        """The base model if a pipeline of diffusers runs it. Raises InvalidModelFile."""
        catalog, name = self._files.catalog, params.base_model_name
        if name == EMBEDDED or not catalog.has(CHECKPOINTS, name):
            return None
        return read_folder(catalog.models_dir / CHECKPOINTS / name)

    def _named_files(self, params: GenerateParams, present: frozenset[str]) -> Iterator[ModelFile]:
        """The files that the parameters name."""
        for folder, name, field in _names(params):
            try:
                yield self._files.look_up(folder, name, field)
            except ModelNotFound as error:
                if field[0] in present:
                    raise
                told = f"the preset needs a file that is not installed: {error}"
                raise ModelNotInstalled(told) from None

    def _mode_lora(self, title: str, mode: FastMode) -> ModelFile:
        try:
            return self._files.look_up(LORAS, mode.lora, ("performance_selection",))
        except ModelNotInstalled as error:
            raise ModelNotInstalled(f"performance {title!r}: {error}") from None

    def _stand_in(self, params: GenerateParams) -> str | None:
        """As in Fooocus, nothing is fetched where an earlier default of the preset is there."""
        for preset in self._presets_of(params):
            if preset.default_model == params.base_model_name:
                return installed_default(preset, self._files.catalog)
        return None

    def _stand_in_notes(self, params: GenerateParams) -> Iterator[tuple[str, str]]:
        """What the record says where an earlier model of the preset makes the images."""
        for preset in self._presets_of(params):
            wanted = preset.default_model
            earlier = params.base_model_name in preset.previous_default_models
            if wanted and earlier and not self._files.catalog.has(CHECKPOINTS, wanted):
                made_with = f"made with {params.base_model_name}, its forerunner"
                yield "model", f"{wanted} is not installed; {made_with}"
                return

    def _presets_of(self, params: GenerateParams) -> Iterator[Preset]:
        for name in (params.preset, INITIAL):
            if (preset := self._presets.find(name)) is not None:
                yield preset


def _check_prompt_loras(request: ResolvedRequest) -> None:
    """Raise InvalidParameter for a LoRA in the prompt of a model that takes none."""
    if request.architecture is not None and request.prompt_loras:
        model = f"{request.params.base_model_name} ({request.architecture.name})"
        named = ", ".join(request.prompt_loras)
        raise InvalidParameter(("prompt",), f"LoRAs have no effect with {model}: {named}")


def choose_start_preset(presets: PresetStore, catalog: ModelCatalog) -> str:
    """``default`` if a checkpoint of it is installed, else the preset of the embedded model."""
    return "default" if installed_default(presets.load("default"), catalog) else EMBEDDED


def installed_default(preset: Preset, catalog: ModelCatalog) -> str | None:
    """The preset's model if it is there, else the first of its earlier ones that is; or None."""
    there = frozenset(catalog.checkpoints())
    return next((name for name in preset.models if name in there), None)


def _names(params: GenerateParams) -> Iterator[tuple[str, str, Field]]:
    """Folder, name and request field of each file that the parameters name."""
    if params.base_model_name != EMBEDDED:
        yield CHECKPOINTS, params.base_model_name, ("base_model_name",)
    if params.refiner_model_name not in (NO_MODEL, EMBEDDED):
        yield CHECKPOINTS, params.refiner_model_name, ("refiner_model_name",)
    if params.vae_name not in (DEFAULT_VAE, NO_MODEL):
        yield VAES, params.vae_name, ("vae_name",)
    if params.upscale_model not in (DEFAULT_UPSCALER, NO_MODEL):
        yield UPSCALERS, params.upscale_model, ("upscale_model",)
    for i, lora in enumerate(params.loras):
        if lora.enabled and lora.model_name != NO_MODEL:
            yield LORAS, lora.model_name, ("loras", i, "model_name")
