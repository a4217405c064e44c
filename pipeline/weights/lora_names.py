"""The names that LoRA files have for the modules of a model, in each layout in use."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from pipeline.weights.layout import rename, unet_prefixes


class LoraModules(NamedTuple):
    """The modules of one model that a LoRA may change, as diffusers and transformers build them."""

    unet: nn.Module
    clip_l: nn.Module | None = None
    clip_g: nn.Module | None = None


def name_modules(modules: LoraModules) -> dict[str, nn.Module]:
    """Every module that has weights, under each name that a file may use for it."""
    names = dict(_unet_names(modules.unet))
    if modules.clip_l is not None:
        names.update(_text_names(modules.clip_l, "text_encoder", ("te1", "te"), "clip_l", 0))
    if modules.clip_g is not None:
        names.update(_text_names(modules.clip_g, "text_encoder_2", ("te2",), "clip_g", 1))
    return names


def _unet_names(unet: Any) -> Iterator[tuple[str, nn.Module]]:
    originals = tuple((new, old) for old, new in unet_prefixes(unet.config))
    for name, module in _weighted(unet):
        original = rename(f"{name}.", originals).removesuffix(".")
        yield name, module
        yield f"unet.{name}", module
        yield f"lora_unet_{_flat(name)}", module
        yield f"lycoris_{_flat(name)}", module
        yield f"lora_unet_{_flat(original)}", module
        yield f"diffusion_model.{original}", module
        yield f"model.diffusion_model.{original}", module


def _text_names(
    encoder: nn.Module, folder: str, kohya: tuple[str, ...], comfy: str, place: int
) -> Iterator[tuple[str, nn.Module]]:
    for name, module in _weighted(encoder):
        # transformers has the outer name in one of its classes only; files always have it.
        bare = name.removeprefix("text_model.")
        full = bare if bare == "text_projection" else f"text_model.{bare}"
        yield f"{folder}.{full}", module
        yield f"{folder}.{bare}", module
        yield f"{comfy}.transformer.{full}", module
        yield f"text_encoders.{comfy}.transformer.{full}", module
        yield f"conditioner.embedders.{place}.transformer.{full}", module
        for prefix in kohya:
            yield f"lora_{prefix}_{_flat(full)}", module


def _weighted(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in root.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            yield name, module


def _flat(name: str) -> str:
    return name.replace(".", "_")
