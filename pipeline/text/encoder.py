"""Prompts to the conditioning of an SDXL UNet, by its two CLIP text encoders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from pipeline.sampling.denoiser import Conditioning
from pipeline.text.chunks import Section, Special, empty_section, make_sections, split_words
from pipeline.text.clip_model import ClipTextModel, ClipTextModelWithProjection, TextStates
from pipeline.text.tokenizer import ClipTokenizer
from pipeline.text.weights import parse_weights
from pipeline.weights.textual_inversion import InversionLibrary

_CLIP_G_PAD: Final = 0


class ClipEncoder:
    """One CLIP text model: sections of weighted tokens to hidden states and a pooled vector."""

    def __init__(
        self, model: ClipTextModel, special: Special, projection: nn.Linear | None = None
    ) -> None:
        self._model = model
        self._projection = projection
        self.special = special

    @property
    def width(self) -> int:
        """Numbers in a token's embedding."""
        return self._model.config.hidden_size

    def encode(self, sections: Sequence[Section], clip_skip: int) -> tuple[Tensor, Tensor | None]:
        """Hidden states (1, 77 n, C) with the weights applied, and the first section's pooled.

        ``clip_skip`` 1 is the last layer's output; beyond the number of layers it is that output
        after the final norm. Pooled is None without a projection; it knows no skip, no weights.
        """
        weights = torch.tensor([section.weights for section in sections])
        weighted = bool((weights != 1.0).any())
        batch = [*sections, empty_section(self.special)] if weighted else list(sections)
        hidden, last = self._run(batch, clip_skip)
        pooled = self._pool(sections[0], last)
        if weighted:
            hidden = _apply_weights(hidden, weights.to(hidden.device))
        return hidden.reshape(1, -1, hidden.shape[-1]), pooled

    def normed(self, hidden: Tensor) -> Tensor:
        """Hidden states after the norm that ends the model, float32."""
        norm = self._model.final_layer_norm
        weight, bias = norm.weight.float(), norm.bias.float()
        return layer_norm(hidden.float(), weight.shape, weight, bias, norm.eps)

    def _run(self, sections: Sequence[Section], clip_skip: int) -> tuple[Tensor, Tensor]:
        ids = torch.tensor(
            [[v if isinstance(v, int) else 0 for v in section.values] for section in sections]
        )
        with self._vectors_in_place(sections):
            states: TextStates = self._model(ids.to(self._model.device))
        layers = len(states.hidden) - 1
        chosen = states.hidden[-clip_skip] if clip_skip <= layers else states.last
        return chosen.float(), states.last

    def _pool(self, section: Section, last: Tensor) -> Tensor | None:
        if self._projection is None:
            return None
        numbers = [value if isinstance(value, int) else -1 for value in section.values]
        pooled: Tensor = self._projection(last[0:1, numbers.index(self.special.end)])
        return pooled.float()

    @contextmanager
    def _vectors_in_place(self, sections: Sequence[Section]) -> Iterator[None]:
        """Put learned vectors into the token embeddings, for the length of a block."""
        places = [
            (row, column, value)
            for row, section in enumerate(sections)
            for column, value in enumerate(section.values)
            if isinstance(value, Tensor)
        ]

        def replace(_module: object, _inputs: object, embedded: Tensor) -> Tensor:
            for row, column, vector in places:
                embedded[row, column] = vector.to(embedded)
            return embedded

        if not places:
            yield
            return
        handle = self._model.embeddings.token_embedding.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()


class TextEncoder:
    """SDXL's pair of encoders with their tokenizer."""

    def __init__(
        self,
        clip_l: ClipTextModel,
        clip_g: ClipTextModelWithProjection,
        tokenizer: ClipTokenizer,
        inversions: InversionLibrary,
    ) -> None:
        start, end = tokenizer.start, tokenizer.end
        self._tokenizer = tokenizer
        self._inversions = inversions
        self._clip_l = ClipEncoder(clip_l, Special(start, end, pad=end))
        self._clip_g = ClipEncoder(
            clip_g.text_model, Special(start, end, pad=_CLIP_G_PAD), clip_g.text_projection
        )

    def encode(self, texts: Sequence[str], clip_skip: int, pool_top_k: int) -> Conditioning:
        """Conditioning of several texts, joined along tokens; the first pooled are summed."""
        parts = [self.encode_one(text, clip_skip) for text in texts]
        contexts = torch.cat([context for context, _ in parts], dim=1)
        pooled = torch.zeros_like(parts[0][1])
        for _, vector in parts[:pool_top_k]:
            pooled = pooled + vector
        return Conditioning(contexts, pooled)

    def encode_one(self, text: str, clip_skip: int) -> tuple[Tensor, Tensor]:
        """Context (1, 77 n, C) of one text, CLIP-L's features before CLIP-G's, and its pooled."""
        hidden_l, _ = self._clip_l.encode(self.sections(text, "clip_l"), clip_skip)
        hidden_g, pooled = self._clip_g.encode(self.sections(text, "clip_g"), clip_skip)
        if pooled is None:
            raise ValueError("CLIP-G has no projection")
        # The encoders may disagree on the length where a textual inversion has more vectors in one.
        length = min(hidden_l.shape[1], hidden_g.shape[1])
        return torch.cat([hidden_l[:, :length], hidden_g[:, :length]], dim=-1), pooled

    def first_half(self, context: Tensor) -> Tensor:
        """CLIP-L's features of a context after its last norm: what Stable Diffusion 1.5 reads.

        (1, T, D) to (1, T, CLIP-L's width), float32. The norm is this model's own, as in Fooocus.
        """
        return self._clip_l.normed(context[..., : self._clip_l.width])

    def sections(self, text: str, encoder: str) -> list[Section]:
        """Token sections of a text for ``clip_l`` or ``clip_g``."""
        clip = self._clip_l if encoder == "clip_l" else self._clip_g

        @cache  # a text may name a file a thousand times
        def find_vectors(name: str) -> Sequence[Tensor] | None:
            return self._inversions.vectors(name, encoder, clip.width)

        words = split_words(parse_weights(text), self._tokenizer.tokens, find_vectors)
        return make_sections(words, clip.special)


def _apply_weights(hidden: Tensor, weights: Tensor) -> Tensor:
    """Move each token away from (or towards) the empty text, which is the last of ``hidden``.

    Each section keeps its mean.
    """
    states, empty = hidden[:-1], hidden[-1]
    moved = torch.where(
        weights[..., None] == 1.0, states, (states - empty) * weights[..., None] + empty
    )
    before = states.mean(dim=(1, 2), keepdim=True)
    after = moved.mean(dim=(1, 2), keepdim=True)
    return moved * (before / after)
