"""Control networks from files, sharing with a loaded UNet the weights that a file does not change.

Two kinds of file: control-LoRAs as Stability publishes them (differences of low rank to the UNet's
own weights) and whole ControlNets. diffusers reads the first kind through PEFT, into a ControlNet
of its own: a second copy of half the UNet.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.adapters.control import Residuals
from pipeline.errors import InvalidModelFile
from pipeline.models.networks import ControlNetModel
from pipeline.models.unet import UNet
from pipeline.sampling.denoiser import NetworkInput
from pipeline.weights.casting import cast_at_use, working_dtype
from pipeline.weights.layout import Config, rename, unet_prefixes
from pipeline.weights.tensors import fill, read_tensors

_LORA_MARKER: Final = "lora_controlnet"  # an empty tensor that says what kind of file it is
_OUTER: Final = "control_model."  # before every name of some files
_HINT: Final = "controlnet_cond_embedding."
_HINT_LAYERS: Final = 8
_NAMED: Final = 3  # how many disagreeing tensors a refusal names

Tensors = Mapping[str, Tensor]


class _Shared(NamedTuple):
    """A parameter of the control network that is the UNet's own."""

    owner: nn.Module
    parameter: str
    source: nn.Module


class ControlNetwork:
    """A ``ControlCall`` in the module's own dtype. Keeps its UNet alive: drop both together."""

    def __init__(self, module: Any, shared: list[_Shared]) -> None:
        self.module = module
        self._shared = shared
        self._dtype = working_dtype(module)

    def follow_base(self) -> None:
        """Rebind the shared weights: on a CPU, LoRAs replace the UNet's parameters."""
        for owner, parameter, source in self._shared:
            setattr(owner, parameter, getattr(source, parameter))

    def __call__(self, given: NetworkInput, hint: Tensor, /) -> Residuals:
        """The residuals for the UNet, in its own dtype."""
        dtype = self._dtype
        down, middle = self.module(
            given.x.to(dtype),
            given.timestep,
            encoder_hidden_states=given.context.to(dtype),
            controlnet_cond=hint.to(dtype).expand(given.x.shape[0], -1, -1, -1),
            added_cond_kwargs={
                "text_embeds": given.pooled.to(dtype),
                "time_ids": given.time_ids,
            },
            return_dict=False,
        )
        return Residuals(tuple(down), middle)


class LowRank(nn.Module):
    """A layer whose weight is a shared one plus a product of low rank, summed at each call.

    At rank 128, for SDXL at 1024x1024, that is 5 % more arithmetic in the control network; keeping
    the sums would take half a UNet's memory.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, up: Tensor, down: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.up = nn.Parameter(up.flatten(1), requires_grad=False)  # (out, rank)
        self.down = nn.Parameter(down.flatten(1), requires_grad=False)  # (rank, in * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output with the changed weight."""
        layer = self.layer
        base, up, down = (each.to(x.dtype) for each in (layer.weight, self.up, self.down))
        weight = torch.addmm(base.flatten(1), up, down).view_as(base)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        if isinstance(layer, nn.Linear):
            return functional.linear(x, weight, bias)
        return functional.conv2d(x, weight, bias, layer.stride, layer.padding)


def load_control(path: Path, base: UNet, device: torch.device) -> ControlNetwork:
    """A control network for ``base``, which is on ``device`` and stays as it is.

    Raises InvalidModelFile if the file is damaged, no control network, or one for another model.
    """
    tensors = _module_names(read_tensors(path, "control network"), base.module.config)
    if not any(name.startswith(_HINT) for name in tensors):
        first = ", ".join(sorted(tensors)[:_NAMED])
        raise InvalidModelFile(
            f"{path.name} is no control network: it has no input_hint_block (it begins with"
            f" {first})"
        )
    is_lora = tensors.pop(_LORA_MARKER, None) is not None
    ups, downs = (_take(tensors, suffix) for suffix in (".up", ".down")) if is_lora else ({}, {})
    with torch.device("meta"):
        module = ControlNetModel.from_unet(base.module, load_weights_from_unet=False)
    borrowed = _lacking(module, tensors, base.module) if is_lora else {}
    _check_pairs(module, ups, downs, path)
    fill(module, tensors | borrowed, f"control network {path.name}", base.module.dtype)
    if (dtype := working_dtype(base.module)) != base.module.dtype:
        cast_at_use(module, dtype)
    module.to(device)
    shared = [_share(module, name, base.module) for name in borrowed]
    for name, up in ups.items():
        _put_low_rank(module, name, up, downs[name])
    return ControlNetwork(module, shared)


