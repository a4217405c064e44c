"""The embedded model as its companions are trained on it: frozen, in float32, told the texts."""

from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tools.embedded.dataset import token_ids
from tools.embedded.denoising import Batch, Conditions, Noise
from tools.embedded.tokenizer import load_tokenizers

Tokenizers = tuple[CLIPTokenizer, CLIPTokenizer]

HIDDEN_LAYER: Final = -2  # of both text encoders: what clip_skip 2 means


class Texts(NamedTuple):
    """Encoded captions: context (B, 77, D), pooled (B, P)."""

    context: Tensor
    pooled: Tensor


class Base:
    """The frozen model. ``unet`` is called through ``asked``, which names its inputs once."""

    def __init__(self, model_dir: Path) -> None:
        self.tokenizers: Tokenizers = load_tokenizers(model_dir)
        self.unet = UNet2DConditionModel.from_pretrained(
            model_dir / "unet", torch_dtype=torch.float32, low_cpu_mem_usage=False
        )
        # The fused attention's bf16 backward pass is slow on CPUs, and nothing here is large.
        self.unet.set_attn_processor(AttnProcessor())
        self._first = _load_text(CLIPTextModel, model_dir / "text_encoder")
        self._second = _load_text(CLIPTextModelWithProjection, model_dir / "text_encoder_2")
        for part in (self.unet, self._first, self._second):
            part.eval().requires_grad_(False)
        first, second = (token_ids(tokenizer, [""]) for tokenizer in self.tokenizers)
        self.empty = Conditions(first, second)
        self.noise = Noise(torch.device("cpu"))

    @torch.no_grad()
    def encode(self, tokens: Conditions) -> Texts:
        """Texts as the UNet takes them, without guidance's zeroed ones."""
        first = self._first(tokens.first, output_hidden_states=True)
        second = self._second(tokens.second, output_hidden_states=True)
        states = [each.hidden_states[HIDDEN_LAYER] for each in (first, second)]
        return Texts(torch.cat(states, -1).float(), second.text_embeds.float())

    def texts(self, batch: Batch) -> Texts:
        """The batch's texts, zeros where it says so."""
        texts, kept = self.encode(batch.tokens), batch.kept.view(-1, 1)
        return Texts(texts.context * kept[..., None], texts.pooled * kept)

    def noised(self, batch: Batch) -> Tensor:
        """What the UNet is shown: (B, 4, h, w)."""
        return self.noise.add(batch.x, batch.eps, batch.timesteps)


def asked(x: Tensor, timesteps: Tensor, texts: Texts, sizes: Tensor) -> dict[str, Any]:
    """The keyword arguments of a UNet or a control network."""
    return {
        "sample": x,
        "timestep": timesteps,
        "encoder_hidden_states": texts.context,
        "added_cond_kwargs": {"text_embeds": texts.pooled, "time_ids": sizes},
    }


def weighted_error(base: Base, batch: Batch, predicted: Tensor) -> Tensor:
    """The loss that the model itself was trained on: noise error, weighted by timestep."""
    errors = (predicted.float() - batch.eps).square().mean((1, 2, 3))
    weights = base.noise.weights
    return (errors * weights[batch.timesteps]).mean() / weights.mean()


def _load_text(kind: Any, folder: Path) -> nn.Module:
    encoder: nn.Module = kind.from_pretrained(folder, attn_implementation="eager")
    return encoder.float()
