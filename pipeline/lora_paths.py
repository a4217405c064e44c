"""Where the files of a plan's LoRAs are, and what to fetch where one is missing. Torch-free."""

from pathlib import Path

from pipeline.catalog import LORAS, ModelCatalog
from pipeline.errors import ModelNotFound, ModelNotInstalled
from pipeline.params import GenerateParams
from pipeline.plan import FAST_MODES, FastMode, fast_mode
from pipeline.presets import Preset


def lora_path(name: str, catalog: ModelCatalog) -> Path:
    """File of a LoRA. Raises ModelNotFound; ModelNotInstalled for one that belongs to a mode."""
    for title, mode in FAST_MODES.items():
        if mode.lora == name:
            return _mode_path(title, mode, catalog)
    return catalog.lora(name)


def check_mode_lora(params: GenerateParams, preset: Preset, catalog: ModelCatalog) -> None:
    """Raise ModelNotInstalled if the performance mode needs a file that is not there.

    ``preset`` describes the model (``PresetStore.describing``).
    """
    mode = fast_mode(params, preset)
    if mode is not None:
        _mode_path(params.performance_selection, mode, catalog)


def _mode_path(title: str, mode: FastMode, catalog: ModelCatalog) -> Path:
    try:
        return catalog.lora(mode.lora, ("performance_selection",))
    except ModelNotFound:
        folder = catalog.models_dir / LORAS
        raise ModelNotInstalled(
            f"performance {title!r} needs {mode.lora} in {folder}; fetch it from {mode.url}"
        ) from None
