"""CLIP's text model (arXiv:2103.00020): SDXL's two text encoders, under transformers' names.

transformers has the class too. Importing it costs 2.6 s of processor time and 120 MB, because its
base class brings text generation, training losses and the compiler; what a text encoder computes is
this page. ``tests/integration/test_clip_model.py`` compares the two.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InvalidModelFile


class ClipConfig(msgspec.Struct, frozen=True):
    """Sizes of a text model. Names and defaults are those of transformers' ``config.json``."""

    vocab_size: int = 49_408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


class TextStates(NamedTuple):
    """What a text model computes, each (B, T, C).

    ``hidden`` holds the embeddings, then each layer's output; ``last`` is the last one normed.
    """

    hidden: tuple[Tensor, ...]
    last: Tensor


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = {
    "quick_gelu": quick_gelu,
    "gelu": functional.gelu,
}


def read_clip_config(config: Mapping[str, Any], part: str) -> ClipConfig:
    """The sizes that this module needs of a ``config.json``. Raises InvalidModelFile."""
    try:
        found = msgspec.convert(config, ClipConfig)
    except msgspec.ValidationError as error:
        raise InvalidModelFile(f"the configuration of the {part} is wrong: {error}") from error
    if found.hidden_act not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise InvalidModelFile(
            f"the {part} wants the activation {found.hidden_act!r}; known are {known}"
        )
    return found


class ClipTextModel(nn.Module):
    """Token ids (B, T) to hidden states."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Layers(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.final_layer_norm.weight.device

    def forward(self, ids: Tensor) -> TextStates:
        states = [self.embeddings(ids)]
        for layer in self.encoder.layers:
            states.append(layer(states[-1]))
        return TextStates(tuple(states), self.final_layer_norm(states[-1]))


class ClipTextModelWithProjection(nn.Module):
    """A text model, and the projection of its pooled state into the space shared with images."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.text_model = ClipTextModel(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)


class _Embeddings(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.token_embedding = _table(config.vocab_size, width)
        self.position_embedding = _table(config.max_position_embeddings, width)

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.position_embedding(torch.arange(ids.shape[1], device=ids.device)[None])
        embedded: Tensor = self.token_embedding(ids) + positions
        return embedded


def _table(rows: int, width: int) -> nn.Embedding:
    """An embedding without values: drawing them on the meta device imports torch's compiler."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width))  # type: ignore[no-untyped-call]
    return table


class _Layers(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))


class _Layer(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = _FeedForward(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        transformed: Tensor = x + self.mlp(self.layer_norm2(x))
        return transformed


class _Attention(nn.Module):
    """Causal: a token sees those before it."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self._heads = config.num_attention_heads
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        heads = (*x.shape[:2], self._heads, -1)
        q, k, v = (
            project(x).view(heads).transpose(1, 2)  # (B, heads, T, C / heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(x.shape))
        return projected


class _FeedForward(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self._activation = _ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        widened: Tensor = self.fc2(self._activation(self.fc1(x)))
        return widened
