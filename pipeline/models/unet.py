"""A diffusers UNet as the sampler calls it."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipeline.casting import working_dtype
from pipeline.sampling.denoiser import NetworkInput


class UNet:
    """Callable as ``UNetCall``: float32 in and out, the module's own dtype between."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._dtype = working_dtype(module)

    def __call__(
        self,
        given: NetworkInput,
        down_residuals: Sequence[Tensor] | None = None,
        middle_residual: Tensor | None = None,
    ) -> Tensor:
        """Residuals are a control network's: one for each skip connection, and the middle's."""
        dtype = self._dtype
        down = None if down_residuals is None else tuple(each.to(dtype) for each in down_residuals)
        noise = self.module(
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
