"""What a request may name: model files, styles, presets; and the memory that models take."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipeline.errors import InvalidModelFile, PipelineError
from pipeline.files.catalog import CHECKPOINTS, EMBEDDINGS, LORAS, UPSCALERS, VAES, ModelCatalog
from pipeline.files.diffusers_folder import read_folder
from pipeline.files.model_pictures import note_beside, picture_beside
from pipeline.request.architectures import acting_parameters
from pipeline.request.choices import DEFAULT_VAE, EMBEDDED
from pipeline.request.presets import INITIAL, PresetStore, preset_values
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.engine_protocol import LoadedModel


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model by the name that requests use, with what its file says of its training."""

    name: str
    bytes: Annotated[int, Meta(description="Size on disk; 0 for a folder or the built-in model.")]
    base_model: Annotated[
        str, Meta(description="The family that it was trained for, if its file says so.")
    ] = ""
    trained_on: Annotated[str, Meta(description="File name of the checkpoint it began from.")] = ""
    resolution: Annotated[str, Meta(description="Width x height of training, in pixels.")] = ""
    trigger_words: Annotated[
        tuple[str, ...], Meta(description="Words that call up what was trained.")
    ] = ()
    has_picture: Annotated[bool, Meta(description="GET /v1/models/picture has it.")] = False
    notes: Annotated[str, Meta(description="What name.txt beside the file says.")] = ""
    architecture: Annotated[
        str, Meta(description="Of a checkpoint that a pipeline of diffusers runs, such as Sana.")
    ] = ""
    parameters: Annotated[
        tuple[str, ...],
        Meta(description="Request fields that act with such a checkpoint; left out: all do."),
    ] = ()
    grid: Annotated[
        int, Meta(description="Pixels: its sizes are whole multiples; left out: 8.")
    ] = 0


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Main memory in bytes; 0 where the system does not say."""

    process: int
    available: int
    total: int


class PresetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as a request would get it. ``problem`` says why it cannot be used, or is ""."""

    name: str
    note: str = ""
    is_initial: bool = False
    model_installed: bool = True
    parameters: Annotated[
        dict[str, object], Meta(description="Request fields that the preset sets.")
    ] = {}
    sizes: Annotated[
        list[str], Meta(description="Sizes to choose from, width*height; the model's own.")
    ] = []
    problem: str = ""


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint as OpenAI's clients list models."""

    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Meta(description="Unix seconds of the file; 0 for the built-in one.")]
    owned_by: str = "local"


class ModelOverview(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may name, and what is loaded now. The start preset comes first."""

    checkpoints: list[ModelFile]
    loras: list[ModelFile]
    vaes: list[ModelFile]
    embeddings: list[ModelFile]
    upscalers: list[ModelFile]
    styles: list[str]
    wildcards: Annotated[list[str], Meta(description="Written in a prompt as `__name__`.")]
    presets: list[PresetInfo]
    loaded: tuple[LoadedModel, ...]
    memory: Memory
    object: Literal["list"] = "list"
    data: Annotated[
        list[ListedModel], Meta(description="The checkpoints once more, for OpenAI's clients.")
    ]


def describe_models(
    catalog: ModelCatalog,
    presets: PresetStore,
    styles: StyleLibrary,
    wildcards: Wildcards,
    loaded: tuple[LoadedModel, ...] = (),
) -> ModelOverview:
    """Everything that a request may name. Reads folders and files: not for the event loop."""

    def files(folder: str, names: Callable[[], list[str]]) -> list[ModelFile]:
        return [_file(catalog, folder, name) for name in names() if name != DEFAULT_VAE]

    return ModelOverview(
        checkpoints=files(CHECKPOINTS, catalog.checkpoints),
        loras=files(LORAS, catalog.loras),
        vaes=files(VAES, catalog.vaes),
        embeddings=files(EMBEDDINGS, catalog.embeddings),
        upscalers=files(UPSCALERS, catalog.upscalers),
        styles=list(styles.names()),
        wildcards=wildcards.names(),
        presets=_presets(presets, catalog),
        loaded=loaded,
        memory=memory(),
        data=listed_models(catalog),
    )


def listed_models(catalog: ModelCatalog) -> list[ListedModel]:
    """The checkpoints. Reads folders: not for the event loop."""
    return [ListedModel(id=name, created=_changed(catalog, name)) for name in catalog.checkpoints()]


def _changed(catalog: ModelCatalog, name: str) -> int:
    """Unix seconds of a checkpoint's file or folder; 0 for the built-in one."""
    if name == EMBEDDED:
        return 0
    try:
        return int((catalog.models_dir / CHECKPOINTS / name).stat().st_mtime)
    except OSError:
        return 0


def _file(catalog: ModelCatalog, folder: str, name: str) -> ModelFile:
    if name == EMBEDDED:
        return ModelFile(name=name, bytes=0)
    path = catalog.models_dir / folder / name
    try:
        size = path.stat().st_size if path.is_file() else 0
    except OSError:
        size = 0
    header = catalog.header(folder, name)
    file = ModelFile(
        name=name,
        bytes=size,
        has_picture=picture_beside(path) is not None,
        notes=note_beside(path),
        **msgspec.structs.asdict(header),
    )
    return _with_capabilities(file, path) if folder == CHECKPOINTS and path.is_dir() else file


def _with_capabilities(file: ModelFile, folder: Path) -> ModelFile:
    """A checkpoint folder with what a pipeline of diffusers does with requests."""
    try:
        model = read_folder(folder)
    except InvalidModelFile:  # a request for it says what is wrong
        return file
    if model is None:
        return file
    return msgspec.structs.replace(
        file,
        architecture=model.architecture.name,
        parameters=acting_parameters(model.architecture),
        grid=model.grid,
    )


def _presets(store: PresetStore, catalog: ModelCatalog) -> list[PresetInfo]:
    installed = set(catalog.checkpoints())
    names = [name for name in store.names() if name != INITIAL]
    names.sort(key=lambda name: (name != store.initial, name))
    return [_preset(store, name, installed) for name in names]


def _preset(store: PresetStore, name: str, installed: set[str]) -> PresetInfo:
    is_initial = name == store.initial
    try:
        preset = store.load(name)
        own, start = preset_values(preset), preset_values(store.load(INITIAL))
    except PipelineError as error:
        return PresetInfo(name=name, is_initial=is_initial, problem=str(error))
    values = {**start, **own}
    return PresetInfo(
        name=name,
        note=preset.note,
        is_initial=is_initial,
        model_installed=values.get("base_model_name") in installed,
        parameters=values,
        sizes=list(preset.available_aspect_ratios),
    )


def memory() -> Memory:
    """Main memory, from /proc; zeros where the system has none."""
    facts = _proc_numbers(Path("/proc/meminfo"))
    status = _proc_numbers(Path("/proc/self/status"))
    return Memory(
        process=status.get("VmRSS", 0),
        available=facts.get("MemAvailable", 0),
        total=facts.get("MemTotal", 0),
    )


def _proc_numbers(path: Path) -> dict[str, int]:
    """``Name:  123 kB`` lines as bytes."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    split = (line.split() for line in lines if line.endswith(" kB"))
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in split if len(words) == 3}
