"""A checkpoint's UNet as a refiner: it finishes pictures from the prompts of another model.

The base model's text encoders serve both, as in Fooocus, so of an SDXL refiner's file nothing but
the UNet is loaded. Stable Diffusion 1.5 has latents of its own, so its VAE comes along.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.errors import InvalidModelFile
from pipeline.memory.device import place
from pipeline.models.checkpoint import SDXL_BASE, build_unet, build_vae
from pipeline.models.latent_bridge import LatentBridge
from pipeline.models.model_sampling import sampling_of_file, sampling_of_folder
from pipeline.models.unet import UNet
from pipeline.models.vae import Vae
from pipeline.sampling.adm import RefinerSizes, SdxlSizes, SizeConditioning
from pipeline.sampling.denoiser import Conditioning, Denoiser
from pipeline.sampling.parametrisation import PLAYGROUND_SCHEDULER, ModelSampling
from pipeline.text.encoder import TextEncoder
from pipeline.weights import layout
from pipeline.weights.lora import LoraStack
from pipeline.weights.lora_names import LoraModules
from pipeline.weights.structure import unet_config_of
from pipeline.weights.tensors import read_component, read_config, read_tensors

SDXL_REFINER: Final = Path(__file__).parent / "configs" / "sdxl_refiner"
SD15: Final = SDXL_REFINER.with_name("sd15")
CLASSES: Final = (SDXL_REFINER, SDXL_BASE)

# The weight that takes the pooled prompt and the sizes; the classes differ in its width.
_POOLED: Final = "label_emb.0.0.weight"
_POOLED_WIDTH: Final = "projection_class_embeddings_input_dim"
_SIZE_WIDTH: Final = "addition_time_embed_dim"

Config = Mapping[str, Any]


class Refiner(NamedTuple):
    """A UNet that continues another model's latents with that model's prompt embeddings.

    ``bridge`` is set where its latent space is another one.
    """

    unet: UNet
    loras: LoraStack
    model_sampling: ModelSampling = ModelSampling()
    bridge: LatentBridge | None = None

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Its modules."""
        return (self.unet.module, *([self.bridge.vae.module] if self.bridge else []))

    def sampling_with(self, base: ModelSampling, scheduler: str) -> ModelSampling:
        """How it is sampled under a scheduler name, after a base model sampled as ``base``."""
        if self.bridge is None:
            return self.model_sampling.under(scheduler)._replace(latents=base.latents)
        if scheduler == PLAYGROUND_SCHEDULER:  # that is for Playground's own network alone
            return self.model_sampling
        return self.model_sampling.under(scheduler)


class RefinerConfigs(NamedTuple):
    """Folders of configurations for single files, by class."""

    sdxl: tuple[Path, ...] = CLASSES
    sd15: Path = SD15


def load_refiner(
    path: Path,
    device: torch.device,
    configs: RefinerConfigs | None = None,
    interposer: Path | None = None,
) -> Refiner:
    """The refiner in a file or diffusers folder: SDXL, SDXL's refiner or Stable Diffusion 1.5.

    ``interposer`` is the path of the latent interposer, which need not exist. Raises
    InvalidModelFile.
    """
    parts = _folder_parts(path, device) if path.is_dir() else _file_parts(path, configs)
    numbers = [*parts.unet.values(), *(parts.vae or {}).values()]
    placement = place(device, sum(tensor.numel() for tensor in numbers))
    unet = build_unet(parts.unet, parts.unet_config, placement)
    bridge = None
    if parts.vae is not None and parts.vae_config is not None:
        vae = Vae(build_vae(parts.vae, parts.vae_config, placement))
        bridge = LatentBridge(vae, device, interposer)
    in_place = device.type != "cpu"
    loras = LoraStack(LoraModules(unet), in_place=in_place, lenient=True)
    return Refiner(UNet(unet), loras, parts.model_sampling, bridge)


def refiner_denoiser(
    refiner: Refiner, base: Denoiser, scheduler: str, text: TextEncoder | None = None
) -> Denoiser:
    """``base`` with the refiner's network and the part of the prompt embeddings that it reads.

    A refiner with a latent bridge reads CLIP-L's features, which ``text`` makes of the prompts.
    Raises InvalidModelFile if the embeddings do not fit the refiner.
    """
    unet, config = refiner.unet, refiner.unet.module.config
    sampling = refiner.sampling_with(base.model_sampling, scheduler)
    if refiner.bridge is None or text is None:
        return dataclasses.replace(
            base,
            unet=unet,
            model_sampling=sampling,
            positive=_readable(base.positive, config),
            negative=_readable(base.negative, config),
            sizes=_sizes(base, config),
        )
    return dataclasses.replace(
        base,
        unet=unet,
        model_sampling=sampling,
        positive=_first_half(base.positive, text, config),
        negative=_first_half(base.negative, text, config),
    )


