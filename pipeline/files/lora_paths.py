"""Where the files of a plan's LoRAs are, and what to fetch where one is missing. Torch-free."""

from pathlib import Path

from pipeline.errors import ModelNotInstalled
from pipeline.files.catalog import LORAS
from pipeline.files.locate import ModelFiles
from pipeline.request.performance import FAST_MODES, FastMode
from pipeline.scheduling.task import Reporter


def lora_path(name: str, files: ModelFiles, reporter: Reporter | None = None) -> Path:
    """File of a LoRA, fetched if need be.

    Raises ModelNotFound, DownloadFailed; ModelNotInstalled where it may not be fetched.
    """
    try:
        return files.named(LORAS, name, ("loras",), reporter)
    except ModelNotInstalled as error:
        raise _explained(name, error) from None


def check_mode_lora(mode: FastMode | None, files: ModelFiles) -> None:
    """Raise ModelNotInstalled if the performance mode's LoRA is missing and cannot be fetched."""
    if mode is not None:
        try:
            files.check(LORAS, mode.lora, ("performance_selection",))
        except ModelNotInstalled as error:
            raise _explained(mode.lora, error) from None


def _explained(name: str, error: ModelNotInstalled) -> ModelNotInstalled:
    """Say which performance mode wants the file, where one does."""
    titles = [title for title, mode in FAST_MODES.items() if mode.lora == name]
    return ModelNotInstalled(f"performance {titles[0]!r}: {error}") if titles else error
