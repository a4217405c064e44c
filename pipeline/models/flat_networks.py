"""SDXL's networks as functions of plain tensors, as other engines than torch take them.

What diffusers does between a UNet's arguments and its first layer stays with torch: the sinusoids
of the timestep and of the sizes are inputs, in float32. An engine that works in bfloat16 would
round timesteps near 1000 by up to half a step, and with them every phase.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.sampling.denoiser import NetworkInput

INPUTS: Final = ("x", "time", "context", "added", "middle")  # and then down0, down1, ...
_TEXT_TIME: Final = "text_time"
_SUPPORTED: Final = {
    "addition_embed_type": _TEXT_TIME,
    "class_embed_type": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "time_embedding_act_fn": None,
    "center_input_sample": False,
}


class LatentShape(NamedTuple):
    """Height and width of a latent, in cells."""

    height: int
    width: int


def is_flat(unet: Any) -> bool:
    """Whether a diffusers UNet is one that ``FlatUNet`` repeats: SDXL's kind, of any size."""
    return all(unet.config.get(name) == value for name, value in _SUPPORTED.items())


def fits(unet: Any, latent: LatentShape) -> bool:
    """Whether the latent comes back in its own shape: whole cells at the lowest level."""
    cell = 2 ** (len(unet.config.block_out_channels) - 1)
    return bool(latent.height % cell == 0 and latent.width % cell == 0)


class FlatUNet(nn.Module):
    """A diffusers UNet's layers, called by the names of ``INPUTS``.

    ``x`` (B, C, h, w), ``time`` (B, sinusoid), ``context`` (B, T, D), ``added`` (B, pooled and
    sinusoids of the sizes), ``middle`` and ``down`` a control network's residuals, or zeros.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, x: Tensor, time: Tensor, context: Tensor, added: Tensor, middle: Tensor, *down: Tensor
    ) -> Tensor:
        """The network's output (B, C, h, w)."""
        unet = self.unet
        embedding = unet.time_embedding(time) + unet.add_embedding(added)
        x = unet.conv_in(x)
        skips = [x]
        for block in unet.down_blocks:
            x, more = block(hidden_states=x, temb=embedding, **_attends(block, context))
            skips += more
        skips = [skip + residual for skip, residual in zip(skips, down, strict=True)]
        x = unet.mid_block(x, embedding, **_attends(unet.mid_block, context)) + middle
        for block in unet.up_blocks:
            count = len(block.resnets)
            skips, own = skips[:-count], skips[-count:]
            x = block(
                hidden_states=x,
                temb=embedding,
                res_hidden_states_tuple=tuple(own),
                **_attends(block, context),
            )
        made: Tensor = unet.conv_out(unet.conv_act(unet.conv_norm_out(x)))
        return made


def _attends(block: Any, context: Tensor) -> dict[str, Tensor]:
    attends = getattr(block, "has_cross_attention", False)
    return {"encoder_hidden_states": context} if attends else {}


class FlatDecoder(nn.Module):
    """A diffusers AutoencoderKL's decoder: a latent (1, C, h, w) to pixels (1, 3, H, W)."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Tensor) -> Tensor:
        """As ``AutoencoderKL.decode``."""
        projection = self.vae.post_quant_conv
        made: Tensor = self.vae.decoder(latent if projection is None else projection(latent))
        return made


def unet_inputs(unet: Any, given: NetworkInput) -> tuple[Tensor, ...]:
    """The first four of ``INPUTS``, float32."""
    time = unet.time_proj(given.timestep.expand(given.x.shape[0]))
    sizes = unet.add_time_proj(given.time_ids.flatten()).reshape(given.x.shape[0], -1)
    added = torch.cat([given.pooled.float(), sizes.float()], dim=-1)
    return given.x, time.float(), given.context.float(), added


def residual_shapes(
    unet: Any, rows: int, latent: LatentShape
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Shapes of ``middle`` and of each of ``down`` for so many rows of a latent."""
    levels = list(unet.config.block_out_channels)

    def at(level: int, channels: int) -> tuple[int, ...]:
        return rows, channels, latent.height >> level, latent.width >> level

    down = [at(0, levels[0])]
    for level, (channels, block) in enumerate(zip(levels, unet.down_blocks, strict=True)):
        down += [at(level, channels)] * len(block.resnets)
        if level + 1 < len(levels):
            down.append(at(level + 1, channels))
    return at(len(levels) - 1, levels[-1]), down


def in_chunks(tensors: Sequence[Tensor], rows: int) -> Iterator[list[Tensor]]:
    """Tensors of B rows each, ``rows`` rows at a time; the last row fills the last chunk up."""
    for first in range(0, tensors[0].shape[0], rows):
        chunk = [each[first : first + rows] for each in tensors]
        lack = rows - chunk[0].shape[0]
        if lack:
            chunk = [torch.cat([each, each[-1:].repeat_interleave(lack, 0)]) for each in chunk]
        yield chunk
