"""A whole SDXL model from a diffusers folder or a single file, on a device. Reads no network.

Loading is lenient to tensors that no module uses, such as moving averages (EMA), a VAE's loss or
CLIP-L's projection, as merging programs leave them in. It is strict to what is missing or of
another shape. ``diffusers`` loads both layouts too; it copies what is mapped here, fetches a single
file's configuration over the network, and fills in what is missing with random numbers.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.memory.device import Placement, place
from pipeline.models.model_sampling import sampling_of_file, sampling_of_folder
from pipeline.models.networks import AutoencoderKL, UNet2DConditionModel
from pipeline.models.unet import UNet
from pipeline.models.vae import Vae
from pipeline.sampling.parametrisation import ModelSampling
from pipeline.text.clip_model import (
    ClipTextModel,
    ClipTextModelWithProjection,
    read_clip_config,
)
from pipeline.text.encoder import TextEncoder
from pipeline.text.tokenizer import find_tokenizer
from pipeline.weights import layout
from pipeline.weights.casting import cast_at_use
from pipeline.weights.lora import LoraStack
from pipeline.weights.lora_names import LoraModules
from pipeline.weights.structure import unet_config_of
from pipeline.weights.tensors import fill, read_component, read_config, read_tensors
from pipeline.weights.textual_inversion import InversionLibrary

SDXL_BASE: Final = Path(__file__).parent / "configs" / "sdxl_base"

# What a single file must hold; its VAE may come from a file of its own.
_REQUIRED: Final = {
    "UNet": layout.UNET_PREFIX,
    "first text encoder": layout.CLIP_L_PREFIX,
    "second text encoder": layout.CLIP_G_PREFIX,
}

M = TypeVar("M", bound=nn.Module)

Tensors = Mapping[str, Tensor]


class Configs(NamedTuple):
    """How large each part of a model is, in diffusers' and transformers' terms."""

    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    clip_l: Mapping[str, Any]
    clip_g: Mapping[str, Any]


class Checkpoint(NamedTuple):
    """A loaded model. ``folder`` is set where it came from a diffusers folder.

    ``own_vae`` is None where the file holds none; a picture then names one (``vae_name``).
    """

    name: str
    path: Path
    unet: UNet
    own_vae: Vae | None
    text: TextEncoder
    model_sampling: ModelSampling
    placement: Placement
    folder: Path | None
    loras: LoraStack
    vae_config: Mapping[str, Any]
    parts: tuple[nn.Module, ...]

    @property
    def vae(self) -> Vae:
        """The checkpoint's own VAE. Raises InvalidModelFile if it has none."""
        if self.own_vae is None:
            raise InvalidModelFile(
                f"the checkpoint {self.name} holds no VAE; name one of models/vae in vae_name"
            )
        return self.own_vae


class _Parts(NamedTuple):
    """The tensors of each part, under the names of the modules that take them; no VAE is {}."""

    unet: Tensors
    vae: Tensors
    clip_l: Tensors
    clip_g: Tensors


def load_checkpoint(
    path: Path,
    device: torch.device,
    inversions: InversionLibrary | None = None,
    single_file_configs: Path = SDXL_BASE,
) -> Checkpoint:
    """Load a folder or file, whichever it is. Raises InvalidModelFile, ModelNotInstalled."""
    folder = path if path.is_dir() else None
    read = _read(path, device, single_file_configs)
    parts, configs, placement = read.parts, read.configs, read.placement
    unet = build_unet(parts.unet, configs.unet, placement)
    clip_l = build_clip_l(parts.clip_l, configs.clip_l, placement)
    clip_g = build_clip_g(parts.clip_g, configs.clip_g, placement)
    vae = build_vae(parts.vae, configs.vae, placement) if parts.vae else None
    inversions = inversions or InversionLibrary(None)
    return Checkpoint(
        name=path.name,
        path=path,
        unet=UNet(unet),
        own_vae=Vae(vae) if vae is not None else None,
        text=TextEncoder(clip_l, clip_g, find_tokenizer(folder), inversions),
        model_sampling=read.model_sampling,
        placement=placement,
        folder=folder,
        loras=LoraStack(LoraModules(unet, clip_l, clip_g), in_place=device.type != "cpu"),
        vae_config=configs.vae,
        parts=(unet, clip_l, clip_g, *([] if vae is None else [vae])),
    )


def load_networks(
    path: Path, device: torch.device, single_file_configs: Path = SDXL_BASE
) -> tuple[Any, Any]:
    """The UNet and the VAE (None without one) of a checkpoint, as ``load_checkpoint`` has them.

    Raises as that.
    """
    parts, configs, placement, _ = _read(path, device, single_file_configs)
    unet = build_unet(parts.unet, configs.unet, placement)
    return unet, build_vae(parts.vae, configs.vae, placement) if parts.vae else None


