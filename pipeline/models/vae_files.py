"""VAEs in files of their own: original and diffusers layout, safetensors and torch's own format."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from pipeline.errors import InvalidModelFile
from pipeline.memory.device import Placement
from pipeline.models.checkpoint import build_vae
from pipeline.models.vae import Vae
from pipeline.weights import layout
from pipeline.weights.pickled import is_pickled, read_pickled
from pipeline.weights.tensors import read_tensors

# A whole checkpoint's VAE stands below the first; some tools write the second.
_PREFIXES: Final = (layout.VAE_PREFIX, "vae.", "")
_MODULES: Final = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_ORIGINAL: Final = ("encoder.mid.", "decoder.mid.")
# diffusers before 0.18 named the attention's matrices so.
_OLD_ATTENTION: Final = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


def load_vae(path: Path, config: Mapping[str, Any], placement: Placement) -> Vae:
    """The VAE of a file, of the structure that ``config`` says. Raises InvalidModelFile."""
    tensors = read_vae(path, config)
    try:
        return Vae(build_vae(tensors, config, placement))
    except InvalidModelFile as error:
        raise InvalidModelFile(f"{path.name} is no VAE for this model: {error}") from None


def read_vae(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Its tensors under diffusers' names; what trained it, such as a loss, is left out.

    Raises InvalidModelFile.
    """
    values = read_pickled(path) if is_pickled(path) else read_tensors(path)
    tensors = next((found for prefix in _PREFIXES if (found := _below(values, prefix))), None)
    if tensors is None:
        first = ", ".join(sorted(values)[:3])
        raise InvalidModelFile(
            f"{path.name} is no VAE: it has no {_MODULES[1]}... (it begins with {first})"
        )
    if any(name.startswith(_ORIGINAL) for name in tensors):
        return layout.vae_from_original(tensors, config)
    return dict(_renewed(tensors))


def _below(values: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    """The VAE's tensors among values whose names begin with ``prefix``; {} if it has none."""
    names = {name: name[len(prefix) :] for name in values if name.startswith(prefix)}
    found = {
        own: values[name]
        for name, own in names.items()
        if own.startswith(_MODULES) and isinstance(values[name], Tensor)
    }
    return found if any(name.startswith(_MODULES[1]) for name in found) else {}


def _renewed(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """diffusers' names of today; 1x1 convolutions of its attention become matrices."""
    for name, tensor in tensors.items():
        if ".attentions." not in name:
            yield name, tensor
            continue
        renamed = name
        for old, new in _OLD_ATTENTION.items():
            renamed = renamed.replace(old, new)
        yield renamed, tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor
