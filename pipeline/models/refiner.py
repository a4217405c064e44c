"""A checkpoint's UNet as a refiner: it finishes pictures from the prompts of another model.

The base model's text encoders serve both, as in Fooocus, so of a refiner's file nothing but the
UNet is loaded.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.device import place
from pipeline.errors import InvalidModelFile
from pipeline.models import layout
from pipeline.models.checkpoint import SDXL_BASE, build_unet
from pipeline.models.files import read_component, read_config, read_tensors
from pipeline.models.lora import LoraStack
from pipeline.models.lora_names import LoraModules
from pipeline.models.unet import UNet
from pipeline.sampling.adm import RefinerSizes, SdxlSizes
from pipeline.sampling.denoiser import Conditioning, Denoiser

SDXL_REFINER: Final = Path(__file__).parent / "configs" / "sdxl_refiner"
CLASSES: Final = (SDXL_REFINER, SDXL_BASE)

# The weight that takes the pooled prompt and the sizes; the classes differ in its width.
_POOLED: Final = "label_emb.0.0.weight"
_POOLED_WIDTH: Final = "projection_class_embeddings_input_dim"
_SIZE_WIDTH: Final = "addition_time_embed_dim"

Config = Mapping[str, Any]


class Refiner(NamedTuple):
    """A network that goes on from another one's latents, prompts and pooled vectors."""

    unet: UNet
    loras: LoraStack

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Its modules."""
        return (self.unet.module,)


def load_refiner(
    path: Path, device: torch.device, single_file_configs: tuple[Path, ...] = CLASSES
) -> Refiner:
    """The UNet of a file or diffusers folder, of SDXL's or SDXL refiner's class.

    Raises InvalidModelFile.
    """
    if path.is_dir():
        config: Config = read_config(path / "unet" / "config.json")
        if not _takes_sizes(config):
            raise _other_class(path)
        tensors: Mapping[str, Tensor] = read_component(path / "unet", half=device.type != "cpu")
    else:
        original = _original_unet(path)
        config = _config_of(original, path, single_file_configs)
        tensors = layout.unet_from_original(original, config)
    placement = place(device, sum(tensor.numel() for tensor in tensors.values()))
    unet = build_unet(tensors, config, placement)
    in_place = device.type != "cpu"
    return Refiner(UNet(unet), LoraStack(LoraModules(unet), in_place=in_place, lenient=True))


def refiner_denoiser(unet: UNet, base: Denoiser) -> Denoiser:
    """The refiner's network asked as ``base`` is, from the part of its prompts that it can read.

    Raises InvalidModelFile if their prompts do not fit the refiner.
    """
    config = unet.module.config
    return dataclasses.replace(
        base,
        unet=unet,
        positive=_readable(base.positive, config),
        negative=_readable(base.negative, config),
        refiner=_wants_score(base.positive, config),
    )


def _readable(prompt: Conditioning, config: Any) -> Conditioning:
    """CLIP-G's features stand last, and are all that SDXL's refiner attends to."""
    width, there = config.cross_attention_dim, prompt.context.shape[-1]
    if width > there:
        raise InvalidModelFile(
            f"the refiner does not fit the base model: it reads {width} features a token, but the"
            f" base model's text encoders give {there}"
        )
    return Conditioning(prompt.context[..., there - width :], prompt.pooled)


def _wants_score(prompt: Conditioning, config: Any) -> bool:
    """Is the network told an aesthetic score in place of a target size?"""
    pooled = prompt.pooled.shape[-1]
    numbers = (config[_POOLED_WIDTH] - pooled) / config[_SIZE_WIDTH]
    if numbers == RefinerSizes.count:
        return True
    if numbers == SdxlSizes.count:
        return False
    raise InvalidModelFile(
        f"the refiner does not fit the base model: the vectors it takes for a prompt and its sizes"
        f" have {config[_POOLED_WIDTH]} numbers, of which the base model's prompt gives {pooled}"
    )


def _original_unet(path: Path) -> dict[str, Tensor]:
    """The UNet's tensors of a single file in the original layout."""
    prefix = layout.UNET_PREFIX
    tensors = read_tensors(path)
    unet = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    if not unet:
        first = ", ".join(sorted(tensors)[:3])
        raise InvalidModelFile(
            f"{path.name} is no checkpoint: it has no UNet (no tensor is named {prefix}...;"
            f" it begins with {first})"
        )
    return unet


def _config_of(unet: Mapping[str, Tensor], path: Path, folders: tuple[Path, ...]) -> Config:
    """The configuration of the class whose prompts and sizes are as wide as the file's."""
    if _POOLED not in unet:
        raise _other_class(path)
    configs = [read_config(folder / "unet" / "config.json") for folder in folders]
    width = unet[_POOLED].shape[-1]
    for config in configs:
        if config[_POOLED_WIDTH] == width:
            return config
    known = " or ".join(str(config[_POOLED_WIDTH]) for config in configs)
    name = f"{layout.UNET_PREFIX}{_POOLED}"
    raise InvalidModelFile(f"{path.name} is no refiner: {name} is {width} wide, not {known}")


def _takes_sizes(config: Config) -> bool:
    return config.get("addition_embed_type") == "text_time" and _POOLED_WIDTH in config


def _other_class(path: Path) -> InvalidModelFile:
    return InvalidModelFile(
        f"{path.name} cannot refine: its UNet takes no sizes, as Stable Diffusion 1.5's, and only"
        " SDXL checkpoints and SDXL's refiner work as refiners in this version"
    )
