"""The image prompt: a small CLIP vision encoder and an IP-Adapter "plus", trained together.

The adapter's layout and arithmetic are those of the published one (arXiv:2308.06721): 16 tokens
from the encoder's last hidden layer but one, and for each cross-attention a key and a value matrix
of their own, whose attention is added to the text's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tools.embedded.companions.base import Base, Texts, asked
from tools.embedded.companions.training import Draws
from tools.embedded.dataset import Pixels

FILE: Final = "ip_adapter_plus.safetensors"
ENCODER_FOLDER: Final = "clip_vision"

SIDE: Final = 224
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
HIDDEN_LAYER: Final = -2

TOKENS: Final = 16
WIDTH: Final = 96
HEAD: Final = 64  # readers of the file take this from the published one
HEADS: Final = 2
DEPTH: Final = 4

IMAGE_DROPPED: Final = 0.08
MIRRORED: Final = 0.3
CONTRAST: Final = 0.1  # weight of the loss that ties pictures to their captions
TEMPERATURE: Final = 0.07


def build_encoder(text_width: int) -> CLIPVisionModelWithProjection:
    """The untrained image encoder; its projection has the text encoder's width."""
    config = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=256,
        projection_dim=text_width,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=32,
        hidden_act="quick_gelu",
        initializer_factor=2.0,
    )
    return CLIPVisionModelWithProjection._from_config(config, attn_implementation="eager")  # noqa: SLF001


class PerceiverAttention(nn.Module):
    """The latents look at the picture's patches and at one another."""

    def __init__(self) -> None:
        super().__init__()
        inner = HEAD * HEADS
        self.norm1 = nn.LayerNorm(WIDTH)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.to_q = nn.Linear(WIDTH, inner, bias=False)
        self.to_kv = nn.Linear(WIDTH, inner * 2, bias=False)
        self.to_out = nn.Linear(inner, WIDTH, bias=False)

    def forward(self, patches: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        seen = torch.cat([self.norm1(patches), latents], 1)
        key, value = self.to_kv(seen).chunk(2, -1)
        return self.to_out(attend(self.to_q(latents), key, value, HEADS))  # type: ignore[no-any-return]


class Resampler(nn.Module):
    """Patches (B, P, D) to tokens (B, 16, text context); tensors named as in the published file."""

    def __init__(self, encoder_width: int, context_width: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, TOKENS, WIDTH) / WIDTH**0.5)
        self.proj_in = nn.Linear(encoder_width, WIDTH)
        self.proj_out = nn.Linear(WIDTH, context_width)
        self.norm_out = nn.LayerNorm(context_width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(), _feed_forward()]) for _ in range(DEPTH)
        )

    def forward(self, patches: Tensor) -> Tensor:
        patches = self.proj_in(patches)
        latents = self.latents.expand(len(patches), -1, -1)
        for attention, feed_forward in self.layers:  # type: ignore[misc]
            latents = attention(patches, latents) + latents  # type: ignore[has-type]
            latents = feed_forward(latents) + latents  # type: ignore[has-type]
        return self.norm_out(self.proj_out(latents))  # type: ignore[no-any-return]


class ImageAttention(nn.Module):
    """What one cross-attention makes of the picture's tokens."""

    def __init__(self, text_attention: Any) -> None:
        super().__init__()
        width, context = text_attention.to_k.weight.shape
        self.to_k_ip = nn.Linear(context, width, bias=False)
        self.to_v_ip = nn.Linear(context, width, bias=False)
        # A start at which the tokens already mean something to the model.
        self.to_k_ip.load_state_dict(text_attention.to_k.state_dict())
        self.to_v_ip.load_state_dict(text_attention.to_v.state_dict())


