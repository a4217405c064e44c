"""Cases of the text side: prompts to tokens, weights and conditioning."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.models.checkpoint import build_clip_g, build_clip_l
from pipeline.text.clip_model import ClipTextModel, ClipTextModelWithProjection
from pipeline.text.encoder import TextEncoder
from pipeline.text.tokenizer import find_tokenizer
from pipeline.weights.layout import (
    CLIP_G_PREFIX,
    CLIP_L_PREFIX,
    clip_g_from_original,
    clip_l_from_original,
)
from pipeline.weights.textual_inversion import InversionLibrary
from tools.parity_cases.compare import Results
from tools.parity_cases.fixtures import Case, Fixtures
from tools.parity_cases.sizes import stride_of

_ENCODERS = ("clip_l", "clip_g")
# Remarks in the recorded configurations that transformers takes for settings.
_NO_SETTINGS = ("torch_dtype", "transformers_version", "_name_or_path")


def make_encoder(fixtures: Fixtures, inversions: Path | None = None) -> TextEncoder:
    """The folder's two text encoders with CLIP's tokenizer."""
    clip_l, clip_g = clip_modules(fixtures)
    return TextEncoder(clip_l, clip_g, find_tokenizer(None), InversionLibrary(inversions))


def clip_modules(fixtures: Fixtures) -> tuple[ClipTextModel, ClipTextModelWithProjection]:
    """The folder's CLIP-L and CLIP-G."""
    tensors = fixtures.weights("text_encoders.safetensors")
    clip_l = clip_l_from_original(_below(tensors, CLIP_L_PREFIX))
    clip_g = clip_g_from_original(_below(tensors, CLIP_G_PREFIX))
    return (
        build_clip_l(clip_l, clip_config(fixtures, "clip_l"), fixtures.placement),
        build_clip_g(clip_g, clip_config(fixtures, "clip_g"), fixtures.placement),
    )


@torch.inference_mode()
def prompt(case: Case, fixtures: Fixtures) -> Results:
    """One prompt: its tokens must be the recorded ones, and its conditioning."""
    encoder = make_encoder(fixtures)
    text, number = case.params["prompt"], case.id.rpartition(".")[2]
    _check_tokens(encoder, text, fixtures.json("text_tokens.json")[int(number)])
    context, pooled = encoder.encode_one(text, case.params["clip_skip"])
    return {
        output: pooled[:, :: stride_of(output)] if output.startswith("pooled") else context
        for output in case.outputs
        if output.startswith(("cond.", "pooled"))
    }


@torch.inference_mode()
def skip(case: Case, fixtures: Fixtures) -> Results:
    """One prompt with the last layers left out."""
    layers = case.params["clip_skip"]
    context, pooled = make_encoder(fixtures).encode_one(case.params["prompt"], layers)
    return {f"skip.{layers}.cond": context, f"skip.{layers}.pooled": pooled}


@torch.inference_mode()
def several(case: Case, fixtures: Fixtures) -> Results:
    """Several texts as one conditioning."""
    name, params = case.id.removeprefix("text."), case.params
    encoder = make_encoder(fixtures)
    result = encoder.encode(params["texts"], params["clip_skip"], params["pool_top_k"])
    pooled = result.pooled
    if not fixtures.tensors(case.file)[f"{name}.pooled"].ndim:
        pooled = pooled.abs().max()  # the sum of no vectors was recorded as the number 0
    return {f"{name}.cond": result.context, f"{name}.pooled": pooled}


@torch.inference_mode()
def embedding(case: Case, fixtures: Fixtures) -> Results:
    """A prompt that names a textual inversion, which is first written as users have it."""
    stored, name = fixtures.tensors(case.file), case.id.removeprefix("text.")
    text = case.params["prompt"]
    file_name = re.findall(r"embedding:(\w+)", text)[0]
    with tempfile.TemporaryDirectory() as folder:
        vectors = {encoder: stored[f"embedding.{encoder}"].float() for encoder in _ENCODERS}
        save_file(vectors, Path(folder) / f"{file_name}.safetensors")
        encoder = make_encoder(fixtures, Path(folder))
        context, pooled = encoder.encode_one(text, case.params.get("clip_skip", 2))
    return {f"{name}.cond": context, f"{name}.pooled": pooled}


def _check_tokens(encoder: TextEncoder, text: str, recorded: Mapping[str, Any]) -> None:
    for name in _ENCODERS:
        sections = encoder.sections(text, name)
        ours = [[[*token] for token in zip(*section, strict=True)] for section in sections]
        if ours != recorded[name.removeprefix("clip_")]:
            raise ValueError(f"other tokens or weights for {name}")


def clip_config(fixtures: Fixtures, name: str) -> dict[str, Any]:
    """transformers' arguments for one of the text encoders."""
    recorded = fixtures.json("models.json")[name]
    return {key: value for key, value in recorded.items() if key not in _NO_SETTINGS}


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}


RUNNERS = {
    "text.": prompt,
    "text.skip.": skip,
    "text.encode.": several,
    "text.embedding.": embedding,
}
