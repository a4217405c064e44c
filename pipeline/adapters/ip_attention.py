"""Decoupled cross-attention (arXiv:2308.06721): a UNet that attends to images beside its prompt.

diffusers' attention processors hold an adapter's weights for as long as they are loaded and know
no ``stop``. Here keys and values are projected once an image, weighted, and shown by noise level.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.sampling.denoiser import NetworkInput, UNetCall
from pipeline.sampling.noise_levels import NoiseLevels
from pipeline.weights.casting import working_dtype

_CROSS_ATTENTION: Final = ".attn2.processor"


class Adapter(Protocol):
    """Projections of an image's tokens for each cross-attention layer of a UNet."""

    def keys_values(self, tokens: Tensor, /) -> Sequence[tuple[Tensor, Tensor]]:
        """Keys and values (B, T, C) of tokens (B, T, D), in the order of ``cross_attentions``."""


@dataclass(frozen=True, slots=True)
class ImagePrompt:
    """An image to follow, from the first step to ``stop`` of the way (0...1)."""

    adapter: Adapter
    tokens_positive: Tensor  # (1, T, D)
    tokens_negative: Tensor  # (1, T, D), those of no image, for the negative prompt
    weight: float  # 0...2; 0 has no effect
    stop: float


def cross_attentions(unet: Any) -> list[Any]:
    """A diffusers UNet's cross-attention layers, in the order of adapter files."""
    names = [name for name in unet.attn_processors if name.endswith(_CROSS_ATTENTION)]
    return [unet.get_submodule(name.removesuffix(".processor")) for name in names]


@contextmanager
def image_prompts_applied(
    unet: UNetCall, module: nn.Module, prompts: Sequence[ImagePrompt], levels: NoiseLevels
) -> Iterator[UNetCall]:
    """Within the block, ``unet`` with the prompts; ``unet`` itself where there are none.

    ``module`` is the diffusers UNet at the bottom of ``unet``. Calls that bypass the yielded one
    are not affected.
    """
    seen = [prompt for prompt in prompts if prompt.weight and prompt.stop > 0.0]
    if not seen:
        yield unet
        return
    shown = _Shown([_Projected(prompt, module, levels) for prompt in seen])
    layers = cross_attentions(module)
    before = [layer.processor for layer in layers]
    try:
        for index, layer in enumerate(layers):
            layer.set_processor(_WithImages(layer.processor, shown, index))
        yield _Showing(unet, shown)
    finally:
        for layer, processor in zip(layers, before, strict=True):
            layer.set_processor(processor)


class _Pair(NamedTuple):
    """One layer's keys and values (B, heads, T, C / heads) of one prompt."""

    key: Tensor
    value: Tensor


class _Projected:
    """One prompt's keys and values for every layer."""

    def __init__(self, prompt: ImagePrompt, module: nn.Module, levels: NoiseLevels) -> None:
        dtype = working_dtype(module)
        tokens = torch.cat([prompt.tokens_negative, prompt.tokens_positive])
        pairs = zip(prompt.adapter.keys_values(tokens), cross_attentions(module), strict=True)
        # Attention is linear in its values, so the weight is put in here, once.
        self.both = [
            _Pair(
                _by_head(key, layer.heads).to(dtype),
                _by_head(value * prompt.weight, layer.heads).to(dtype),
            )
            for (key, value), layer in pairs
        ]
        self.stop_sigma = levels.sigma_at(prompt.stop)
        self._of_rows: dict[tuple[bool, ...], list[_Pair]] = {(False, True): self.both}

    def of_rows(self, rows: tuple[bool, ...]) -> list[_Pair]:
        """Each layer's pair for rows of the positive (True) or the negative prompt; cached."""
        if rows not in self._of_rows:
            index = torch.tensor(rows, device=self.both[0].key.device).long()
            self._of_rows[rows] = [_Pair(key[index], value[index]) for key, value in self.both]
        return self._of_rows[rows]


class _Shown:
    """The images that the layers attend to during one call."""

    def __init__(self, prompts: Sequence[_Projected]) -> None:
        self._prompts = prompts
        self._now: list[list[_Pair]] = []

    def begin(self, given: NetworkInput) -> None:
        """Select the prompts active at the noise level of ``given``, for its rows."""
        sigma, rows = given.sigma, given.positive
        self._now = [each.of_rows(rows) for each in self._prompts if each.stop_sigma <= sigma]

    def end(self) -> None:
        """Select none."""
        self._now = []

    def at(self, layer: int) -> list[_Pair]:
        """The selected pairs of one layer."""
        return [pairs[layer] for pairs in self._now]


class _Showing:
    """A ``UNetCall`` whose layers attend to the images during its calls."""

    def __init__(self, unet: UNetCall, shown: _Shown) -> None:
        self._unet = unet
        self._shown = shown

    def __call__(self, given: NetworkInput) -> Tensor:
        self._shown.begin(given)
        try:
            return self._unet(given)
        finally:
            self._shown.end()


class _WithImages:
    """The attention processor of one layer; ``plain`` is the one it replaces."""

    def __init__(self, plain: Any, shown: _Shown, layer: int) -> None:
        self._plain = plain
        self._shown = shown
        self._layer = layer

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """The layer's output (B, N, C) for ``hidden_states`` (B, N, C); diffusers names these."""
        images = self._shown.at(self._layer)
        if not images:
            plain: Tensor = self._plain(attn, hidden_states, encoder_hidden_states, attention_mask)
            return plain
        query = _by_head(attn.to_q(hidden_states), attn.heads)
        key = _by_head(attn.to_k(encoder_hidden_states), attn.heads)
        value = _by_head(attn.to_v(encoder_hidden_states), attn.heads)
        attend = functional.scaled_dot_product_attention
        seen = attend(query, key, value, attn_mask=attention_mask)
        for image in images:
            seen = seen + attend(query, image.key, image.value)
        made: Tensor = attn.to_out[0](seen.transpose(1, 2).flatten(2))
        return made


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(B, T, C) as (B, heads, T, C / heads)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)
