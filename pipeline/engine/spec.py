"""What an engine is built from: plain data, so that a worker anywhere can build it. Torch-free."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.engine.options import EngineOptions
from pipeline.errors import PipelineError
from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles
from pipeline.files.resolve import installed_default
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards
from pipeline.scheduling.worker_events import Download, ModelState, Sink

if TYPE_CHECKING:
    from pipeline.engine.engine import Engine

log = logging.getLogger(__name__)


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A device and the files that it works with. Folders are absolute paths.

    ``project_dir`` holds the folders ``presets``, ``sdxl_styles`` and ``wildcards``.
    """

    models_dir: str
    project_dir: str
    start_preset: str
    device: str = "auto"  # or cpu, cuda, cuda:1, mps
    downloads: bool = False  # may missing model files be fetched?
    options: EngineOptions = EngineOptions()


def build_engine(spec: EngineSpec, sink: Sink) -> "Engine":
    """Load torch, and the start preset's model if it is installed. Takes seconds.

    ``sink`` receives ModelState and Download. Raises UnknownDevice.
    """
    # Imported here: torch takes seconds, which the server does not wait for.
    from pipeline.engine.engine import Library, load_engine  # noqa: PLC0415

    project = Path(spec.project_dir)
    catalog = ModelCatalog(Path(spec.models_dir))
    presets = PresetStore(project / "presets", spec.start_preset)
    files = ModelFiles(
        catalog,
        presets,
        allowed=spec.downloads,
        on_progress=lambda name, received, total: sink(
            Download(name=name, received=received, total=total)
        ),
    )
    styles, wildcards = StyleLibrary(project / "sdxl_styles"), Wildcards(project / "wildcards")
    engine = load_engine(
        spec.device,
        Library(catalog, presets, styles, wildcards, files),
        lambda kind, name: sink(ModelState(kind=kind, name=name, state="unloaded")),
        spec.options,
    )
    if model := installed_default(presets.load(spec.start_preset), catalog):
        try:
            engine.preload(model)
        except PipelineError as error:  # tasks may name another model
            log.error("the start preset's model %s was not loaded: %s", model, error)
    for loaded in engine.loaded():
        sink(ModelState(kind=loaded.kind, name=loaded.name, state="loaded", seconds=loaded.seconds))
    return engine
