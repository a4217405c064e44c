"""Write the trained model as an ordinary diffusers folder in float16."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from tools.embedded.architecture import STANDARD, Architecture, build_denoiser
from tools.embedded.dataset import as_tensor, draw_pixels, encode_pixels, load_vae
from tools.embedded.denoising import BETA_END, BETA_START, TIMESTEPS
from tools.embedded.tokenizer import load_tokenizers

FOLDERS: Final = {"unet": "unet", "te1": "text_encoder", "te2": "text_encoder_2"}
PREVIEW_PICTURES: Final = 48
PREVIEW_FIRST_SEED: Final = 900_000  # beyond the training pictures
LIMIT_BYTES: Final = 12_000_000

SCHEDULER: Final[dict[str, Any]] = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_end": BETA_END,
    "beta_schedule": "scaled_linear",
    "beta_start": BETA_START,
    "interpolation_type": "linear",
    "num_train_timesteps": TIMESTEPS,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
MODEL_INDEX: Final[dict[str, Any]] = {
    "_class_name": "StableDiffusionXLPipeline",
    "feature_extractor": [None, None],
    "force_zeros_for_empty_prompt": True,
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def export_model(
    checkpoint: Path, model_dir: Path, scope: str, architecture: Architecture = STANDARD
) -> int:
    """Write everything but VAE and tokenizers, which must be there; returns the folder's bytes."""
    state = torch.load(checkpoint, map_location="cpu")
    model = build_denoiser(load_tokenizers(model_dir), architecture)
    model.load_state_dict(state["e"])
    for part, folder in FOLDERS.items():
        model[part].half().save_pretrained(model_dir / folder, safe_serialization=True)  # type: ignore[operator]
    (model_dir / "scheduler").mkdir(exist_ok=True)
    _write_json(model_dir / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_json(model_dir / "model_index.json", MODEL_INDEX)
    pixels, _ = draw_pixels(PREVIEW_FIRST_SEED, PREVIEW_PICTURES, (256, 256), scope)
    projection = fit_latent_rgb(load_vae(model_dir / "vae"), pixels)
    _write_json(model_dir / "latent_rgb.json", projection)
    size = folder_bytes(model_dir)
    if size > LIMIT_BYTES:
        raise ValueError(f"the model has {size} bytes; the repository takes {LIMIT_BYTES}")
    return size


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def fit_latent_rgb(
    vae: AutoencoderKL, pixels: np.ndarray[Any, np.dtype[np.uint8]]
) -> dict[str, Any]:
    """Colours of the picture, 8 times smaller and in 0..1, as ``latents @ weight + bias``.

    ``weight`` is 4x3, one row a latent channel; latents are scaled, as the UNet sees them.
    """
    latents = encode_pixels(vae, pixels).permute(0, 2, 3, 1).reshape(-1, 4).double()
    small = functional.avg_pool2d(as_tensor(pixels) / 2 + 0.5, 8)
    colours = small.permute(0, 2, 3, 1).reshape(-1, 3).double()
    ones = torch.ones(len(latents), 1, dtype=torch.float64)
    fitted = torch.linalg.lstsq(torch.cat([latents, ones], 1), colours).solution
    rounded = [[round(value, 6) for value in row] for row in fitted.tolist()]
    return {"weight": rounded[:4], "bias": rounded[4]}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
