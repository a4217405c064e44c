"""What an engine is built from: plain data, so that a worker anywhere can build it. Torch-free."""

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from pipeline.engine.options import EngineOptions
from pipeline.errors import PipelineError
from pipeline.files.library import open_library
from pipeline.files.model_server import ModelServer
from pipeline.files.resolve import installed_default
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
    model_server: ModelServer | None = None  # that has the model files which are not here
    options: EngineOptions = EngineOptions()


def build_engine(spec: EngineSpec, sink: Sink) -> "Engine":
    """Load torch, and the start preset's model if it is installed. Takes seconds.

    ``sink`` receives ModelState and Download. Raises UnknownDevice.
    """
    # Imported here: torch takes seconds, which the server does not wait for.
    if spec.options.compile_unet:
        importlib.import_module("torch._dynamo")  # else networks are imported without it

    from pipeline.engine.engine import load_engine  # noqa: PLC0415

    library = open_library(
        Path(spec.project_dir),
        Path(spec.models_dir),
        spec.start_preset,
        downloads=spec.downloads,
        server=spec.model_server,
        on_progress=lambda name, received, total: sink(
            Download(name=name, received=received, total=total)
        ),
    )
    engine = load_engine(
        spec.device,
        library,
        lambda kind, name: sink(ModelState(kind=kind, name=name, state="unloaded")),
        spec.options,
    )
    preset = library.presets.load(spec.start_preset)
    if model := installed_default(preset, library.catalog):
        try:
            engine.preload(model)
        except PipelineError as error:  # tasks may name another model
            log.error("the start preset's model %s was not loaded: %s", model, error)
    for loaded in engine.loaded():
        sink(ModelState(kind=loaded.kind, name=loaded.name, state="loaded", seconds=loaded.seconds))
    return engine
