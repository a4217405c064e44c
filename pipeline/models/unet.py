"""A diffusers UNet as the sampler calls it."""

import logging
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.sampling.denoiser import ControllableUNet, NetworkInput
from pipeline.weights.casting import working_dtype
from pipeline.weights.structure import INPAINTING_CHANNELS

log = logging.getLogger(__name__)


class UNet:
    """Callable as ``ControllableUNet``: float32 in and out, the module's own dtype between.

    An engine may answer in the module's place (``use``), as long as nothing hooks on its layers.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._dtype = working_dtype(module)
        self._engine: ControllableUNet | None = None
        self.prepared: OrderedDict[Hashable, Any] = OrderedDict()
        """What engines keep for this network, by their own keys; it is gone with the network."""
        self._compiled: Any = None
        self._failures: tuple[type[Exception], ...] = ()  # what compiling raises

    @property
    def is_inpainting(self) -> bool:
        """Whether it takes a mask and the masked picture's latent beside the latent."""
        return int(self.module.config.in_channels) == INPAINTING_CHANNELS

    def use(self, engine: ControllableUNet | None) -> None:
        """Have ``engine`` answer calls from now on; None: the module itself. Between pictures."""
        self._engine = engine

    def compile(self) -> None:
        """Compile the network at its next call; if that fails it stays uncompiled.

        Takes minutes for SDXL, once more when the size first changes, and is cached on disk.
        Weights may change afterwards, layers may not: see ``as_built``.
        """
        # An inpainting network gets its other inputs by a hook, which compiled code does not see.
        if self._compiled is None and not self._failures and not self.is_inpainting:
            from torch._dynamo.exc import TorchDynamoException  # noqa: PLC0415 - takes seconds

            self._failures = (TorchDynamoException,)
            self.module.to(memory_format=torch.channels_last)
            self._compiled = torch.compile(self.module)

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """``down_residuals`` and ``middle_residual`` are a control network's."""
        if self._engine is not None:
            return self._engine(given, down_residuals, middle_residual)
        if self._compiled is None:
            return self.as_built(given, down_residuals, middle_residual)
        try:
            return self._ask(self._compiled, given, down_residuals, middle_residual)
        except self._failures as error:
            log.warning("the network cannot be compiled and stays uncompiled: %s", error)
            self._compiled = None
        return self.as_built(given, down_residuals, middle_residual)

    def as_built(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """As a call, by the module itself: no engine sees hooks put on layers later."""
        return self._ask(self.module, given, down_residuals, middle_residual)

    def _ask(
        self,
        module: Any,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None,
        middle_residual: Tensor | None,
    ) -> Tensor:
        dtype = self._dtype
        down = None if down_residuals is None else tuple(each.to(dtype) for each in down_residuals)
        noise = module(
            given.x.to(dtype),
            given.timestep,
            encoder_hidden_states=given.context.to(dtype),
            added_cond_kwargs={
                "text_embeds": given.pooled.to(dtype),
                "time_ids": given.time_ids,
            },
            down_block_additional_residuals=down,
            mid_block_additional_residual=(
                None if middle_residual is None else middle_residual.to(dtype)
            ),
            return_dict=False,
        )[0]
        return noise.float()  # type: ignore[no-any-return]
