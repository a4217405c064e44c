"""Ways to make SDXL's network faster on a GPU, each put on and taken off again for a measurement.

What a build or a device lacks raises one of ``UNAVAILABLE``; the benchmark says so and goes on.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.models.unet import UNet
from pipeline.sampling.denoiser import NetworkInput


class Lever(NamedTuple):
    """``apply`` changes how a network is computed, within its block. ``seconds``: expected, with
    its measurement."""

    name: str
    apply: Callable[[UNet], AbstractContextManager[None]]
    seconds: float = 10.0


@contextmanager
def channels_last(unet: UNet) -> Iterator[None]:
    """Convolutions with channels innermost, which tensor cores want."""
    unet.module.to(memory_format=torch.channels_last)
    try:
        yield
    finally:
        unet.module.to(memory_format=torch.contiguous_format)


@contextmanager
def fused_qkv(unet: UNet) -> Iterator[None]:
    """One matrix product for a self-attention's query, key and value."""
    unet.module.fuse_qkv_projections()
    try:
        yield
    finally:
        unet.module.unfuse_qkv_projections()


def sdpa(backend: SDPBackend) -> Callable[[UNet], AbstractContextManager[None]]:
    """Attention by one backend alone."""

    @contextmanager
    def apply(_unet: UNet) -> Iterator[None]:
        with sdpa_kernel(backend):
            yield

    return apply


@contextmanager
def compiled(unet: UNet) -> Iterator[None]:
    """``torch.compile`` with channels last, as ``--compile``."""
    own = UNet(unet.module)
    own.compile()
    unet.use(own)
    try:
        yield
    finally:
        unet.use(None)
        unet.module.to(memory_format=torch.contiguous_format)


@contextmanager
def cuda_graph(unet: UNet) -> Iterator[None]:
    """The network's kernels recorded once a shape and launched together."""
    unet.use(GraphedUNet(unet))
    try:
        yield
    finally:
        unet.use(None)


def quantized(config_name: str) -> Callable[[UNet], AbstractContextManager[None]]:
    """The weights of linear layers in a smaller format, by torchao, on a copy of the network."""

    @contextmanager
    def apply(unet: UNet) -> Iterator[None]:
        quantization = importlib.import_module("torchao.quantization")  # an extra of this bench
        module = deepcopy(unet.module)
        quantization.quantize_(module, getattr(quantization, config_name)())
        unet.use(UNet(module))
        try:
            yield
        finally:
            unet.use(None)

    return apply


class GraphedUNet:
    """A ``ControllableUNet`` that replays a CUDA graph for each shape of its input."""

    def __init__(self, unet: UNet) -> None:
        self._unet = unet
        self._recorded: dict[tuple[int, ...], _Recording] = {}

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As ``ControllableUNet``; with residuals the network is called as it is."""
        if down_residuals is not None or middle_residual is not None:
            return self._unet.as_built(given, down_residuals, middle_residual)
        key = (*given.x.shape, *given.context.shape)
        if key not in self._recorded:
            self._recorded[key] = _Recording(self._unet, given)
        return self._recorded[key].replay(given)


class _Recording:
    """One graph with the tensors that it reads and writes."""

    def __init__(self, unet: UNet, given: NetworkInput) -> None:
        if given.x.device.type != "cuda":
            raise RuntimeError("CUDA graphs want a CUDA device")
        self._given = _copied(given)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries allocate what they keep before the capture
            for _ in range(3):
                unet.as_built(self._given)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = unet.as_built(self._given)

    def replay(self, given: NetworkInput) -> Tensor:
        """The output for other values of the same shapes."""
        for name in _TENSORS:
            getattr(self._given, name).copy_(getattr(given, name))
        self._graph.replay()
        return self._output.clone()


_TENSORS: Final = ("x", "timestep", "context", "pooled", "time_ids")


def _copied(given: NetworkInput) -> NetworkInput:
    copies: dict[str, Any] = {name: getattr(given, name).clone() for name in _TENSORS}
    return NetworkInput(**copies, sigma=given.sigma, positive=given.positive)


LEVERS: Final = (
    Lever("channels last", channels_last),
    Lever("fused QKV", fused_qkv),
    Lever("SDPA: flash", sdpa(SDPBackend.FLASH_ATTENTION)),
    Lever("SDPA: memory-efficient", sdpa(SDPBackend.EFFICIENT_ATTENTION)),
    Lever("SDPA: cuDNN", sdpa(SDPBackend.CUDNN_ATTENTION)),
    Lever("CUDA graph", cuda_graph, 20.0),
    Lever("int8 weights", quantized("Int8WeightOnlyConfig"), 30.0),
    Lever("fp8 weights", quantized("Float8WeightOnlyConfig"), 30.0),
    Lever(
        "fp8 weights and activations", quantized("Float8DynamicActivationFloat8WeightConfig"), 30.0
    ),
    Lever("compiled, channels last", compiled, 120.0),
)