class _Read(NamedTuple):
    """What a checkpoint's files say."""

    parts: _Parts
    configs: Configs
    placement: Placement
    model_sampling: ModelSampling


def _read(path: Path, device: torch.device, single_file_configs: Path) -> _Read:
    folder = path if path.is_dir() else None
    configs = read_configs(folder or single_file_configs)
    half = device.type != "cpu"
    if folder:
        parts = _folder_parts(folder, half=half)
        model_sampling = sampling_of_folder(folder, configs.vae)
    else:
        tensors = read_tensors(path, "checkpoint")
        parts, configs = original_parts(path.name, tensors, configs)
        model_sampling = sampling_of_file(tensors, configs.vae)
    placement = place(device, sum(tensor.numel() for part in parts for tensor in part.values()))
    return _Read(parts, configs, placement, model_sampling)


def read_configs(folder: Path) -> Configs:
    """The four configurations of a folder in diffusers' layout. Raises InvalidModelFile."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    missing = [name for name in names if not (folder / name / "config.json").is_file()]
    if missing:
        raise InvalidModelFile(
            f"{folder.name} is no SDXL model in diffusers' layout: no {missing[0]}/config.json"
        )
    return Configs(*(read_config(folder / name / "config.json") for name in names))


def original_parts(file: str, tensors: Tensors, configs: Configs) -> tuple[_Parts, Configs]:
    """The parts of a single file in the original layout, and ``configs`` as they describe it.

    Raises InvalidModelFile.
    """
    for part, prefix in _REQUIRED.items():
        if not any(name.startswith(prefix) for name in tensors):
            first = ", ".join(sorted(tensors)[:3])
            raise InvalidModelFile(
                f"{file} is no SDXL checkpoint: it has no {part} (no tensor is named"
                f" {prefix}...; it begins with {first}). Put it into the folder of its kind, and"
                " name a whole SDXL model in base_model_name"
            )
    configs = configs._replace(
        unet=unet_config_of(_below(tensors, layout.UNET_PREFIX), configs.unet)
    )
    return split_original(tensors, configs), configs


def split_original(tensors: Tensors, configs: Configs) -> _Parts:
    """Tensors in the original layout under the names that diffusers and transformers use."""
    return _Parts(
        unet=layout.unet_from_original(_below(tensors, layout.UNET_PREFIX), configs.unet),
        vae=layout.vae_from_original(_below(tensors, layout.VAE_PREFIX), configs.vae),
        clip_l=layout.clip_l_from_original(_below(tensors, layout.CLIP_L_PREFIX)),
        clip_g=layout.clip_g_from_original(_below(tensors, layout.CLIP_G_PREFIX)),
    )


def build_unet(tensors: Tensors, config: Mapping[str, Any], placement: Placement) -> nn.Module:
    """A UNet2DConditionModel with these weights. Raises InvalidModelFile."""
    make: Callable[[], nn.Module] = partial(UNet2DConditionModel.from_config, config)
    return _build(make, tensors, "UNet", placement)


def build_vae(tensors: Tensors, config: Mapping[str, Any], placement: Placement) -> nn.Module:
    """An AutoencoderKL; one that does not overflow in float16 may use the UNet's dtype."""
    wide = config.get("force_upcast", True)
    own = placement._replace(unet=placement.vae if wide else placement.unet)
    named = layout.vae_as_named_today(tensors)
    make: Callable[[], nn.Module] = partial(AutoencoderKL.from_config, config)
    return _build(make, named, "VAE", own)


def build_clip_l(
    tensors: Tensors, config: Mapping[str, Any], placement: Placement
) -> ClipTextModel:
    """SDXL's first text encoder. Raises InvalidModelFile."""
    own = placement._replace(unet=placement.text)
    named = layout.clip_l_from_original(tensors)  # older folders have the outer module's name too
    part = "first text encoder"
    sizes = read_clip_config(config, part)
    return _build(lambda: ClipTextModel(sizes), named, part, own)


def build_clip_g(
    tensors: Tensors, config: Mapping[str, Any], placement: Placement
) -> ClipTextModelWithProjection:
    """SDXL's second text encoder, the one with a projection. Raises InvalidModelFile."""
    own = placement._replace(unet=placement.text)
    part = "second text encoder"
    sizes = read_clip_config(config, part)
    return _build(lambda: ClipTextModelWithProjection(sizes), tensors, part, own)


def _build(make: Callable[[], M], tensors: Tensors, part: str, placement: Placement) -> M:
    """Make the module without memory, then give it its weights."""
    with torch.device("meta"):
        module = make()
    fill(module, tensors, part, None if placement.stored else placement.unet, lenient=True)
    if placement.stored:
        cast_at_use(module, placement.unet)
    return module.to(placement.device)


def _folder_parts(folder: Path, *, half: bool) -> _Parts:
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    return _Parts(*(read_component(folder / name, half=half) for name in names))


def _below(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
