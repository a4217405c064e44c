"""Small random pipelines of diffusers' real classes, with their text encoders and tokenizers.

Nothing is downloaded: networks are built from small configurations, tokenizers from a few words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch

from tests.integration.tiny_pipelines import clip_and_t5, language_models

PIPELINES: Final[dict[str, Callable[[], Any]]] = {
    "sd15": clip_and_t5.stable_diffusion,
    "sd3": clip_and_t5.stable_diffusion_3,
    "flux": clip_and_t5.flux,
    "chroma": clip_and_t5.chroma,
    "sana": language_models.sana,
    "lumina2": language_models.lumina_2,
    "pixart": clip_and_t5.pixart_sigma,
    "auraflow": clip_and_t5.auraflow,
    "zimage": language_models.z_image,
    "qwen": language_models.qwen_image,
}


def save_pipeline(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a pipeline of ``PIPELINES`` in diffusers' layout."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = PIPELINES[name]()
    made.save_pretrained(folder)
    return folder
