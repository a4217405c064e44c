"""The files that requests may name, opened together."""

from pathlib import Path

import msgspec

from pipeline.files.catalog import ModelCatalog
from pipeline.files.locate import ModelFiles, OnProgress
from pipeline.files.model_server import ModelServer
from pipeline.files.resolve import choose_start_preset
from pipeline.request.presets import PresetStore
from pipeline.request.styles import StyleLibrary
from pipeline.request.wildcards import Wildcards


class Library(msgspec.Struct, frozen=True):
    """Models, presets, styles and wildcards."""

    files: ModelFiles
    presets: PresetStore
    styles: StyleLibrary
    wildcards: Wildcards

    @property
    def catalog(self) -> ModelCatalog:
        """The installed models."""
        return self.files.catalog


def open_library(
    project_dir: Path,
    models_dir: Path,
    start_preset: str = "",
    *,
    downloads: bool = False,
    on_progress: OnProgress | None = None,
    server: ModelServer | None = None,
) -> Library:
    """The library of a server; ``presets.initial`` is its start preset.

    ``project_dir`` holds the folders ``presets``, ``sdxl_styles`` and ``wildcards``. Without a
    ``start_preset`` it is chosen by the installed checkpoints. Raises PipelineError for one that
    does not exist. ``server`` has the model files that are not here.
    """
    catalog = ModelCatalog(models_dir)
    folder = project_dir / "presets"
    presets = PresetStore(folder, start_preset or choose_start_preset(PresetStore(folder), catalog))
    presets.load(presets.initial)
    files = ModelFiles(catalog, presets, allowed=downloads, on_progress=on_progress, server=server)
    styles, wildcards = StyleLibrary(project_dir / "sdxl_styles"), project_dir / "wildcards"
    return Library(files, presets, styles, Wildcards(wildcards))
