"""What a folder in diffusers' layout says of itself. Reads small JSON files and no tensor."""

import json
import math
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InvalidModelFile
from pipeline.files.listing import MARKER
from pipeline.request.architectures import FolderModel, architecture_of
from pipeline.request.sizes import LATENT_FACTOR

_CLASS: Final = "_class_name"
_LIBRARIES: Final = frozenset({"diffusers", "transformers"})
_VAES: Final = ("vae", "movq", "vqvae")
# Components without weights, by the beginnings of their names: class names tell less.
_WEIGHTLESS: Final = ("tokenizer", "scheduler", "feature_extractor", "image_processor", "processor")
_INDEX: Final = ".safetensors.index.json"


def read_folder(folder: Path) -> FolderModel | None:
    """The model of a checkpoint folder; None for a file, and for SDXL's layout.

    Raises InvalidModelFile for a folder whose ``model_index.json`` cannot be read.
    """
    if not folder.is_dir():
        return None
    pipeline = _read_json(folder / MARKER, folder.name).get(_CLASS)
    if not isinstance(pipeline, str):  # an SDXL folder need not say it
        return None
    architecture = architecture_of(pipeline)
    if architecture is None:
        return None
    tokens = _vae_factor(folder) * architecture.patch
    return FolderModel(architecture, math.lcm(tokens, architecture.grid))


def check_folder(folder: Path) -> None:
    """Raise InvalidModelFile, naming what is missing, unless every component is there."""
    wrong = []
    for name, value in _read_json(folder / MARKER, folder.name).items():
        if not isinstance(value, list) or len(value) != 2 or not all(value):
            continue  # an option, or a component that this model does without
        library, kind = map(str, value)
        if library not in _LIBRARIES and not _is_of_diffusers(library):
            wrong.append(f"{name} is code of its own ({library}.{kind}), which is not run")
        elif fault := _component_fault(folder / name):
            wrong.append(f"{name}: {fault}")
    if wrong:
        raise InvalidModelFile(f"the model {folder.name} is not whole: {'; '.join(wrong)}")


def _component_fault(folder: Path) -> str:
    """What is missing of a component; "" if nothing is."""
    if not folder.is_dir():
        return "its folder is missing"
    if folder.name.startswith(_WEIGHTLESS):
        return "" if any(folder.iterdir()) else "its folder is empty"
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if missing := _missing_shards(folder):
        return f"{', '.join(missing)} is missing"
    if not any(folder.glob("*.safetensors")):
        return "its weights are missing (*.safetensors; files of other formats are not read)"
    return ""


def _missing_shards(folder: Path) -> list[str]:
    """Files of weights that an index names and that are not there."""
    named: set[str] = set()
    for index in folder.glob(f"*{_INDEX}"):
        shards = _read_json(index, folder.parent.name).get("weight_map")
        if isinstance(shards, dict):
            named |= {str(shard) for shard in shards.values()}
    return sorted(name for name in named if not (folder / name).is_file())


def _is_of_diffusers(library: str) -> bool:
    """Whether a component is a class of one of diffusers' pipeline modules, such as the safety
    checker of Stable Diffusion."""
    return library in {"stable_diffusion", "kandinsky", "deepfloyd_if", "wuerstchen"}


def _vae_factor(folder: Path) -> int:
    """Pixels a latent cell, each way."""
    for name in _VAES:
        path = folder / name / "config.json"
        if path.is_file():
            config = _read_json(path, folder.name)
            for key in ("block_out_channels", "encoder_block_out_channels"):
                if isinstance(blocks := config.get(key), list):
                    return int(2 ** (len(blocks) - 1))
            if isinstance(halvings := config.get("temperal_downsample"), list):
                return int(2 ** len(halvings))
    return LATENT_FACTOR


def _read_json(path: Path, model: str) -> dict[str, Any]:
    """The object of a JSON file. Raises InvalidModelFile."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        told = f"{path.name} of the model {model} cannot be read: {type(error).__name__}"
        raise InvalidModelFile(told) from None
    if not isinstance(values, dict):
        raise InvalidModelFile(f"{path.name} of the model {model} is no JSON object")
    return values