def _first_half(prompt: Conditioning, text: TextEncoder, config: Any) -> Conditioning:
    """What Stable Diffusion 1.5 attends to; it has no use for a pooled vector."""
    context = text.first_half(prompt.context)
    if config.cross_attention_dim != context.shape[-1]:
        raise InvalidModelFile(
            f"the refiner does not fit the base model: it reads {config.cross_attention_dim}"
            f" features a token, but the base model's first text encoder gives {context.shape[-1]}"
        )
    return Conditioning(context, prompt.pooled)


def _readable(prompt: Conditioning, config: Any) -> Conditioning:
    """CLIP-G's features stand last, and are all that SDXL's refiner attends to."""
    width, there = config.cross_attention_dim, prompt.context.shape[-1]
    if width > there:
        raise InvalidModelFile(
            f"the refiner does not fit the base model: it reads {width} features a token, but the"
            f" base model's text encoders give {there}"
        )
    return Conditioning(prompt.context[..., there - width :], prompt.pooled)


def _sizes(base: Denoiser, config: Any) -> SizeConditioning:
    """The size conditioning that the network takes, told by its width."""
    pooled = base.positive.pooled.shape[-1]
    numbers = (config[_POOLED_WIDTH] - pooled) / config[_SIZE_WIDTH]
    if numbers == RefinerSizes.count:
        return RefinerSizes(base.sizes.width, base.sizes.height)
    if numbers == SdxlSizes.count:
        return base.sizes
    raise InvalidModelFile(
        f"the refiner does not fit the base model: the vectors it takes for a prompt and its sizes"
        f" have {config[_POOLED_WIDTH]} numbers, of which the base model's prompt gives {pooled}"
    )


class _Parts(NamedTuple):
    """Tensors under diffusers' names; a VAE where the class has one of its own."""

    unet: Mapping[str, Tensor]
    unet_config: Config
    model_sampling: ModelSampling
    vae: Mapping[str, Tensor] | None = None
    vae_config: Config | None = None


def _folder_parts(path: Path, device: torch.device) -> _Parts:
    half = device.type != "cpu"
    config = read_config(path / "unet" / "config.json")
    unet = read_component(path / "unet", half=half)
    if _takes_sizes(config):
        return _Parts(unet, config, sampling_of_folder(path))
    vae_config = read_config(path / "vae" / "config.json")
    sampling = sampling_of_folder(path, vae_config)
    return _Parts(unet, config, sampling, read_component(path / "vae", half=half), vae_config)


def _file_parts(path: Path, configs: RefinerConfigs | None) -> _Parts:
    """The parts of a single file in the original layout."""
    known = configs or RefinerConfigs()
    tensors = read_tensors(path, "refiner")
    original = _below(tensors, layout.UNET_PREFIX, path, "UNet")
    if _POOLED in original:
        config = unet_config_of(original, _config_of(original, path, known.sdxl))
        unet = layout.unet_from_original(original, config)
        return _Parts(unet, config, sampling_of_file(tensors))
    unet_config, vae_config = (
        read_config(known.sd15 / part / "config.json") for part in ("unet", "vae")
    )
    original_vae = _below(tensors, layout.VAE_PREFIX, path, "VAE")
    unet = layout.unet_from_original(original, unet_config)
    vae = layout.vae_from_original(original_vae, vae_config)
    return _Parts(unet, unet_config, sampling_of_file(tensors, vae_config), vae, vae_config)


def _below(tensors: Mapping[str, Tensor], prefix: str, path: Path, part: str) -> dict[str, Tensor]:
    found = {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
    if not found:
        first = ", ".join(sorted(tensors)[:3])
        raise InvalidModelFile(
            f"{path.name} is no checkpoint: it has no {part} (no tensor is named {prefix}...;"
            f" it begins with {first})"
        )
    return found


def _config_of(unet: Mapping[str, Tensor], path: Path, folders: tuple[Path, ...]) -> Config:
    """The configuration of the SDXL class whose prompts and sizes are as wide as the file's."""
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