def control_prefixes(config: Config) -> Iterator[tuple[str, str]]:
    """(original, diffusers) prefixes of every module of a ControlNetModel."""
    yield ("input_hint_block.0.", f"{_HINT}conv_in.")
    for i in range(_HINT_LAYERS - 2):
        yield (f"input_hint_block.{2 * (i + 1)}.", f"{_HINT}blocks.{i}.")
    yield (f"input_hint_block.{2 * (_HINT_LAYERS - 1)}.", f"{_HINT}conv_out.")
    yield ("middle_block_out.0.", "controlnet_mid_block.")
    levels, layers = len(config["down_block_types"]), config["layers_per_block"]
    for i in range(levels * (layers + 1)):
        yield (f"zero_convs.{i}.0.", f"controlnet_down_blocks.{i}.")
    yield from unet_prefixes(config)


def _module_names(tensors: Tensors, config: Config) -> dict[str, Tensor]:
    """Tensors under the names of diffusers' module; names unknown here stay as they are."""
    table = tuple(control_prefixes(config))
    return {rename(name.removeprefix(_OUTER), table): each for name, each in tensors.items()}


def _take(tensors: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
    """Take the tensors with that suffix out; by the name of their layer."""
    names = [name for name in tensors if name.endswith(suffix)]
    return {name.removesuffix(suffix): tensors.pop(name) for name in names}


def _lacking(module: nn.Module, tensors: Tensors, base: nn.Module) -> dict[str, Tensor]:
    """The parameters of ``base`` for what a file does not replace as a whole."""
    wanted = dict(module.named_parameters())
    return {
        name: parameter
        for name, parameter in base.named_parameters()
        if name in wanted and name not in tensors
    }


def _check_pairs(module: nn.Module, ups: Tensors, downs: Tensors, path: Path) -> None:
    """Raises InvalidModelFile, naming the first differences that do not fit."""
    layers = dict(module.named_modules())
    faults = [
        f"{name} {fault}"
        for name in sorted(ups.keys() | downs.keys())
        if (fault := _misfit(layers.get(name), ups.get(name), downs.get(name)))
    ]
    if faults:
        raise InvalidModelFile(
            f"the control network {path.name} does not fit; {len(faults)} of its differences are"
            f" for another model: {'; '.join(faults[:_NAMED])}"
        )


def _misfit(layer: nn.Module | None, up: Tensor | None, down: Tensor | None) -> str | None:
    """Why a pair is none for a layer; None if it is one."""
    if up is None or down is None:
        return "has only one of up and down"
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return "is no layer of the model"
    weight = layer.weight
    made = (up.shape[0], down[0].numel())
    rank = up[0].numel()
    if made != (weight.shape[0], weight[0].numel()) or rank != down.shape[0]:
        shapes = f"{list(up.shape)} and {list(down.shape)}"
        return f"is {shapes}, which make no {list(weight.shape)}"
    return None


def _share(module: nn.Module, name: str, base: nn.Module) -> _Shared:
    path, _, parameter = name.rpartition(".")
    return _Shared(module.get_submodule(path), parameter, base.get_submodule(path))


def _put_low_rank(module: nn.Module, name: str, up: Tensor, down: Tensor) -> None:
    layer = module.get_submodule(name)
    if not isinstance(layer, nn.Linear | nn.Conv2d):  # _check_pairs let only these through
        raise TypeError(name)
    changed = LowRank(layer, up.to(layer.weight), down.to(layer.weight))
    path, _, own = name.rpartition(".")
    setattr(module.get_submodule(path), own, changed)
