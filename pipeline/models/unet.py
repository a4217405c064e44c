"""A diffusers UNet as the sampler calls it."""

from typing import Any

import torch
from torch import Tensor


class UNet:
    """Callable as ``UNetCall``: float32 in and out, the module's own dtype between."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self._dtype: torch.dtype = module.dtype  # diffusers searches all parameters at each asking

    def __call__(
        self, x: Tensor, timestep: Tensor, context: Tensor, pooled: Tensor, time_ids: Tensor
    ) -> Tensor:
        dtype = self._dtype
        noise = self.module(
            x.to(dtype),
            timestep,
            encoder_hidden_states=context.to(dtype),
            added_cond_kwargs={"text_embeds": pooled.to(dtype), "time_ids": time_ids},
            return_dict=False,
        )[0]
        return noise.float()  # type: ignore[no-any-return]
