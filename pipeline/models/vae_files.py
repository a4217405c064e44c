"""VAEs in files of their own: original and diffusers layout, safetensors and torch's own format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from pipeline.errors import InvalidModelFile
from pipeline.memory.device import Placement
from pipeline.models.checkpoint import build_vae
from pipeline.models.vae import Vae
from pipeline.weights import layout
from pipeline.weights.tensors import read_values

# In a whole checkpoint the VAE stands below the first prefix; some tools write the second.
_PREFIXES: Final = (layout.VAE_PREFIX, "vae.", "")
_MODULES: Final = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_CHOSEN: Final = tuple(prefix + module for prefix in _PREFIXES for module in _MODULES)
_ORIGINAL: Final = ("encoder.mid.", "decoder.mid.")


def load_vae(path: Path, config: Mapping[str, Any], placement: Placement) -> Vae:
    """The VAE of a file, of the structure that ``config`` describes. Raises InvalidModelFile."""
    tensors = read_vae(path, config)
    try:
        return Vae(build_vae(tensors, config, placement))
    except InvalidModelFile as error:
        raise InvalidModelFile(
            f"{path.name} is no VAE for this model: {error}. Choose another vae_name"
        ) from None


def read_vae(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """A VAE's tensors under diffusers' names, of its modules alone. Raises InvalidModelFile.

    A whole checkpoint will do, and so will a file with the loss and the moving averages (EMA) of
    its training.
    """
    met: list[str] = []

    def is_of_vae(name: str) -> bool:  # a whole checkpoint is not read for its VAE
        met.append(name)
        return any(name.startswith(prefix) for prefix in _CHOSEN)

    values = read_values(path, "VAE", is_of_vae)
    tensors = next((found for prefix in _PREFIXES if (found := _below(values, prefix))), None)
    if tensors is None:
        first = ", ".join(sorted(met or values)[:3])
        raise InvalidModelFile(
            f"{path.name} is no VAE: it has no {_MODULES[1]}... (it begins with {first})."
            " Choose another vae_name"
        )
    if any(name.startswith(_ORIGINAL) for name in tensors):
        return layout.vae_from_original(tensors, config)
    return layout.vae_as_named_today(tensors)


def _below(values: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The VAE's tensors among values whose names begin with ``prefix``; {} without a decoder."""
    names = {name: name[len(prefix) :] for name in values if name.startswith(prefix)}
    found = {
        own: values[name]
        for name, own in names.items()
        if own.startswith(_MODULES) and isinstance(values[name], Tensor)
    }
    return found if any(name.startswith(_MODULES[1]) for name in found) else {}