class ImagePrompt(nn.Module):
    """All that is learned: encoder, resampler, and one ``ImageAttention`` a cross-attention."""

    def __init__(self, base: Base) -> None:
        super().__init__()
        self.encoder = build_encoder(base.unet.config.cross_attention_dim // 2)
        context = base.unet.config.cross_attention_dim
        self.resampler = Resampler(self.encoder.config.hidden_size, context)
        self.attentions = nn.ModuleList(
            ImageAttention(base.unet.get_submodule(name.removesuffix(".processor")))
            for name in cross_attentions(base.unet)
        )

    def tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, 16, D) and embeddings (B, P) of normalised pictures (B, 3, 224, 224)."""
        seen = self.encoder(images, output_hidden_states=True)
        return self.resampler(seen.hidden_states[HIDDEN_LAYER]), seen.image_embeds


class Lessons:
    """The loss: in each cross-attention a picture is to say what its caption says.

    The model paints by the caption; beside that, each cross-attention is asked what the picture
    would add to an empty prompt. Nothing goes back through the UNet, and no noise is in the way.
    The published adapters are trained on the denoising loss; after 8,000 pictures of that this
    one had learned no colour yet, after 13,000 of these lessons every background's.
    """

    def __init__(self, base: Base, draws: Draws, learner: ImagePrompt) -> None:
        self._base, self._draws, self._learner = base, draws, learner
        self._errors: list[Tensor] = []
        processors = dict(base.unet.attn_processors)
        for name, attention in zip(cross_attentions(base.unet), learner.attentions, strict=True):
            processors[name] = _Lesson(attention, self._errors)
        base.unet.set_attn_processor(processors)

    def __call__(self, count: int, rng: torch.Generator) -> Tensor:
        batch, chosen, numbers = self._draws(count, rng)
        said = self._base.encode(batch.tokens)
        silence = self._base.encode(self._base.empty).context.expand_as(said.context)
        images = as_references(chosen.pick_pixels(numbers), rng)
        shown = torch.rand(count, 1, 1, 1, generator=rng) >= IMAGE_DROPPED
        tokens, embeds = self._learner.tokens(images * shown)
        # Where no picture is shown, nothing is to be added: there the caption is empty too.
        context = torch.where(shown[..., 0], said.context, silence)
        texts = Texts(torch.cat([context, silence, tokens.float()], 1), said.pooled)
        given = asked(self._base.noised(batch), batch.timesteps, texts, batch.sizes)
        self._errors.clear()
        self._base.unet(**given)
        return torch.stack(self._errors).mean() + CONTRAST * contrast(embeds.float(), said.pooled)


class _Lesson:
    """The processor of one cross-attention: answers by the caption, compares with the picture."""

    def __init__(self, attention: Any, errors: list[Tensor]) -> None:
        self._attention, self._errors = attention, errors

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: object
    ) -> Tensor:
        """As diffusers calls an attention processor."""
        texts, image = encoder_hidden_states[:, :-TOKENS], encoder_hidden_states[:, -TOKENS:]
        query, out = attn.to_q(hidden_states), attn.to_out[0]
        said, unsaid = (
            attend(query, attn.to_k(text), attn.to_v(text), attn.heads)
            for text in texts.detach().chunk(2, 1)
        )
        own = self._attention
        shown = attend(query, own.to_k_ip(image), own.to_v_ip(image), attn.heads)
        wanted = functional.linear(said - unsaid, out.weight).float()
        found = functional.linear(shown, out.weight).float()
        self._errors.append((found - wanted).square().mean() / wanted.square().mean())
        answer: Tensor = out(said)
        return answer


def contrast(images: Tensor, texts: Tensor) -> Tensor:
    """CLIP's loss (arXiv:2103.00020), so that the encoder's last layer and projection learn too."""
    images, texts = functional.normalize(images, dim=-1), functional.normalize(texts, dim=-1)
    likeness = images @ texts.T / TEMPERATURE
    own = torch.arange(len(images))
    return (functional.cross_entropy(likeness, own) + functional.cross_entropy(likeness.T, own)) / 2


def as_references(pixels: Pixels, rng: torch.Generator) -> Tensor:
    """Training pictures (B, H, W, 3) as the encoder sees a prompt: (B, 3, 224, 224), normalised.

    A crop of 85 % or more of the shorter side, now and then mirrored: the prompt is to carry
    what is shown, less where exactly.
    """
    height, width = pixels.shape[1:3]
    side = int(min(height, width) * (0.85 + 0.15 * float(torch.rand(1, generator=rng))))
    top = int(torch.randint(height - side + 1, (1,), generator=rng))
    left = int(torch.randint(width - side + 1, (1,), generator=rng))
    crop = torch.from_numpy(pixels[:, top : top + side, left : left + side]).permute(0, 3, 1, 2)
    resized = functional.interpolate(crop.float(), (SIDE, SIDE), mode="bilinear")
    mirrored = torch.rand(len(pixels), 1, 1, 1, generator=rng) < MIRRORED
    return normalised(torch.where(mirrored, resized.flip(-1), resized) / 255)


def normalised(images: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) in 0..1 with CLIP's mean and deviation taken out."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (CLIP_MEAN, CLIP_STD))
    return (images - mean) / std


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Attention of (B, N, D) over (B, M, D), written out: its bf16 backward pass is fast."""
    query, key, value = (
        each.view(*each.shape[:2], heads, -1).transpose(1, 2) for each in (query, key, value)
    )
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    seen: Tensor = scores.softmax(-1).to(value.dtype) @ value
    return seen.transpose(1, 2).flatten(2)


def cross_attentions(unet: Any) -> list[str]:
    """Names of the processors that see the text, in the order of the published file."""
    return [name for name in unet.attn_processors if ".attn2." in name]


def adapter_tensors(learner: ImagePrompt) -> dict[str, Tensor]:
    """The adapter in the published layout; cross-attentions have the odd numbers."""
    tensors = {f"image_proj.{k}": v for k, v in learner.resampler.state_dict().items()}
    for number, attention in enumerate(learner.attentions):
        for name, value in attention.state_dict().items():
            tensors[f"ip_adapter.{2 * number + 1}.{name}"] = value
    return tensors


def export_image_prompt(learner: ImagePrompt, folder: Path) -> None:
    """Write adapter and encoder in float16."""
    save_half(adapter_tensors(learner), folder / FILE)
    learner.encoder.half().save_pretrained(folder / ENCODER_FOLDER, safe_serialization=True)
    learner.encoder.float()


def save_half(tensors: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in tensors.items()}, path)


def _feed_forward() -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(WIDTH),
        nn.Linear(WIDTH, 4 * WIDTH, bias=False),
        nn.GELU(),
        nn.Linear(4 * WIDTH, WIDTH, bias=False),
    )
